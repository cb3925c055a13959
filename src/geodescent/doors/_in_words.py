"""A result in six lines: what is known, notes, and what to do next."""

import html
import textwrap
from collections.abc import Iterable, Mapping

from geodescent._record import Result
from geodescent.doors._on_demand import OnDemand

WIDTH_OF_RESULTS = 80  # Of a terminal, which a printed result is wrapped to.
GO_ON = "Call {call} again to go on from here"
NEXT: dict[Result, str] = {
    Result.target_reached: "Nothing is left to fit. Judge the model on data that were not fitted.",
    Result.time_reached: "Nothing is left to do: gd.fit goes on to the least cost from here.",
    Result.rounding_floor: "Nothing is left to gain in {dtype}. Judge the model on data that were not fitted.",
    Result.validation_rose: "Use the model as it is: it stands at the least validation cost.",
    Result.max_steps: f"{GO_ON}, or pass a larger max_steps.",
    Result.max_seconds: f"{GO_ON}, or pass a larger max_seconds.",
    Result.stopped: f"{GO_ON}.",
    Result.interrupted: f"{GO_ON}.",
    Result.not_integrable: "gd.fit reaches the least cost all the same; gd.certify says what takes the rank.",
    Result.nonfinite: "Begin with other parameters, or bring X and y to order 1; gd.initialise(model, X, y) does so.",
}
"""Result → what to do next; of all others the certificate says it."""


def lines_of(
    on_demand: OnDemand, seconds: float, result: Result, stats: Mapping[str, object], *, call: str
) -> list[tuple[str, str]]:
    """What is known, notes, and what to do next, each with its name.

    Args:
        call: the door that made the result.
    """
    meaning, advice = on_demand.in_words(seconds)
    listed = stats["notes"]
    notes = " ".join(map(str, listed)) if isinstance(listed, Iterable) else ""
    following = NEXT.get(result, advice).format(dtype=stats["model_dtype"], call=call)
    return [
        ("known", meaning),
        ("notes", notes or "none"),
        ("next", following),
    ]


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
