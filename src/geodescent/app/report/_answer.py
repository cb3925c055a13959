"""What the command says: sentences for people, and one object for programs."""

import logging
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from geodescent.app.report._options import in_options
from geodescent.app.runs import strict_json

COLUMNS = 80  # Of a terminal, which the rows are wrapped to.
INTERRUPTED = 130  # Exit status: 128 and the number of SIGINT, as shells have it.
NOTHING_SAVED = "interrupted: nothing had been saved. The same command begins again."
INDENT = 24  # Columns that the name of a row takes.


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

    def end(self, content: Mapping[str, object]) -> None:
        """The same of a run; the command leaves with the status of an interruption where it was one."""
        self.give(content)
        if content["result"] == "interrupted":
            raise typer.Exit(INTERRUPTED)

    def fail(self, message: str, status: int) -> typer.Exit:
        """The way out after an error."""
        typer.echo(wrapped(f"error: {message}"), err=True)
        self.give({"error": message})
        return typer.Exit(status)


@contextmanager
def answering(as_json: bool) -> Iterator[Answer]:
    """What the command answers, also to whatever goes wrong inside the block; SIGTERM is as Ctrl-C there.

    An interrupt may bring a sentence on what is kept. What the library warns of is among the notes of the answer, so
    that it is not written to standard error as well.
    """
    from geodescent import doors

    answer = Answer(as_json)
    logging.getLogger("geodescent").addHandler(logging.NullHandler())
    try:
        with doors.as_ctrl_c():
            yield answer
    except (typer.Exit, typer.BadParameter):
        raise
    except (ValueError, OSError) as error:
        raise answer.fail(in_options(str(error)), 1) from error
    except KeyboardInterrupt as interrupt:
        raise answer.fail(str(interrupt) or NOTHING_SAVED, INTERRUPTED) from interrupt
    except Exception as error:
        traceback.print_exc()
        raise answer.fail(f"{type(error).__name__}: {error} (this should not happen: please report it)", 1) from error


def wrapped(text: str) -> str:
    """The text in lines of at most 80 columns; what goes on stands under where its line begins.

    Characters that a terminal would obey, which names in files may hold, are shown as escapes.
    """
    return "\n".join(_wrapped_line(printable(line)) for line in text.split("\n"))


def printable(text: str) -> str:
    """The text, with an escape such as \\x1b for each character that is not printed."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


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


def summary(rows: Iterable[tuple[str, str]]) -> str:
    """How a run ended, in rows of a name and a text, the texts one below the other."""
    return "\n".join(_row(name, text) for name, text in rows)


def _row(name: str, text: str) -> str:
    indent = " " * INDENT
    lines = textwrap.TextWrapper(
        COLUMNS, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return name.ljust(INDENT) + lines.fill(text)[INDENT:]
