"""What the command says: sentences for people, and one object for programs."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer

from geodescent.app._runs import strict_json

COLUMNS = 80  # Of a terminal, which the rows are wrapped to.
INDENT = 13  # Columns that the name of a row takes.


@dataclass(frozen=True)
class Answer:
    """Where things are said: with --json one object on standard output, everything else on standard error."""

    as_json: bool

    def say(self, text: str) -> None:
        """A text for people."""
        typer.echo(wrapped(text), err=self.as_json)

    def give(self, content: Mapping[str, object]) -> None:
        """The one object, last."""
        if self.as_json:
            typer.echo(strict_json(dict(content)))

    def fail(self, message: str, status: int) -> typer.Exit:
        """The way out after an error."""
        typer.echo(wrapped(f"error: {message}"), err=True)
        self.give({"error": message})
        return typer.Exit(status)


def wrapped(text: str) -> str:
    """The text in lines of at most 80 columns; what goes on stands under where its line begins."""
    return "\n".join(_wrapped_line(line) for line in text.split("\n"))


def _wrapped_line(line: str) -> str:
    if len(line) <= COLUMNS:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.strip(),
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(content: Mapping[str, Any], *, sentence: str, certificate: str) -> str:
    """How a run ended, in rows of a name and a text."""
    target = content["target_cost"]
    rows = [
        ("cost", f"{content['cost0']:.4g} → {content['cost']:.4g}" + (f"  (target {target:.3g})" if target else "")),
        ("result", sentence),
        ("steps", f"{content['steps']} in {content['seconds']:.1f} s, peak {content['peak_mb']:.0f} MB"),
        ("test", ", ".join(f"{name} {value:.4g}" for name, value in content["test"].items())),
        ("run", content["run"]),
    ]
    rows += [("note", note) for note in content["stats"]["notes"]]
    if "max_relative_deviation" in content:
        deviation = f"{content['max_relative_deviation']:.2e} from the predicted cost, over {content['points']} points"
        rows.insert(2, ("deviation", deviation))
    shown = "\n".join(_row(name, text) for name, text in rows)
    return f"{shown}\n\ncertificate at the end\n{certificate}"


def _row(name: str, text: str) -> str:
    indent = " " * INDENT
    lines = textwrap.TextWrapper(
        COLUMNS, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return name.ljust(INDENT) + lines.fill(text)[INDENT:]
