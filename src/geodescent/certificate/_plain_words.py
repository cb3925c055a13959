"""What a certificate means, and what to do, for people who know none of its words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from geodescent.certificate._cause import Cause
from geodescent.certificate._identifiable import Identifiability
from geodescent.certificate._point import Point

JUDGED = "Judge the model on data that were not fitted."
REACHED = 1.0 + 1e-6  # Times a cost that nothing can remove: below it a fit is said to have reached it.


@dataclass(frozen=True)
class PlainWords:
    """What a certificate means, for people.

    Attributes:
        meaning: a sentence or two.
        advice: what to do next.
        names_causes: whether these speak of causes, which are then to be named.
        is_final: whether these say why the cost cannot fall much further, however the run has ended.
    """

    meaning: str
    advice: str
    names_causes: bool = False
    is_final: bool = False


def in_plain_words(
    *,
    cost: float,
    rank: int | None,
    sizes: tuple[int, int],
    floor: float | None,
    near_rounding: bool,
    causes: Sequence[Cause],
    point: Point | None,
    identifiable: Identifiability | None,
) -> PlainWords:
    """What it means, and what to do, where rows are samples with their targets.

    Args:
        sizes: numbers of parameters, and of rows of positive weight.
        floor: the instant one.
        near_rounding: whether the cost is so near to the rounding floor that nothing is gained by a lower one.
    """
    if not math.isfinite(cost):
        return PlainWords(
            "The outputs are not finite here.", "Start at other parameters, or scale the data to order 1."
        )
    if identifiable is not None:
        return _classical(identifiable, point)
    kind, (n_params, n_rows) = None if point is None else point.kind, sizes
    if kind == "zero_cost":
        return PlainWords("The outputs hit the targets to rounding: nothing is left to fit.", JUDGED)
    unremovable = sum(cause.cost or 0.0 for cause in causes if cause.exact)
    if unremovable > 0.0 and cost <= REACHED * unremovable:
        return PlainWords(
            f"Samples with the same inputs have different targets: no model of these inputs costs less than "
            f"{unremovable:.3g}, and this one has come to it.",
            "Nothing is left to fit; add a column that tells these samples apart, or take their mean.",
            is_final=True,
        )
    hindered = any(cause.stands_in_the_way for cause in causes)
    if kind == "critical":
        few = n_params < n_rows
        return _at_a_critical_point(point, few=few, hindered=hindered, near_rounding=near_rounding)
    if rank is None:
        return PlainWords(
            "It is not known how far the parameters can move the outputs here.",
            "Where the cost is not low enough yet, go on with gd.fit; gd.certify without max_seconds says what it can.",
        )
    if rank == n_rows:
        return PlainWords(
            "Every output can be moved on its own from here: nothing stands in the way of a cost of zero.",
            "Go on with gd.fit.",
        )
    return _short_of_rank(n_rows - rank, sizes, floor, hindered=hindered)


def _classical(known: Identifiability, point: Point | None) -> PlainWords:
    """Few parameters and many rows: what counts is whether the data determine them."""
    ended = point is not None and point.has_ended
    go_on = "" if ended else "Go on with gd.fit: this is not the least cost yet. "
    if not known.confounded:
        end = "the least cost is reached, to first order" if ended else "there is one best point near here"
        advice = go_on or "Use the parameters with their standard errors; judge the formula by its residuals."
        return PlainWords(f"The data determine every parameter; {end}.", advice.strip())
    name = known.confounded[0][-1]
    return PlainWords(
        "The data do not determine every parameter: others fit exactly as well.",
        f"{go_on}Leave {name} at a fixed value, or add data on which it acts differently; what the outputs say is not "
        "affected.",
    )


def _at_a_critical_point(point: Point | None, *, few: bool, hindered: bool, near_rounding: bool) -> PlainWords:
    if near_rounding:
        meaning = "No small change of the parameters lowers the cost, which is near to what rounding makes of it."
        return PlainWords(meaning, JUDGED)
    if point is not None and point.saddle:
        return PlainWords(
            "No small change lowers the cost to first order, but this is a saddle: the cost falls along a curved way.",
            "Move every parameter by a little, such as p.add_(0.01 * torch.randn_like(p)), and call gd.fit again.",
        )
    if few:
        return PlainWords(
            "There are fewer parameters than residuals, and no small change of them lowers the cost: it is the least "
            "one near here.",
            "Judge the model on data that were not fitted; another start may end lower.",
        )
    other = "at another start: make the model anew, then gd.initialise."
    return PlainWords(
        "No small change of the parameters lowers the cost, though it is above zero.",
        f"Remove the causes that are named, or begin {other}" if hindered else f"Begin {other}",
        names_causes=hindered,
    )


def _short_of_rank(missing: int, sizes: tuple[int, int], floor: float | None, *, hindered: bool) -> PlainWords:
    """Of a rank that is lower by so many than the number of rows."""
    n_params, n_rows = sizes
    left = "" if floor is None else f", which costs at most {floor:.3g} here"
    if n_params < n_rows:
        return PlainWords(
            f"{n_params} parameters cannot fit {n_rows} residuals exactly: a fit ends at a least cost above zero.",
            "Go on with gd.fit, and judge the model on data that were not fitted.",
        )
    return PlainWords(
        f"{missing} of {n_rows} directions of the outputs cannot be moved from here{left}.",
        "Remove the causes that are named, then go on with gd.fit." if hindered else "Go on with gd.fit all the same.",
        names_causes=hindered,
    )
