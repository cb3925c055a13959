"""What a certificate means, and what to do, for people who know none of its words."""

import math
from collections.abc import Sequence

from geodescent.certificate._cause import Cause
from geodescent.certificate._identifiable import Identifiability
from geodescent.certificate._point import Point

FRESH = (
    "solution.residuals() compares the residual at fresh points, where it should be no larger; where a solution is "
    "known, pde.plot(solution, reference) shows the difference."
)
"""How a solution of equations is judged."""
REACHED = 1.0 + 1e-6  # Times a cost that nothing can remove: below it a fit is said to have reached it.


def in_plain_words(
    *,
    cost: float,
    rank: int | None,
    n_params: int,
    n_rows: int,
    floor: float | None,
    causes: Sequence[Cause],
    point: Point | None,
    identifiable: Identifiability | None,
) -> tuple[str, str]:
    """Two sentences or so: what it means, and what to do."""
    if not math.isfinite(cost):
        return "The outputs are not finite here.", "Start at other parameters, or scale the data to order 1."
    if identifiable is not None:
        return _classical(identifiable, point)
    unremovable = sum(cause.cost or 0.0 for cause in causes if cause.exact)
    kind = None if point is None else point.kind
    if kind == "zero_cost":
        return (
            "The outputs hit the targets to rounding: nothing is left to fit.",
            "Judge the model on data that were not fitted.",
        )
    if unremovable > 0.0 and cost <= REACHED * unremovable:
        return (
            f"Samples with the same inputs have different targets: no model of these inputs costs less than "
            f"{unremovable:.3g}, and this one has come to it.",
            "Nothing is left to fit; add a column that tells these samples apart, or take their mean.",
        )
    if kind == "critical":
        return _at_a_critical_point(point, few=n_params < n_rows)
    if rank is None:
        return (
            "It is not known how far the parameters can move the outputs here.",
            "Where the cost is not low enough yet, go on with gd.fit; gd.certify without max_seconds says what it can.",
        )
    if rank == n_rows:
        return (
            "Every output can be moved on its own from here: nothing stands in the way of a cost of zero.",
            "Go on with gd.fit.",
        )
    return _short_of_rank(rank, n_rows, n_params, floor, causes)


def equations_in_words(cost: float, causes: Sequence[Cause], point: Point | None) -> tuple[str, str]:
    """Rows are equations at places: what counts is whether they can vanish, and whether they do between the points."""
    unremovable = sum(cause.cost or 0.0 for cause in causes if cause.exact)
    kind = None if point is None else point.kind
    hinder = any(cause.stands_in_the_way for cause in causes)
    if unremovable > 0.0 and cost <= REACHED * unremovable:
        return (
            f"Conditions contradict each other: no fields cost less than {unremovable:.3g}, and these have come to it.",
            "Correct the conditions that are named, unless these are repeated measurements.",
        )
    if hinder:
        return (
            "What is named as a cause stands between this and a solution to rely on.",
            "Mend that first, then call gd.fit again.",
        )
    if kind == "zero_cost":
        return "All rows vanish to rounding: nothing is left to fit at these points.", FRESH
    if kind == "critical":
        return (
            "No small change of the network lowers the residuals further.",
            f"{FRESH} Another start or a wider network may end lower.",
        )
    known = kind == "moving"
    return (
        f"{'The residuals can still fall from here' if known else 'It was not computed how far the residuals can fall'}"
        ": rows of equations agree with each other, and can vanish together.",
        f"Go on with gd.fit where they are not low enough. {FRESH}",
    )


def _classical(known: Identifiability, point: Point | None) -> tuple[str, str]:
    """Few parameters and many rows: what counts is whether the data determine them."""
    ended = point is not None and point.has_ended
    go_on = "" if ended else "Go on with gd.fit: this is not the least cost yet. "
    if not known.confounded:
        end = "the least cost is reached, to first order" if ended else "there is one best point near here"
        advice = go_on or "Use the parameters with their standard errors; judge the formula by its residuals."
        return f"The data determine every parameter; {end}.", advice.strip()
    name = known.confounded[0][-1]
    return (
        "The data do not determine every parameter: others fit exactly as well.",
        f"{go_on}Leave {name} at a fixed value, or add data on which it acts differently; what the outputs say is not "
        "affected.",
    )


def _at_a_critical_point(point: Point | None, *, few: bool) -> tuple[str, str]:
    if point is not None and point.saddle:
        return (
            "No small change lowers the cost to first order, but this is a saddle: the cost falls along a curved way.",
            "Move every parameter by a little, such as p.add_(0.01 * torch.randn_like(p)), and call gd.fit again.",
        )
    if few:
        return (
            "There are fewer parameters than residuals, and no small change of them lowers the cost: it is the least "
            "one near here.",
            "Judge the model on data that were not fitted; another start may end lower.",
        )
    return (
        "No small change of the parameters lowers the cost, though it is above zero.",
        "Remove the causes that are named, or begin at another start: make the model anew, then gd.initialise.",
    )


def _short_of_rank(
    rank: int, n_rows: int, n_params: int, floor: float | None, causes: Sequence[Cause]
) -> tuple[str, str]:
    left = "" if floor is None else f", which costs at most {floor:.3g} here"
    if n_params < n_rows:
        return (
            f"{n_params} parameters cannot fit {n_rows} residuals exactly: a fit ends at a least cost above zero.",
            "Go on with gd.fit, and judge the model on data that were not fitted.",
        )
    remedy = (
        "Remove the causes that are named, then go on with gd.fit." if causes else "Go on with gd.fit all the same."
    )
    return f"{n_rows - rank} of {n_rows} directions of the outputs cannot be moved from here{left}.", remedy
