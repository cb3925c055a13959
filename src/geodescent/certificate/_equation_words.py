"""What a certificate of equations means, and what to do, for people who know none of its words."""

from collections.abc import Sequence

from geodescent.certificate._cause import Cause
from geodescent.certificate._plain_words import REACHED, PlainWords
from geodescent.certificate._point import Point
from geodescent.problem import Misfit

BY_REFERENCE = "where a solution is known, pde.plot(solution, reference) shows the difference."
FRESH = (
    "solution.residuals() compares the residual at fresh points, where it should not be much larger than at those "
    f"that were fitted; {BY_REFERENCE}"
)
NOT_FRESH = (
    "No other points can be drawn, at which the residual could be compared: points of a pde.Box allow it; "
    f"{BY_REFERENCE}"
)
OTHER_START = "Another start or a wider network may end lower."
NO_SOLUTION = (
    "No small change of the network lowers the residuals further: where solution.residuals() shows large ones, this is "
    "no solution."
)
MOSTLY_DATA = 0.9  # Share of the cost: above it what is left of equations and conditions is not worth speaking of.
STAYS = 0.9  # Share of the cost: where as much stays to first order, small changes of the network hardly lower it.
NOISE_STAYS = 0.5  # The same where what is left looks like errors: much of the rest would be to learn them by heart.
NAMED_TERMS = 3  # Measured terms that a sentence names before it breaks off.


def judging(*, draws_points: bool) -> str:
    """How a solution of equations is judged: on fresh points, where there are any."""
    return FRESH if draws_points else NOT_FRESH


def equations_in_words(
    cost: float,
    causes: Sequence[Cause],
    point: Point | None,
    *,
    floor: float | None,
    near_rounding: bool,
    misfit: Misfit | None,
    draws_points: bool,
    has_ended: bool,
) -> PlainWords:
    """Rows are equations at places: what counts is whether they can vanish, and whether they do between the points.

    Args:
        floor: the instant one.
        near_rounding: whether the cost is so near to the rounding floor that nothing is gained by a lower one.
        misfit: of measured terms, where there are such.
        draws_points: whether other points can be drawn.
        has_ended: whether a descent found no way down.
    """
    judged, kind = judging(draws_points=draws_points), None if point is None else point.kind
    caused = _by_causes(cost, causes, judged)
    if caused is not None:
        return caused
    if kind == "zero_cost":
        return PlainWords("All rows vanish to rounding: nothing is left to fit at these points.", judged)
    if near_rounding:
        return PlainWords(
            "The residuals are near to what rounding makes of them: little is left to gain.", judged, is_final=True
        )
    of_data = misfit is not None and misfit.share >= MOSTLY_DATA and not misfit.to_last_digit
    has_ended = has_ended or kind == "critical"
    if of_data and misfit and (has_ended or _stays(misfit, floor, cost)):
        return _left_of_data(misfit, judged)
    if has_ended:
        return PlainWords(
            NO_SOLUTION,
            f"{judged} {OTHER_START}",
        )
    return _under_way(judged, measured=misfit is not None and not misfit.to_last_digit, known=kind == "moving")


def _by_causes(cost: float, causes: Sequence[Cause], judged: str) -> PlainWords | None:
    """Where causes say what is left, or stand in the way; None where they do not."""
    exact = [cause for cause in causes if cause.exact]
    unremovable = sum(cause.cost or 0.0 for cause in exact)
    at_least = unremovable > 0.0 and cost <= REACHED * unremovable
    if at_least and any(cause.kind == "conflicting_conditions" for cause in exact):
        return PlainWords(
            f"Conditions contradict each other: no fields cost less than {unremovable:.3g}, and these have come to it.",
            "Correct the conditions that are named.",
            names_causes=True,
        )
    if any(cause.stands_in_the_way for cause in causes):
        return PlainWords(
            "What is named as a cause stands between this and a solution to rely on.",
            "Mend that first, then call gd.fit again.",
            names_causes=True,
        )
    if not at_least:
        return None
    meaning = f"Repeated measurements differ: no fields cost less than {unremovable:.3g}, and these have come to it."
    return PlainWords(meaning, judged, is_final=True)


def _stays(misfit: Misfit, floor: float | None, cost: float) -> bool:
    """Whether small changes of the network leave most of the cost: so much that what may go matters to nobody."""
    return floor is not None and floor >= (NOISE_STAYS if misfit.is_noise else STAYS) * cost


def _left_of_data(misfit: Misfit, judged: str) -> PlainWords:
    """Where nearly all of the cost is that of measured terms, and small changes of the network hardly lower it."""
    named = [f"{name!r} is off by {rms:.3g} (RMS)" for name, rms in misfit.rms.items()]
    terms = ", ".join(named[:NAMED_TERMS]) + (", …" if len(named) > NAMED_TERMS else "")
    left = f"What is left is the misfit of the measured values: {terms}"
    coefficients = " solution.unknowns says how far its coefficients can be relied on." if misfit.has_unknowns else ""
    if misfit.is_noise:
        return PlainWords(
            f"{left}. It looks like independent errors of measurement of that size: neighbouring places are not off "
            "alike.",
            f"Where the errors of the data are not smaller, little is left to gain.{coefficients} {judged}",
            is_final=True,
        )
    if misfit.is_noise is False:
        return PlainWords(
            f"{left}. Neighbouring places are off alike, which independent errors of measurement are not.",
            f"Where the errors are independent, the fields or an equation are wrong. {OTHER_START}",
            is_final=True,
        )
    return PlainWords(
        f"{left}.",
        "Where the errors of the data are about as large, nothing is left to fit; where they are smaller, another "
        f"start or a wider network may end lower. {judged}",
        is_final=True,
    )


def _under_way(judged: str, *, measured: bool, known: bool) -> PlainWords:
    """Where a small change of the network lowers the residuals, or where that is not known."""
    but = ", but for the errors of measured values" if measured else ""
    falls = (
        "The residuals can still fall from here"
        if known
        else "It was not computed whether a small change of the network lowers the residuals further"
    )
    return PlainWords(
        f"{falls}. A solution of all equations and conditions makes all of them zero{but}.",
        f"Go on with gd.fit where they are not low enough. {judged}",
    )
