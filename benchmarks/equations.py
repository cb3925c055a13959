"""Differential equations: ours beside optimizers for such networks, a JSON line an equation, method and seed.

    python benchmarks/equations.py                                  # all, five seeds, 60 CPU seconds a run
    python benchmarks/equations.py --cases poisson,burgers --seeds 1 --budget 20
    python benchmarks/equations_page.py

Same network, same start but for ours, which chooses one (and once more from the same start), same rows and weights,
float64, one thread; seconds are those of the CPU, and the error is taken off the clock. What is in the file already is
not run again.
"""

import argparse
import json
import math
import platform
from pathlib import Path

import torch
from equations_peers import FEATURES, METHODS, random_features
from equations_problems import CASES
from equations_run import Run

FILE = Path(__file__).parent / "equations.jsonl"
TARGETS = tuple(10.0**-k for k in range(2, 13))
"""Errors whose seconds are kept."""


def main() -> None:
    """A line for each run that is not there yet."""
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--cases", default=",".join(CASES))
    asked.add_argument("--methods", default=";".join([*METHODS, FEATURES]))
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--budget", type=float, default=60.0)
    asked.add_argument("--file", type=Path, default=FILE)
    given = asked.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in given.file.read_text().splitlines()] if given.file.exists() else []
    done = {(line["case"], line["method"], line["seed"], line["budget"]) for line in lines}
    for name in given.cases.split(","):
        for seed in range(given.seeds):
            for method in given.methods.split(";"):
                absent = method == FEATURES and not can_be_features(name, seed)
                if absent or (name, method, seed, given.budget) in done:
                    continue
                line = measured(name, method, seed, given.budget)
                with given.file.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                figures = f"{line['error']:.1e} in {line['seconds']:.1f} s, {line['result']}"
                print(f"{name:10} {method:28} seed {seed}: {figures}", flush=True)


def can_be_features(name: str, seed: int) -> bool:
    """Random features solve linear equations; their waves have one seed of their own."""
    return CASES[name].linear and seed == 0


def measured(name: str, method: str, seed: int, budget: float) -> dict:
    """One run as a line."""
    case = CASES[name]
    error = case.error()
    failure = None
    if method == FEATURES:
        run = random_features(case, error, budget)
    else:
        run = Run(case.system(seed), error, budget)
        try:
            METHODS[method](run)
        except Exception as caught:  # failures of peers are lines too
            failure = f"{type(caught).__name__}: {caught}"
    return as_line(name, method, seed, budget, run, failure)


def as_line(name: str, method: str, seed: int, budget: float, run: Run, failure: str | None) -> dict:
    """Its figures: the error at the least cost so far, against seconds."""
    trace, lowest = list[tuple[float, float, float]](), math.inf
    for seconds, cost, error in run.points:
        if cost <= lowest and seconds <= budget * 1.05:
            lowest = cost
            trace.append((round(seconds, 4), float(f"{cost:.4g}"), float(f"{error:.4g}")))
    reached = {f"{t:.0e}": next((s for s, _, e in trace if e <= t), None) for t in TARGETS}
    return {
        "case": name,
        "method": method,
        "seed": seed,
        "budget": budget,
        "parameters": run.problem.n_params,
        "rows": run.problem.n_residuals,
        "steps": run.steps,
        "result": failure or run.result,
        "seconds": trace[-1][0] if trace else math.nan,
        "cost": trace[-1][1] if trace else math.nan,
        "error": trace[-1][2] if trace else math.nan,
        "reached": reached,
        "trace": thinned(trace),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def thinned(trace: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """At most about a hundred points, where time or error changed by a tenth."""
    kept = trace[:1]
    for point in trace[1:]:
        if point[0] > 1.1 * kept[-1][0] + 1e-3 or not 0.8 < point[2] / max(kept[-1][2], 1e-300) < 1.25:
            kept.append(point)
    return kept + trace[-1:] if trace and kept[-1] != trace[-1] else kept


if __name__ == "__main__":
    main()
