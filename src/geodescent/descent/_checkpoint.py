"""The state of a run on disk: the last one and the one before, each written completely or not at all."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geodescent._deadline import PASS, measuring
from geodescent._errors import InputError
from geodescent._record import StepRecord
from geodescent.descent._round import Stages
from geodescent.descent._state import Numbers, State, put_together, taken_apart
from geodescent.problem import same_cost

EVERY_SECONDS = 30.0  # Seconds between two savings of a run.
STATE, PREVIOUS = "state.safetensors", "state.previous.safetensors"
FORMAT = 3  # Version of the file: version 2 had no metric, and version 1 no stages.


class Keeper:
    """Holds the latest state of a run, and writes it to a folder every so often and at the end.

    Args:
        folder: where to; None keeps it in memory only.
        state: the state at the start.
        every: seconds between two savings.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, state: State, *, every: float = EVERY_SECONDS) -> None:
        self.state = state
        self._folder, self._every = None if folder is None else Path(folder), every
        self._written = time.monotonic()

    def __call__(self, state: State) -> None:
        self.state = state
        if time.monotonic() - self._written >= self._every:
            self.write()

    def write(self) -> None:
        """Writes the state, if there is a folder."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_state(self._folder, self.state)
            self._written = time.monotonic()


def write_state(folder: Path, state: State) -> None:
    """One safetensors file: vectors as its tensors, everything else as JSON in its metadata."""
    numbers, points = taken_apart(state)
    numbers |= {"format": FORMAT, "records": [asdict(record) for record in state.records]}
    fresh = folder / (STATE + ".part")
    owned = {name: point.cpu().contiguous().clone() for name, point in points.items()}
    save_file(owned, fresh, metadata={"state": json.dumps(numbers)})
    if (folder / STATE).exists():
        os.replace(folder / STATE, folder / PREVIOUS)
    os.replace(fresh, folder / STATE)


def read_state(folder: str | os.PathLike[str] | None, stages: Stages, *, planned: bool = False) -> State | None:
    """The last whole state in the folder, or None where there is none.

    Args:
        planned: whether the stages were planned, by the time that is left too: where they are others than those of the
            saved state, the first of them begins at its point.

    Raises: InputError, where it belongs to another problem, another method or another version.
    """
    newest, source = None if folder is None else _newest(Path(folder)), stages[-1].source
    if newest is None:
        return None
    problem = source.first
    with safe_open(newest, "pt") as file:
        numbers = json.loads(file.metadata()["state"])
        points = {name: file.get_tensor(name).to(problem.device) for name in list(file.keys())}
    if numbers.get("format") != FORMAT:
        raise InputError(
            f"the checkpoint {newest} has format {numbers.get('format', 1)} and this version writes {FORMAT}: it "
            "cannot be resumed. Choose another folder."
        )
    theta, best = points["theta"], points["best"]
    if len(theta) != problem.n_params or theta.dtype != problem.dtype:
        raise InputError(
            f"the checkpoint holds {len(theta)} parameters of {theta.dtype} and the model has {problem.n_params} of "
            f"{problem.dtype}: it belongs to another run. Choose another folder."
        )
    with measuring(PASS):
        cost = source.cost(best)
    if not same_cost(cost, numbers["best_cost"], numbers["floor"]):
        raise InputError(
            f"the checkpoint was saved at cost {numbers['best_cost']:.6g} and has cost {cost:.6g} on these data: "
            "it belongs to another run. Choose another folder."
        )
    state_type = _control_type(numbers, stages, planned=planned)
    records = tuple(StepRecord(**record) for record in numbers.pop("records"))
    points["theta"] = best if torch.equal(theta, best) else theta
    return put_together(numbers, points, records, state_type)


def _control_type(numbers: Numbers, stages: Stages, *, planned: bool) -> type[Any] | None:
    """The class of the saved control's state. Raises InputError, where the stages are others."""
    if numbers["stage"] < len(stages):
        state_type, saved = stages[numbers["stage"]].control.state_type, numbers["control_state"]
        if saved in (None, state_type.__qualname__):
            return state_type
        raise_for = (
            f"the checkpoint holds a {saved} and the control of this method has a {state_type.__qualname__}: it was "
            "saved with another control. Pass the same method, or choose another folder."
        )
    else:
        raise_for = (
            f"the checkpoint was saved in stage {numbers['stage'] + 1} and this method has {len(stages)}: it belongs "
            "to another run. Choose another folder, or pass the same method."
        )
    if not planned:
        raise InputError(raise_for)
    numbers["stage"] = 0
    return None


def _newest(folder: Path) -> Path | None:
    """The last state, or the one before where the last cannot be read."""
    for name in (STATE, PREVIOUS):
        try:
            with safe_open(folder / name, "pt") as file:
                json.loads(file.metadata()["state"])
            return folder / name
        except (OSError, SafetensorError, TypeError, KeyError, ValueError):  # missing or incomplete
            continue
    return None
