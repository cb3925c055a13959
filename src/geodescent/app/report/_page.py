"""report.html: what was fitted, how good it is and what it rests on, as one page that needs nothing else."""

import numpy as np

from geodescent._errors import InputError
from geodescent.app.report._document import document
from geodescent.app.report._facts import ReportFacts
from geodescent.app.report._figures import measured_against_predicted, residuals_picture
from geodescent.app.report._figures_of_classes import calibration_picture, confusion_picture, sureness_picture
from geodescent.app.report._figures_of_runs import history_picture, importance_picture
from geodescent.app.report._markup import Picture, counted, escaped, figure, isolated, paragraphs, shortened
from geodescent.app.report._page_numbers import baselines, head_numbers, left_out_against_test
from geodescent.app.report._page_tables import account, certificate, choices, columns, notes

LONGEST_TITLE_NAME = 50  # Characters of a name in the title, which then takes some lines and not a screen.


def page(facts: ReportFacts) -> str:
    """The whole page as HTML that needs no other file and no network.

    Every text of `facts` is shown as it is, characters that would steer a display as escapes: none is obeyed.

    Args:
        facts: of the run; where there are classes, the rows hold probabilities.

    Raises:
        InputError: the classes and the rows of the test do not fit together.

    Cost: some tenths of a second for each picture; at most 2,000 rows are drawn.
    """
    _require_one_kind(facts)
    sections = [_head(facts), *_of_predictions(facts), _importance(facts), _history(facts)]
    sections += [left_out_against_test(facts), baselines(facts), certificate(facts.certificate)]
    sections += [choices(facts), columns(facts), account(facts.account), notes(facts.notes)]
    body = "\n".join(section for section in sections if section)
    title = f"Predicting {shortened(facts.target)} from {shortened(facts.data)}"
    return document(title, body, "Pictures differ in shape as well as in colour.")


def _require_one_kind(facts: ReportFacts) -> None:
    probabilities = facts.rows.probabilities
    width = 0 if probabilities is None else probabilities.shape[1]
    if width != len(facts.classes):
        raise InputError(
            f"A page was asked for {len(facts.classes)} classes, but the test rows hold probabilities of {width}: pass "
            "one column for each class, or neither classes nor probabilities for a regression."
        )
    if probabilities is not None and (wrong := int(np.sum(~np.isfinite(probabilities).all(axis=1)))):
        raise InputError(
            f"{wrong} of {len(probabilities)} test rows have a probability that is not a finite number: leave them "
            "out, or fit with other inputs."
        )


def _head(facts: ReportFacts) -> str:
    """What fills the first screen: the story, the verdict, the main numbers and the main picture."""
    names = [isolated(name, LONGEST_TITLE_NAME) for name in (facts.target, facts.data)]
    parts = [
        f'<header>\n<p class="eyebrow">Report of a fit by geodescent · {counted(len(facts.rows.measured), "test row")} '
        f"· mode {escaped(facts.mode)}</p>",
        f"<h1>Predicting {names[0]} from {names[1]}</h1>",
        paragraphs(facts.story, "story"),
        f'<div class="verdict">{paragraphs(facts.verdict)}</div>' if facts.verdict.strip() else "",
        head_numbers(facts),
        "</header>",
    ]
    return "\n".join(part for part in parts if part)


def _of_predictions(facts: ReportFacts) -> list[str]:
    """The sections that show test rows."""
    rows, probabilities = facts.rows, facts.rows.probabilities
    if not len(rows.measured):
        return [_section("Measured against predicted", "<p>There are no test rows, so nothing can be shown here.</p>")]
    if probabilities is None:
        return [
            _section("Measured against predicted", "", measured_against_predicted(rows, facts.target)),
            _section("What is left over", "", residuals_picture(rows)),
        ]
    return [
        _section("Which classes are confused", "", confusion_picture(rows, facts.classes)),
        _section("Whether the probabilities come true", "", calibration_picture(rows, probabilities)),
        _section("How sure it was of what was measured", "", sureness_picture(rows, probabilities)),
    ]


def _importance(facts: ReportFacts) -> str:
    title = "Along which inputs the prediction bends"
    if not facts.importance:
        return _section(title, "<p>This run fits no scales of its inputs, so nothing is known about them here.</p>")
    words = (
        "<p>Every input is first divided by its standard deviation, so that all are compared in the same unit. The "
        "fit then finds a scale s for each. A large s means that the prediction bends along this input: its slope "
        "changes from one value to the next. An s near zero means that the input enters only as a straight line or by"
        " steps; it may still matter a lot, in this simple way. An input of two values, such as a yes or no, has no "
        "bend of its own, and its place in the picture is no rank of importance: its s tells how much what the other "
        "inputs do differs between the two. Inputs that tell the same thing share the scale, and none of this says "
        "what causes what.</p>"
    )
    return _section(title, words, importance_picture(facts.importance))


def _history(facts: ReportFacts) -> str:
    title = "How the fit went"
    if "cost" not in facts.history or not len(facts.history["cost"]):
        return _section(title, "<p>No history of this fit was kept.</p>")
    words = f"<p>The fit lowers one number, {isolated(facts.axis)}, until nothing is gained any more.</p>"
    return _section(title, words, history_picture(facts.history, facts.kept, facts.axis))


def _section(title: str, words: str, picture: Picture | None = None) -> str:
    drawn = "" if picture is None else figure(picture)
    return f"<section>\n<h2>{title}</h2>\n{words}\n{drawn}\n</section>"
