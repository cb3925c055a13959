"""The close of a fit: saved first, then judged on the test rows beside plain methods, drawn, and summed up."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geodescent._memory import MB, highest_bytes
from geodescent.app._entries import Entries
from geodescent.app._scores import baselines, difference, measured_beside
from geodescent.app.commands._job import Job
from geodescent.app.commands._outcome import Certified, FitOutcome
from geodescent.app.fitted import Predicted
from geodescent.app.report import Comparison, ReportFacts, TestRows, metrics_of, page, png, summary
from geodescent.app.tables import shown


def closed(job: Job, outcome: FitOutcome) -> Entries:
    """All that the command answers; what cannot be saved or shown is a note."""
    folder = job.folder
    job.begin(outcome.config)
    with job.noting(f"history.jsonl in {folder.path} is not whole"):
        for record in outcome.path.records:
            folder.append(record)
    with job.noting(f"what was fitted is not saved in {folder.path}"):
        folder.keep(outcome.fitted)
    certified = outcome.certified()
    judged = Judged({}, (), "The test rows could not be judged.", None)
    with job.noting("the test rows have no scores"):
        judged = _judged(job, outcome)
    page_, curve = None, None
    with job.noting("there is no picture"):
        curve = None if outcome.path.picture is None else png(outcome.path.picture())
    with job.noting("there is no report"):
        page_ = None if judged.rows is None else page(_report(job, outcome, judged, certified))
    with job.noting(f"certificate, picture and report are not saved in {folder.path}"):
        folder.describe(certificate={"words": certified.words, **certified.entries}, curve=curve, report=page_)
    notes = [*outcome.notes, *job.notes]
    content = {
        **outcome.facts,
        "mode": outcome.config.mode,
        "result": outcome.result,
        "peak_mb": highest_bytes() / MB,
        "test": dict(judged.metrics),
        "left_out": outcome.fitted.left_out,
        "baselines": {one.name: dict(one.metrics) for one in judged.comparisons},
        "verdict": judged.verdict,
        "certificate": dict(certified.entries),
        "stats": {**outcome.facts["stats"], "notes": notes},
        "run": str(folder.path),
        "report": None if page_ is None else str(folder.path / "report.html"),
    }
    with job.noting(f"result.json is not saved in {folder.path}"):
        folder.end(content)
    content["stats"]["notes"] = [*outcome.notes, *job.notes]
    return content


@dataclass(frozen=True)
class Judged:
    """What the test rows say.

    Attributes:
        metrics: of the run.
        comparisons: one for each baseline.
        verdict: a sentence.
        rows: what was measured and predicted.
    """

    metrics: Mapping[str, float]
    comparisons: tuple[Comparison, ...]
    verdict: str
    rows: TestRows | None


def _judged(job: Job, outcome: FitOutcome) -> Judged:
    table = job.table
    inputs, targets = table.inputs[table.split.test], table.targets[table.split.test].astype(np.float64)
    predicted = outcome.fitted.predicted(inputs)
    plain, notes = baselines(table)
    job.notes.extend(notes)
    rows = measured_beside(predicted, targets)
    others = [(one.name, measured_beside(one.predicted, targets)) for one in plain]
    comparisons = tuple(Comparison(name, metrics_of(other), *difference(rows, other)) for name, other in others)
    return Judged(metrics_of(rows), comparisons, verdict(comparisons, predicted), rows)


def verdict(comparisons: tuple[Comparison, ...], predicted: Predicted) -> str:
    """How the run compares with the baselines on the test rows, in a sentence."""
    if not comparisons:
        return "There is no baseline to compare with."
    error = "root mean square error" if predicted.probabilities is None else "log loss"
    worst = max(comparisons, key=lambda one: one.difference)
    apart = f"{abs(worst.difference):.3g} ± {worst.standard_error:.2g}"
    if worst.difference > 0.0:
        sure = "" if worst.difference > worst.standard_error else ", which is less than the rows can tell apart"
        return f"Worse than {worst.name} on the test rows: its {error} is lower by {apart}{sure}."
    names = [one.name for one in comparisons]
    listed = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"At least as good as {listed} on the test rows; {worst.name} is closest, its {error} higher by {apart}."


def _report(job: Job, outcome: FitOutcome, judged: Judged, certified: Certified) -> ReportFacts:
    table, rows = job.table, judged.rows
    assert rows is not None
    importance = outcome.fitted.importance
    names = table.encoding.feature_names
    return ReportFacts(
        data=table.raw.name,
        target=table.target.name,
        classes=table.target.classes,
        mode=outcome.config.mode,
        story=outcome.story,
        verdict=judged.verdict,
        test=judged.metrics,
        left_out=outcome.fitted.left_out,
        rows=rows,
        comparisons=judged.comparisons,
        importance={} if importance is None else dict(zip(names, map(float, importance), strict=True)),
        history=outcome.path.history,
        kept=outcome.path.kept,
        axis=outcome.path.axis,
        certificate=certified.words,
        columns=table.encoding.table(),
        choices=_choices(job, outcome),
        account=table.account,
        notes=tuple([*outcome.notes, *job.notes]),
    )


def _choices(job: Job, outcome: FitOutcome) -> tuple[tuple[str, str, str], ...]:
    """What was chosen, its value, and the option that changes it."""
    config, target = outcome.config, job.table.target
    chosen = [
        ("column to predict", shown(target.name), "--target"),
        ("task", target.task, "--task"),
        ("mode", config.mode, "--mode"),
        ("share of test rows", f"{config.data.test_size:g}", "--test-size"),
        ("seed of split and start", str(config.data.seed), "--seed"),
    ]
    if config.network is not None:
        chosen += [
            ("network", config.network_name, "--hidden, --activation"),
            ("numbers", f"{config.network.dtype} on {config.network.device}", "--dtype, --device"),
        ]
    chosen += [
        (name.replace("_", " "), str(value), f"--{name.replace('_', '-')}")
        for name, value in config.options.items()
        if value is not None
    ]
    return tuple(chosen)


def summed_up(job: Job, outcome: FitOutcome, content: Entries, words: str) -> str:
    """The answer in rows of a name and a text, the verdict last."""
    metrics = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in content["test"].items())
    error = "rmse" if not job.table.target.classes else "log loss"
    left_out = content["left_out"]
    rows = [
        ("result", outcome.sentence),
        *outcome.rows,
        ("test", f"{metrics}  ({len(job.table.split.test)} rows)"),
        *([("left out", f"{error} {left_out:.4g}: each training row predicted without itself")] if left_out else []),
    ]
    for name, values in content["baselines"].items():
        rows.append((name, ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in values.items())))
    rows += [("note", note) for note in content["stats"]["notes"]]
    rows.append(("run", str(job.folder.path)))
    if content["report"]:
        rows.append(("report", content["report"]))
    return f"{summary(rows)}\n\ncertificate at the end\n{words}\n\n{content['verdict']}"
