"""The state of a run on disk: the last one and the one before, each written completely or not at all."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geodescent._errors import InputError
from geodescent._files import alone_in, own_file, put_whole, require_writable
from geodescent._record import StepRecord
from geodescent.descent._round import Stages
from geodescent.descent._state import Numbers, Points, State, put_together, taken_apart
from geodescent.problem import Problem, rounding_floor, same_cost

EVERY_SECONDS = 30.0  # Seconds between two savings of a run, at most.
SHARE_OF_TIME = 0.05  # Of the time since the last saving that the next may cost, where it comes earlier than that.
STATE, PREVIOUS = "state.safetensors", "state.previous.safetensors"
FORMAT = 3  # Version of the file: 1 had no stages; 2 had no digest, and no metric of the parameters.
DIGEST_BYTES = 16  # Bytes of the digest: contents that were changed have the same one by chance alone.


@contextmanager
def saving_alone(checkpoint: str | os.PathLike[str] | None) -> Iterator[Path | None]:
    """The folder to save to, which no other run writes to inside the block; None where nothing is saved.

    Raises: InputError, before any work, where nothing could be saved, or another run is in the folder.
    """
    if checkpoint is None:
        yield None
        return
    if not isinstance(checkpoint, str | os.PathLike) or not os.fspath(checkpoint):
        raise InputError(f"checkpoint = {checkpoint!r}: the path of a folder is needed, for example checkpoint='run'.")
    folder = Path(checkpoint)
    require_writable(folder, "the checkpoint folder")
    with alone_in(folder):
        yield folder


class Keeper:
    """Holds the latest state of a run, and writes it to a folder every so often and at the end.

    It is written after the first step, then whenever writing has cost a twentieth of the time since the last one, and
    at the latest every `every` seconds. A state that cannot be written costs the run nothing: the next one is tried,
    and `notes` says so.

    Args:
        folder: where to; None keeps it in memory only.
        state: the state at the start.
        every: seconds between two savings, at most.
    """

    def __init__(self, folder: Path | None, state: State, *, every: float = EVERY_SECONDS) -> None:
        self.state = state
        self._folder, self._every = folder, every
        self._written, self._cost = time.monotonic(), 0.0
        self._last: State | None = None
        self._failure: str | None = None

    def __call__(self, state: State) -> None:
        self.state = state
        if time.monotonic() - self._written >= min(self._every, self._cost / SHARE_OF_TIME):
            self.write()

    def write(self) -> None:
        """Writes the state, if there is a folder."""
        if self._folder is None or self._last is self.state:
            return
        begun, self._failure = time.monotonic(), None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_state(self._folder, self.state)
            self._last = self.state
        except Exception as error:  # of the disk, of safetensors: the run is worth more than its checkpoint
            self._failure = f"{type(error).__name__}: {error}"
        self._written = time.monotonic()
        self._cost = self._written - begun

    def notes(self) -> list[str]:
        """A sentence, where the last state could not be written."""
        if self._failure is None:
            return []
        return [
            f"The state at step {self.state.step} could not be saved to {self._folder} ({self._failure}). What was "
            "saved there before is unchanged; the result itself is complete."
        ]


def write_state(folder: Path, state: State) -> None:
    """One safetensors file: vectors as its tensors, everything else as JSON in its metadata, and a digest of both."""
    points = {name: point.cpu().contiguous().clone() for name, point in taken_apart(state)[1].items()}
    text = _text(state)

    def write(draft: Path) -> None:
        save_file(points, draft, metadata={"state": text, "digest": _digest(text, points)})
        if (folder / STATE).exists():
            os.replace(folder / STATE, folder / PREVIOUS)

    put_whole(folder / STATE, write)


def read_state(folder: Path | None, stages: Stages, *, planned: bool = False) -> State | None:
    """The last whole state in the folder, or None where there is none.

    Args:
        planned: whether the stages were planned, by the time that is left too: where they are others than those of the
            saved state, the first of them begins at its point.

    Raises: InputError, where it belongs to another problem, another method or another version, or was changed.
    """
    newest = None if folder is None else _newest(folder)
    if newest is None:
        return None
    path, text, points = newest
    source = stages[-1].source
    problem = source.first
    points = {name: point.to(problem.device) for name, point in points.items()}
    _require_theta(points, problem)
    state = _state(path, text, points, _control_type(json.loads(text), stages, planned=planned))
    cost = source.cost(state.best.theta)
    then = state.best.cost
    if not (same_cost(cost, then, state.floor) or same_cost(cost, then, rounding_floor(problem, state.best.theta))):
        raise InputError(
            f"the checkpoint was saved at cost {state.best.cost:.6g} and has cost {cost:.6g} on these data: "
            "it belongs to another run. Choose another folder."
        )
    return replace(state, theta=state.best.theta) if torch.equal(state.theta, state.best.theta) else state


def _state(path: Path, text: str, points: Points, control_type: type[object] | None) -> State:
    """The state of a file; without a class of its control's state, at the first stage.

    Raises: InputError, where it would not be written as that file again.
    """
    numbers, anew = json.loads(text), control_type is None
    if anew:
        numbers |= {"stage": 0, "control": None, "control_state": None}
    try:
        records = tuple(StepRecord(**record) for record in numbers["records"])
        state = put_together(numbers, points, records, control_type)
        same = bool(records) and (anew or _text(state) == text)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise InputError(
            f"the checkpoint {path} holds other entries than this version writes: it was written by another one and "
            "cannot be resumed. Choose another folder."
        )
    return state


def _require_theta(points: Points, problem: Problem) -> None:
    """Raises InputError, where the vectors of a checkpoint are no parameters of the problem."""
    for name in ("theta", "best"):
        theta = points.get(name, torch.empty(0, device="cpu"))
        if theta.shape != (problem.n_params,) or theta.dtype != problem.dtype:
            raise InputError(
                f"the checkpoint holds {' × '.join(map(str, theta.shape))} parameters of {theta.dtype} and the model "
                f"has {problem.n_params} of {problem.dtype}: it belongs to another run. Choose another folder."
            )


def _control_type(numbers: Numbers, stages: Stages, *, planned: bool) -> type[object] | None:
    """The class of the control's state; None where these stages have none that goes on from it, and were planned.

    Raises: InputError, where they were not.
    """
    index, saved = numbers.get("stage", 0), numbers.get("control_state")
    if planned and (index >= len(stages) or saved not in (None, stages[index].control.state_type.__qualname__)):
        return None
    if index >= len(stages):
        raise InputError(
            f"the checkpoint was saved in stage {index + 1} and this method has {len(stages)}: it belongs "
            "to another run. Choose another folder, or pass the same method."
        )
    state_type = stages[index].control.state_type
    if saved not in (None, state_type.__qualname__):
        raise InputError(
            f"the checkpoint holds a {saved} and the control of this method has a {state_type.__qualname__}: it was "
            "saved with another control. Pass the same method, or choose another folder."
        )
    return state_type


def _newest(folder: Path) -> tuple[Path, str, Points] | None:
    """The last state, or the one before where the last is torn: its file, its numbers as text, and its vectors.

    Raises: InputError, where it is whole and was not written by this version, or was changed since.
    """
    for path in (folder / STATE, folder / PREVIOUS):
        if not own_file(path):
            continue
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                points = {name: file.get_tensor(name) for name in list(file.keys())}
        except (OSError, SafetensorError):  # incomplete
            continue
        text = metadata.get("state", "")
        _require_ours(path, text, metadata.get("digest"), points)
        return path, text, points
    return None


def _require_ours(path: Path, text: str, digest: str | None, points: Points) -> None:
    """Raises InputError, unless this version has written the file, as it is."""
    try:
        written = json.loads(text).get("format", 1)
    except (AttributeError, ValueError):
        raise InputError(f"{path} is no checkpoint of a run: remove it, or choose another folder.") from None
    if written != FORMAT:
        raise InputError(
            f"the checkpoint {path} has format {written} and this version writes {FORMAT}: it "
            "cannot be resumed. Choose another folder."
        )
    if digest != _digest(text, points):
        raise InputError(
            f"the checkpoint {path} was changed since it was saved, and cannot be trusted: remove it, or choose "
            "another folder."
        )


def _text(state: State) -> str:
    """All of a state but its vectors."""
    numbers = taken_apart(state)[0] | {"format": FORMAT, "records": [asdict(record) for record in state.records]}
    return json.dumps(numbers)


def _digest(text: str, points: Points) -> str:
    """Of the numbers and vectors of a state."""
    digest = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES)
    for name, point in sorted(points.items()):
        digest.update(f"{name} {tuple(point.shape)} {point.dtype}".encode())
        digest.update(point.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
