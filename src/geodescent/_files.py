"""Files of a run: written whole or not at all, never through a link, and by one run at a time."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from geodescent._errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """The file with this content, or the file as it was."""
    put_whole(path, lambda draft: _write_bytes(draft, content))


def put_whole(path: Path, write: Callable[[Path], None]) -> None:
    """The file as `write` makes it, or the file as it was: a crash or a full disk leaves no half of one.

    A link of that name is replaced; what it points to is left alone.

    Args:
        write: makes the file of the name that it is given.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        write(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """One more line of a text file. Raises OSError where the name is that of a link."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    with open(path, "a", encoding="utf-8", opener=opener) as file:
        file.write(line + "\n")


def own_file(path: Path) -> bool:
    """Whether there is a file of that name. Raises InputError for a link, a folder, or whatever is no file."""
    if path.is_symlink():
        raise InputError(f"{path} is a link, which is not followed: put the file itself in its place, or remove it.")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file: remove it, or choose another folder.")
    return path.is_file()


def require_writable(folder: Path, what: str) -> None:
    """Makes the folder. Raises InputError where that, or a file in it, cannot be made.

    Args:
        what: a name of the folder for people.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{what} {folder} cannot be made: {error.strerror}. Choose another folder.") from error
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"nothing can be written to {what} {folder}: {error.strerror}. Choose another folder."
        ) from error


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder inside the block; the system ends this with the process.

    Raises: InputError, where another run is in it. On Windows, and where the file system has no locks, nobody is kept
    out.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl  # Unix has it

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(
            f"another run is writing to {folder}: wait until it has ended, or choose another folder."
        ) from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for processes that were forked meanwhile
        os.close(descriptor)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
