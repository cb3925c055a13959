"""A run's state on disk: written whole or not at all, the last one and the one before."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geodescent._errors import InputError
from geodescent._record import StepRecord
from geodescent.descent._descend import NUMBERS, State
from geodescent.problem import Source, same_cost

EVERY_SECONDS = 30.0
STATE, PREVIOUS = "state.safetensors", "state.previous.safetensors"


class Keeper:
    """Holds the best state of a run, and writes it to a folder every 30 s and at the end.

    Args:
        folder: where to; None keeps it in memory only.
        state: the state at the start.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, state: State) -> None:
        self.state = state
        self._folder = None if folder is None else Path(folder)
        self._written = time.monotonic()

    def __call__(self, state: State) -> None:
        self.state = state
        if time.monotonic() - self._written >= EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """The state now, if there is a folder."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_state(self._folder, self.state)
            self._written = time.monotonic()


def write_state(folder: Path, state: State) -> None:
    """One safetensors file: θ as its tensor, everything else as JSON in its metadata."""
    rest = {name: getattr(state, name) for name in NUMBERS}
    rest["records"] = [asdict(record) for record in state.records]
    fresh = folder / (STATE + ".part")
    points = {"theta": state.theta.cpu().contiguous(), "best": state.best.cpu().clone()}
    if state.momentum is not None:
        points["momentum"] = state.momentum.cpu().contiguous()
    save_file(points, fresh, metadata={"state": json.dumps(rest)})
    if (folder / STATE).exists():
        os.replace(folder / STATE, folder / PREVIOUS)
    os.replace(fresh, folder / STATE)


def read_state(folder: str | os.PathLike[str] | None, source: Source) -> State | None:
    """The last whole state in the folder, or None where there is none.

    Raises: InputError, where it belongs to another problem.
    """
    found, problem = None if folder is None else _newest(Path(folder)), source.first
    if found is None:
        return None
    with safe_open(found, "pt") as file:
        rest = json.loads(file.metadata()["state"])
        names = list(file.keys())
        points = {name: file.get_tensor(name).to(problem.theta.device) for name in names}
    theta, best = points["theta"], points["best"]
    if len(theta) != problem.n_params or theta.dtype != problem.theta.dtype:
        raise InputError(
            f"the checkpoint holds {len(theta)} parameters of {theta.dtype} and the model has {problem.n_params} of "
            f"{problem.theta.dtype}: it belongs to another run. Choose another folder."
        )
    cost = source.cost(best)
    if not same_cost(cost, rest["best_cost"], rest["floor"]):
        raise InputError(
            f"the checkpoint was saved at cost {rest['best_cost']:.6g} and has cost {cost:.6g} on these data: "
            "it belongs to another run. Choose another folder."
        )
    records = tuple(StepRecord(**record) for record in rest.pop("records"))
    theta = best if torch.equal(theta, best) else theta
    return State(theta=theta, best=best, records=records, momentum=points.get("momentum"), **rest)


def _newest(folder: Path) -> Path | None:
    """The last state, or the one before where the last cannot be read."""
    for name in (STATE, PREVIOUS):
        try:
            with safe_open(folder / name, "pt") as file:
                json.loads(file.metadata()["state"])
            return folder / name
        except (OSError, SafetensorError, TypeError, KeyError, ValueError):  # absent, or torn
            continue
    return None
