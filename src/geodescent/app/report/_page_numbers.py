"""The parts of the page that compare numbers: the main ones, left-out against test, and baselines."""

import math
import re
import unicodedata
from collections.abc import Mapping

from geodescent.app.report._facts import ReportFacts
from geodescent.app.report._figures_of_runs import comparisons_picture
from geodescent.app.report._markup import (
    counted,
    escaped,
    figure,
    isolated,
    level_name,
    numeral,
    percent,
    shortened,
    table,
    with_error,
)
from geodescent.app.report._metrics import error_of, metrics_of

METRIC_NAMES = {
    "rmse": "typical error (rmse)",
    "r2": "R²",
    "coverage": "inside intervals",
    "accuracy": "accuracy",
    "logloss": "log loss",
    "ece": "calibration error (ECE)",
}
"""Metrics that the page knows, by their name without case, spaces and signs, and how it calls them."""
SHARES = frozenset({"coverage", "accuracy", "ece"})
"""Metrics that are shares of rows and shown as percentages."""
WITHIN_CHANCE = 2.0  # Standard errors: a larger difference is rarer than one in twenty by chance.


def head_numbers(facts: ReportFacts) -> str:
    """The main numbers, each with what it means."""
    found = metrics_of(facts.rows)
    if not found:
        return ""
    numbers = _of_classes(facts, found) if facts.classes else _of_regression(facts, found)
    numbers += [
        (escaped(name), escaped(_shown(name, value)), "as recorded by the run")
        for name, value in facts.test.items()
        if _plain(name) not in METRIC_NAMES
    ]
    cells = (f'<div><dt>{n}</dt><dd class="value">{v}</dd><dd>{words}</dd></div>' for n, v, words in numbers)
    return '<dl class="numbers">\n' + "\n".join(cells) + "\n</dl>"


def _of_regression(facts: ReportFacts, found: Mapping[str, float]) -> list[tuple[str, str, str]]:
    numbers = [
        ("Typical error (rmse)", numeral(found["rmse"]), _beside(facts)),
        (
            "Explained variation (R²)",
            _shown("r2", found["r2"]),
            "1 is perfect, 0 as good as always saying the mean",
        ),
    ]
    if "coverage" in found:
        promised = escaped(level_name(facts.rows.level))
        words = f"of test rows lie inside their interval; {promised} were promised"
        numbers.append(("Inside the intervals", escaped(percent(found["coverage"])), words))
    return numbers


def _of_classes(facts: ReportFacts, found: Mapping[str, float]) -> list[tuple[str, str, str]]:
    known = f"of test rows get the right class, of {len(facts.classes)}"
    return [
        ("Accuracy", escaped(percent(found["accuracy"])), known),
        ("Log loss", numeral(found["log_loss"]), _beside(facts)),
        ("Calibration error (ECE)", escaped(percent(found["ece"])), "mean distance of claimed probability and truth"),
    ]


def _beside(facts: ReportFacts) -> str:
    """The left-out estimate beside the test error."""
    if facts.left_out is None:
        return f"on test rows; {'0 is perfect' if facts.classes else 'in the unit of the target'}, smaller is better"
    return f"on test rows; without them it was estimated to be {numeral(facts.left_out)}"


def left_out_against_test(facts: ReportFacts) -> str:
    """Whether the error that was foretold from the training rows is the one that was met."""
    opening = "<section>\n<h2>Left-out estimate against the test</h2>\n"
    name = error_name(facts)
    if facts.left_out is None or not len(facts.rows.measured):
        return f"{opening}<p>The error was not estimated from rows that were left out in this run.</p>\n</section>"
    error, spread = error_of(facts.rows)
    words = (
        "<p>Before it saw the test rows, the fit estimated its own error: each training row was predicted by a fit "
        "without it. If this estimate holds, no rows need be set aside to know how good a fit is. "
        f"{_agreement(facts.left_out, error, spread)}</p>\n"
    )
    rows = [
        ("estimated from training rows left out", with_error(facts.left_out, spread)[0], ""),
        (f"measured on {counted(len(facts.rows.measured), 'test row')}", *with_error(error, spread)),
    ]
    return f"{opening}{words}{table(('', name, 'standard error'), rows, numbers_from=1)}\n</section>"


def _agreement(left_out: float, error: float, spread: float) -> str:
    difference = error - left_out
    if not (math.isfinite(difference) and math.isfinite(spread)):
        return "Here the two cannot be compared: one of them is not a finite number, or there is only one test row."
    side = "above" if difference > 0.0 else "below"
    found = f"Here the test error lies {with_error(abs(difference), spread)[0]} {side} the estimate"
    if abs(difference) <= WITHIN_CHANCE * spread:
        return f"{found}: no more than the chance of which rows are in the test explains."
    surprise = "the test rows may be of another kind" if difference > 0.0 else "the test rows may be easier ones"
    hope = "hopeful" if difference > 0.0 else "careful"
    return f"{found}: more than two standard errors, so that {surprise}, or the estimate was too {hope}."


def baselines(facts: ReportFacts) -> str:
    """The run beside simple ways to predict, on the same rows."""
    opening = "<section>\n<h2>Against baselines</h2>\n"
    if not facts.comparisons:
        return f"{opening}<p>No baselines were computed in this run.</p>\n</section>"
    found = {_key(name): value for name, value in metrics_of(facts.rows).items()}
    given = [{_key(name): value for name, value in c.metrics.items()} for c in facts.comparisons]
    names = [*found, *dict.fromkeys(name for metrics in given for name in metrics if name not in found)]
    head = [
        "",
        *(escaped(METRIC_NAMES.get(name, shortened(name))) for name in names),
        f"difference in {error_name(facts)}",
    ]
    rows = [['<span class="run">this run</span>', *_cells(found, names), ""]]
    for comparison, metrics in zip(facts.comparisons, given, strict=True):
        difference = " ".join(with_error(comparison.difference, comparison.standard_error))
        rows.append([isolated(comparison.name), *_cells(metrics, names), difference])
    words = (
        "<p>Simple ways to predict, fitted on the same training rows and judged on the same test rows. The difference "
        f"is the {error_name(facts)} of this run minus that of the baseline, with its standard error: below zero this "
        "run is better.</p>\n"
    )
    picture = figure(comparisons_picture(facts.comparisons, error_name(facts)))
    return f"{opening}{words}{table(head, rows, numbers_from=1)}\n{picture}\n</section>"


def error_name(facts: ReportFacts) -> str:
    """What the run's error is called."""
    return "log loss" if facts.classes else "rmse"


def _cells(metrics: Mapping[str, float], names: list[str]) -> list[str]:
    return [escaped(_shown(name, metrics[name])) if name in metrics else "–" for name in names]


def _shown(name: str, value: float) -> str:
    if _plain(name) == "r2" and abs(value) < 1e3:
        return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")
    return percent(value) if _plain(name) in SHARES else numeral(value)


def _key(name: str) -> str:
    """What a metric is compared by: its plain name where the page knows it, its own otherwise."""
    return plain if (plain := _plain(name)) in METRIC_NAMES else name


def _plain(name: str) -> str:
    """A metric's name without case, spaces and signs, "R²" as "r2"."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name)).lower()
