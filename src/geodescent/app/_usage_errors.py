"""Options that cannot be used: what is said, and the exit status."""

import sys

import typer

from geodescent.app.report import Answer

USAGE = 2  # Exit status of options that cannot be used, as shells have it.
COMMANDS = ("fit", "plan", "flow", "certify", "predict", "solve")
"""Names of the commands, each of which has a help of its own."""
USAGE_ERROR: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""What is raised for options that cannot be used: the class that bad values, missing ones and unknown options share.
Which module holds it depends on typer's version."""


def refused(error: typer.BadParameter) -> int:
    """Says what is wrong with the options, or shows the help where there are none."""
    words = sys.argv[1:]
    if not words:
        error.show()
        return USAGE
    sentence = error.format_message().removeprefix("Invalid value: ").rstrip(".")
    asked = ["geodescent", *words[:1]] if words[0] in COMMANDS else ["geodescent"]
    sentence += "" if sentence.endswith("?") else "."
    Answer("--json" in words).fail(f"{sentence} See {' '.join(asked)} --help.", USAGE)
    return USAGE
