"""`geodescent fit` with nothing chosen, on the five data sets that it knows, beside the baselines that it prints.

    python benchmarks/command.py > command.jsonl

One JSON line for each data set: the mean test error over seeds 0 to 4 (root mean square error, or log loss) of the
command and of each baseline, the difference to the better of ridge or logistic regression and gradient boosting with
its standard error over seeds, the calibration error of the seeds together (ten bins of equal width of the top
probability), and the coverage of 90 % intervals.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from geodescent.app import load
from geodescent.app.cli import app
from geodescent.app.report import TestRows, metrics_of
from geodescent.app.tables import DATA_SETS, prepare

SEEDS = range(5)
LINEAR = ("ridge regression", "logistic regression")


def main() -> None:
    """Runs the data sets named on the command line, or all."""
    ratios = []
    for name in sys.argv[1:] or DATA_SETS:
        line = measured(name)
        ratios.append(line["ratio"])
        print(json.dumps(line), flush=True)
    print(json.dumps({"geometric_mean_of_ratios": float(np.exp(np.mean(np.log(ratios))))}))


def measured(name: str) -> dict[str, object]:
    """The line of a data set."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        answers = [answer(name, seed, Path(folder) / str(seed)) for seed in SEEDS]
        rows = [rows_of(name, seed, Path(folder) / str(seed)) for seed in SEEDS]
    error = "log_loss" if rows[0].probabilities is not None else "rmse"
    ours = np.array([one["test"][error] for one in answers])
    baselines = {key: np.array([one["baselines"][key][error] for one in answers]) for key in answers[0]["baselines"]}
    better = min((key for key in baselines if key in (*LINEAR, "gradient boosting")), key=lambda k: baselines[k].mean())
    apart = ours - baselines[better]
    pooled = TestRows(
        np.concatenate([one.measured for one in rows]),
        np.concatenate([one.mean for one in rows]),
        probabilities=None if error == "rmse" else np.concatenate([one.probabilities for one in rows]),
    )
    coverage = [one["test"].get("coverage") for one in answers]
    return {
        "data": name,
        "mode": sorted({one["mode"] for one in answers}),
        error: float(ours.mean()),
        "baselines": {key: float(values.mean()) for key, values in baselines.items()},
        "better": better,
        "difference": float(apart.mean()),
        "standard_error": float(apart.std(ddof=1) / np.sqrt(len(apart))),
        "ratio": float(ours.mean() / baselines[better].mean()),
        "ece": metrics_of(pooled).get("ece"),
        "coverage": None if None in coverage else float(np.mean(coverage)),
        "seconds": (time.perf_counter() - begin) / len(SEEDS),
    }


def answer(name: str, seed: int, out: Path) -> dict[str, dict]:
    """What the command answers."""
    done = CliRunner().invoke(app, ["fit", name, "--seed", str(seed), "--out", str(out), "--json"])
    if done.exit_code:
        sys.exit(done.output)
    return json.loads(done.stdout)


def rows_of(name: str, seed: int, folder: Path) -> TestRows:
    """The test rows, predicted by the run that was saved."""
    run, table = load(folder), prepare(name, test_size=0.25, seed=seed)
    predicted = run.fitted.predicted(table.inputs[run.test_index])
    measured = table.targets[run.test_index].astype(np.float64)
    return TestRows(measured, predicted.mean, predicted.lower, predicted.upper, 0.9, predicted.probabilities)


if __name__ == "__main__":
    main()
