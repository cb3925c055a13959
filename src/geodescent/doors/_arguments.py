"""Checks of the doors' arguments, before any work."""

import math

import torch
from torch.utils.data import DataLoader

from geodescent._errors import InputError
from geodescent._record import Callback, no_callback
from geodescent._settings import COST_LEVEL, SECONDS, Whole
from geodescent.descent import Method, Stage, Stages, Stopping
from geodescent.outputs import RawInputs
from geodescent.problem import Loader, Problem

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


def require_finite_start(problem: Problem, cost: float) -> None:
    """Raises InputError where the cost at the start is not finite: there is no step from there."""
    if math.isfinite(cost):
        return
    outputs = problem.outputs(problem.theta)
    bad = int((~torch.isfinite(outputs)).sum())
    if bad == 0:
        raise InputError(
            f"the cost at the start is {cost}: the outputs are finite, and the squares of x − y are not. Outputs are "
            f"up to {float(outputs.abs().max()):.3g} and y up to {float(problem.target.abs().max()):.3g}: start where "
            "outputs are smaller, or divide X, or both outputs and y, by their size."
        )
    raise InputError(
        f"the cost at the start is {cost}: {bad} of {outputs.numel()} outputs are NaN or infinite. Start at other "
        "parameters, or keep logarithms, roots, quotients and exponentials in the model where they are finite."
    )


def checked_callback(callback: Callback | None) -> Callback:
    """The callback, or one that does nothing. Raises InputError for what cannot be called."""
    if callback is not None and not callable(callback):
        raise InputError(
            f"callback is a {type(callback).__name__}: a function of the record of a step is needed, for example "
            "callback=print."
        )
    return callback or no_callback


def checked_stopping(
    target_cost: float | None, max_steps: int, max_seconds: float | None, stop: str | None
) -> Stopping:
    """When to end. Raises InputError for invalid bounds."""
    if stop is not None and not (isinstance(stop, str) and stop in ("cost", "validation")):
        raise InputError(f'stop must be "cost" or "validation", not {stop!r}: pass for example stop="cost".')
    target = 0.0 if target_cost is None else COST_LEVEL.of("target_cost", target_cost)
    steps = Whole(500).of("max_steps", max_steps)
    seconds = math.inf if max_seconds is None else SECONDS.of("max_seconds", max_seconds)
    return Stopping(target, steps, seconds, stop == "validation")
