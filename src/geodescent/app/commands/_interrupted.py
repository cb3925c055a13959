"""What an interrupt leaves behind, and how to go on: every phase of a command says it."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geodescent._files import own_file
from geodescent.app.fitted import POSTERIOR, WEIGHTS
from geodescent.app.runs import CONFIG, STATE_FOLDER


@contextmanager
def saying_what_is_kept(folder: Path, *, resumable: bool) -> Iterator[None]:
    """Gives an interrupt inside the block a sentence on what lies in the folder of the run.

    Args:
        resumable: whether the command has --resume.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        kept = _kept(folder, resumable=resumable)
        raise (KeyboardInterrupt(kept) if kept else KeyboardInterrupt) from interrupt


def going_on(folder: Path) -> str:
    """The words of a shell that go on with the run in a folder."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    named = any(word == "--out" or word.startswith("--out=") for word in words)
    return shlex.join(["geodescent", *words, *([] if named else ["--out", str(folder)]), "--resume"])


def _kept(folder: Path, *, resumable: bool) -> str:
    """What there is, and what to do; empty where there is nothing."""
    state = folder / STATE_FOLDER
    if resumable and state.is_dir() and any(state.iterdir()):
        return f"interrupted: the last step that was saved is kept in {folder}. To go on from there: {going_on(folder)}"
    if any(own_file(folder / name) for name in (WEIGHTS, POSTERIOR)):
        return (
            f"interrupted after the fit: what was fitted is kept in {folder}, and geodescent predict {folder} DATA "
            "predicts by it. There are no scores and no report: for these begin again with another --out."
        )
    if not own_file(folder / CONFIG):
        return ""
    before = f"interrupted before anything was fitted: {folder} holds the settings alone"
    if resumable:
        return f"{before}. To begin again: {going_on(folder)}"
    return f"{before}, and the history. To begin again remove it, or choose another folder with --out."
