"""What a function of the user's file returns; what it raises is told in words, with the line that it comes from."""

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

from geodescent._errors import InputError

Asked = TypeVar("Asked")


def asked_of_file(ask: Callable[[], Asked], path: Path, what: str) -> Asked:
    """What `ask` returns.

    Args:
        ask: runs code of the file.
        path: of the file.
        what: begins the sentence where that code fails.

    Raises: InputError, with the line of the file, for whatever the file raises and where it ends the program.
    """
    try:
        return ask()
    except InputError as error:
        raise InputError(f"{error}{_place(error, path)}") from None
    except SystemExit as error:
        raise InputError(
            f"{what}: it ends the program, as sys.exit() does, and nothing is solved. Leave that out."
            f"{_place(error, path)}"
        ) from None
    except Exception as error:  # whatever the file raises
        message = f"{type(error).__name__}: {error}".rstrip(": .")
        raise InputError(f"{what}, {message}.{_place(error, path)}") from None


def _place(error: BaseException, path: Path) -> str:
    """The line of the file that an error comes from, with a space before it; empty where none is known."""
    line = _line_of(error, path)
    if line is None:
        return ""
    linecache.checkcache(str(path))
    source = linecache.getline(str(path), line).strip()
    return f" It comes from line {line} of {path}" + (f": {source}" if source else ".")


def _is(frame: FrameType, path: Path) -> bool:
    """Whether a frame is one of the file."""
    return Path(frame.f_code.co_filename).resolve() == path.resolve()


def _line_of(error: BaseException, path: Path) -> int | None:
    """The innermost line of the file on the way to the error, or to the one that it tells in words."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        return error.lineno
    for one in (error.__cause__, error):
        frames = traceback.walk_tb(one.__traceback__ if one is not None else None)
        lines = [number for frame, number in frames if _is(frame, path)]
        if lines:
            return lines[-1]
    return None
