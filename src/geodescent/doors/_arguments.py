"""Checks of the doors' arguments, before any work."""

import math
import os
from pathlib import Path

from torch.utils.data import DataLoader

from geodescent._errors import InputError
from geodescent.descent import Method, Stage, Stages, Stopping
from geodescent.outputs import RawInputs
from geodescent.problem import Loader

Data = RawInputs | Loader
"""Tensors, arrays, lists or frames with the samples first, or a DataLoader of pairs (X, y)."""


def tensors_of(X: Data | None, call: str) -> RawInputs | None:
    """X, if it is no DataLoader. Raises InputError for one."""
    if isinstance(X, DataLoader):
        raise InputError(f"gd.{call} takes tensors, not a DataLoader: gd.{call}(model, X, y).")
    return X


def checked_method(method: object) -> Method | Stages | None:
    """A method, stages, or None. Raises InputError for anything else."""
    if method is None or isinstance(method, Method):
        return method
    if isinstance(method, Stage):
        return _checked_stages((method,))
    if isinstance(method, (tuple, list)) and method and all(isinstance(stage, Stage) for stage in method):
        return _checked_stages(tuple(method))
    raise InputError(
        f"method must be a gd.Method or a tuple of gd.Stage, not {method!r}: for example "
        "gd.Method(lift=gd.KrylovLift())."
    )


def _checked_stages(stages: Stages) -> Stages:
    """Raises InputError for a stage that no run reaches, and for a rule for leaving the last one."""
    last, reached = len(stages) - 1, {0}
    for i, stage in enumerate(stages):
        ahead = {i} if i in reached else set[int]()
        for rule in stage.leave:
            ahead |= {min(at + rule.stages, last) for at in ahead}
        reached |= ahead
    if stages[-1].leave:
        raise InputError("the last stage has rules for leaving it, and nothing comes after it: leave them out.")
    for number in sorted(set(range(len(stages))) - reached):
        raise InputError(
            f"stage {number + 1} of {len(stages)} is never reached: give a stage before it a rule for leaving it, for "
            "example leave=(gd.AfterSteps(10),), or leave it out."
        )
    return stages


def require_folder(checkpoint: str | os.PathLike[str] | None) -> None:
    """Raises InputError, before any work, where nothing could be saved."""
    if checkpoint is None:
        return
    try:
        Path(checkpoint).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the checkpoint folder {checkpoint} cannot be made: {error.strerror}.") from error


def checked_stopping(
    target_cost: float | None, max_steps: int, max_seconds: float | None, stop: str | None
) -> Stopping:
    """When to end. Raises InputError for invalid bounds."""
    if stop not in (None, "cost", "validation"):
        raise InputError(f'stop must be "cost" or "validation", not {stop!r}.')
    if target_cost is not None and not target_cost >= 0.0:
        raise InputError(f"target_cost = {target_cost}: a cost of zero or above is needed.")
    if max_steps < 0 or (max_seconds is not None and not max_seconds >= 0.0):
        raise InputError(f"max_steps = {max_steps} and max_seconds = {max_seconds} must not be negative.")
    seconds = math.inf if max_seconds is None else max_seconds
    return Stopping(target_cost or 0.0, max_steps, seconds, stop == "validation")
