"""What a command says at its end: the errors, the comparison with plain methods, and the answer in rows."""

from collections.abc import Mapping

from geodescent.app._entries import Entries
from geodescent.app._scores import CONSTANTS
from geodescent.app.commands._job import Job
from geodescent.app.commands._outcome import FitOutcome
from geodescent.app.fitted import Predicted
from geodescent.app.report import Comparison, percent, summary
from geodescent.generalisation import ChosenStart

NAMES_OF_METRICS = {
    "rmse": "rmse {:.4g}",
    "r2": "R² {:.3f}",
    "coverage": "{} inside their intervals",
    "accuracy": "{} right",
    "log_loss": "log loss {:.4g}",
    "ece": "probabilities off by {}",
}
"""How a number is said; shares are said as percentages."""
SHARES_OF_ROWS = frozenset({"coverage", "accuracy", "ece"})
"""Metrics between 0 and 1."""
STANDARD_ERRORS_APART = (
    2.0  # That a difference of errors must have: a larger one is rarer than one in twenty by chance.
)


def told(metrics: Mapping[str, float]) -> str:
    """Metrics in words: `rmse 54.1, R² 0.479, 90.1 % inside their intervals`."""
    return ", ".join(_told(name, value) for name, value in metrics.items())


def _told(name: str, value: float) -> str:
    form = NAMES_OF_METRICS.get(name, f"{name} {{:.4g}}")
    return form.format(share(value) if name in SHARES_OF_ROWS else value).replace("-0.000", "0.000")


def share(value: float) -> str:
    """A share as a percentage that no line break divides: `93.3%`, `less than 0.1%`."""
    return percent(value).replace("< ", "less than ").replace("> ", "more than ").replace(" %", "%")


def verdict(comparisons: tuple[Comparison, ...], predicted: Predicted, n: int) -> str:
    """How the run compares with the baselines on n test rows, in a sentence.

    Two that differ by less than two standard errors are said not to be told apart, which is not to be equal.
    """
    if not comparisons:
        return "There are no plain methods to compare with."
    if n < 2:
        return "One test row is too few to compare the run with plain methods."
    error = "rmse" if predicted.probabilities is None else "log loss"
    better_ones = [one for one in comparisons if one.difference > STANDARD_ERRORS_APART * one.standard_error]
    best = max(better_ones or comparisons, key=lambda one: one.difference)
    name, side = _with_article(best), "lower" if best.difference > 0.0 else "higher"
    apart = f"its {error} is {side} by {abs(best.difference):.3g}, with a standard error of {best.standard_error:.2g}"
    if better_ones:
        return f"Worse than {name} on the test rows: {apart}. Use it instead."
    beaten = [one for one in comparisons if one.difference < -STANDARD_ERRORS_APART * one.standard_error]
    better = f"better than {_joined([_with_article(one) for one in beaten])}"
    if best in beaten:
        return f"On the test rows {better}; of {name}, which comes closest, {apart.removeprefix('its ')}."
    unknown = f"The run cannot be told from {name} by {n} test rows: {apart}"
    return f"{unknown}. It is {better}." if beaten else f"{unknown}."


def _with_article(baseline: Comparison) -> str:
    return f"the {baseline.name}" if baseline.name in CONSTANTS else baseline.name


def _joined(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0] if names else ""


def summed_up(job: Job, outcome: FitOutcome, content: Entries) -> str:
    """The answer in rows of a name and a text, the verdict last."""
    n, left_out, certified = len(job.table.split.test), content["left_out"], outcome.certified()
    error = "rmse" if not job.table.target.classes else "log loss"
    rows = [("result", outcome.sentence), *outcome.rows]
    if content["test"]:
        rows.append(("test", f"{told(content['test'])} (of {n} rows put aside)"))
    if left_out:
        rows.append(("left out", f"{error} {left_out:.4g} (foretold from the training rows)"))
    rows += [(name, told(values)) for name, values in content["baselines"].items()]
    rows += [("note", note) for note in content["stats"]["notes"]]
    rows.append(("run", str(job.folder.path)))
    if content["report"]:
        rows.append(("report", content["report"]))
    plain = certified.short and f"{certified.short} --verbose and the report show the certificate."
    whole = f"{certified.heading}\n{certified.words}"
    known = f"{certified.short}\n\n{whole}" if plain and job.verbose else plain or whole
    return f"{summary(rows)}\n\n{known}\n\n{content['verdict']}"


def suited(start: ChosenStart) -> str:
    """What the start of a network was suited to, in plain words."""
    units = "The units of the data were taken into account first. " if start.units.changed else ""
    if start.reason is not None:
        return f"{units}The network starts as it is, since {start.reason}"
    if start.gain == 1.0:
        return (
            f"{units}The network starts as it is: no other scale of its first layer is clearly better on rows left out."
        )
    return f"{units}The first layer starts {start.gain:g} times as large: rows left out are predicted better by that."


def in_short_first(words: str) -> str:
    """The lines of a certificate with their meaning, which is the last of them, before all others."""
    rows, found, meaning = words.rpartition("\nin short")
    return f"In short: {' '.join(meaning.split())}\n\n{rows}" if found else words
