"""A result in six lines: what is known, notes, and what to do next."""

import html
import textwrap
from collections.abc import Iterable, Mapping

from geodescent._record import Result
from geodescent.certificate import JUDGED, NO_SOLUTION, OTHER_START, Certificate, judging
from geodescent.doors._on_demand import OnDemand, Words

WIDTH_OF_RESULTS = 80  # Of a terminal, which a printed result is wrapped to.
GO_ON = "Call {call} again to go on from here"
LOWER_DIGITS = "What the cost could still fall by is lost in rounding."
NEXT: dict[Result, str] = {
    Result.target_reached: "{judged}",
    Result.time_reached: "To go on to the least cost from here, call gd.fit.",
    Result.rounding_floor: "{judged}",
    Result.validation_rose: "Use the model as it is: it stands at the least validation cost.",
    Result.max_steps: f"{GO_ON}, or pass a larger max_steps.",
    Result.max_seconds: f"{GO_ON}, or pass a larger max_seconds.",
    Result.stopped: f"{GO_ON}.",
    Result.interrupted: f"{GO_ON}.",
    Result.not_integrable: "gd.fit reaches the least cost all the same; gd.certify says what takes the rank.",
    Result.nonfinite: "Begin with other parameters, or bring X and y to order 1; gd.initialise(model, X, y) does so.",
}
"""Result → what to do next; of all others the certificate says it."""
NEXT_OF_EQUATIONS = NEXT | {
    Result.nonfinite: "Begin with another network, or bring equations and coordinates to order 1.",
}
CUT_SHORT = (Result.max_steps, Result.max_seconds, Result.stopped, Result.interrupted)
"""Results of runs that something else than the descent ended."""
WORDS_AT_AN_END: dict[Result, str] = {
    Result.rounding_floor: LOWER_DIGITS,
    Result.stationary: LOWER_DIGITS,
    Result.no_progress: "To first order the cost could still fall, but no step that was tried lowers it.",
}
"""Result → what it means at points from where the cost falls to first order: the descent has ended."""
MOST_CAUSES = 3  # Of those that a printed result names; the certificate names all.


def lines_of(
    on_demand: OnDemand, seconds: float, result: Result, stats: Mapping[str, object], *, call: str
) -> list[tuple[str, str]]:
    """What is known, with its causes where somebody has to look at them, notes, and what to do next, each by its name.

    Args:
        call: the door that made the result.
    """
    usual = (NEXT_OF_EQUATIONS if on_demand.are_equations else NEXT).get(result)
    judged = judging(draws_points=on_demand.draws_points) if on_demand.are_equations else JUDGED
    if usual is not None:
        usual = usual.format(call=call, judged=judged)

    def words(certificate: Certificate) -> Words:
        meaning, following = _agreeing(certificate, result, usual, judged)
        return Words(meaning, following, tuple(cause.sentence for cause in certificate.named_causes), is_known=True)

    found = on_demand.in_words(seconds, words)
    following = found.following if found.is_known or usual is None else usual
    causes = list(found.causes)
    more = len(causes) - MOST_CAUSES
    causes[MOST_CAUSES:] = [f"{more} more, which print(….certificate) names."] if more > 0 else []
    listed = stats["notes"]
    notes = " ".join(map(str, listed)) if isinstance(listed, Iterable) else ""
    return [
        ("known", found.known),
        *(("cause", cause) for cause in causes),
        ("notes", notes or "none"),
        ("next", following),
    ]


def _agreeing(certificate: Certificate, result: Result, usual: str | None, judged: str) -> tuple[str, str]:
    """What the certificate means, and what to do next, so that neither contradicts how the run ended.

    Args:
        usual: what is to be done after this result; None where the certificate says it.
        judged: how such a solution is judged.
    """
    words, point = certificate.in_words(), certificate.point
    hindered = certificate.equations and any(cause.stands_in_the_way for cause in certificate.causes)
    if result is Result.nonfinite or certificate.noise is not None:
        return words.meaning, usual or words.advice
    at_an_end = certificate.in_words(has_ended=result in WORDS_AT_AN_END)
    if hindered or at_an_end.is_final or (result in CUT_SHORT and point is not None and point.has_ended):
        return at_an_end.meaning, at_an_end.advice
    if result in WORDS_AT_AN_END and not (point is not None and point.has_ended):
        if certificate.near_rounding:
            return WORDS_AT_AN_END[result], usual or judged
        ends_high = certificate.equations and result is Result.stationary
        return NO_SOLUTION if ends_high else WORDS_AT_AN_END[result], usual or f"{judged} {OTHER_START}"
    return words.meaning, usual or words.advice


def text_of(rows: Iterable[tuple[str, str]], width: int) -> str:
    """The lines for a terminal, what goes on below the beginning of its text.

    Args:
        width: of the names.
    """
    indent = " " * (width + 1)
    wrapper = textwrap.TextWrapper(
        WIDTH_OF_RESULTS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapper.fill(f"{name:<{width}} {text}") for name, text in rows)


def html_of(rows: Iterable[tuple[str, str]], picture: str) -> str:
    """The lines as a table, and the picture below it."""
    cells = "".join(
        f'<tr><th style="text-align: left; vertical-align: top">{html.escape(name)}</th>'
        f'<td style="text-align: left">{html.escape(text)}</td></tr>'
        for name, text in rows
    )
    return f"<table>{cells}</table>{picture}"
