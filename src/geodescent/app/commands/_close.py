"""The close of a fit: saved first, then judged on the test rows beside plain methods, drawn, and summed up."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geodescent._memory import MB, highest_bytes
from geodescent.app._entries import Entries
from geodescent.app._scores import baselines, difference, measured_beside
from geodescent.app.commands._job import Job
from geodescent.app.commands._outcome import Certified, FitOutcome
from geodescent.app.commands._sentences import verdict
from geodescent.app.report import Comparison, ReportFacts, TestRows, metrics_of, page, png
from geodescent.app.runs import REPORT
from geodescent.app.tables import shown


def closed(job: Job, outcome: FitOutcome) -> Entries:
    """All that the command answers; what cannot be saved or shown is a note."""
    folder = job.folder
    job.begin(outcome.config)
    with job.noting(f"The file history.jsonl in {folder.path} is not whole"):
        for record in outcome.path.records:
            folder.append(record)
    with job.noting(f"What was fitted is not saved in {folder.path}"):
        folder.keep(outcome.fitted)
    certified = outcome.certified()
    judged = Judged({}, (), "The test rows could not be judged.", None)
    with job.noting("The test rows have no scores"):
        judged = _judged(job, outcome)
    page_, curve, shown_page = None, None, None
    with job.noting("There is no picture"):
        curve = None if outcome.path.picture is None else png(outcome.path.picture())
    with job.noting("There is no report"):
        page_ = None if judged.rows is None else page(_report(job, outcome, judged, certified))
    with job.noting(f"The certificate, picture and report are not saved in {folder.path}"):
        folder.describe(certificate={"words": certified.words, **certified.entries}, curve=curve, report=page_)
        shown_page = None if page_ is None else str(folder.path / REPORT)
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
        "report": shown_page,
    }
    with job.noting(f"The file result.json is not saved in {folder.path}"):
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
    return Judged(metrics_of(rows), comparisons, verdict(comparisons, predicted, len(targets)), rows)


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
