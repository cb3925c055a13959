"""When a run ends, and with which result."""

import math
from dataclasses import dataclass

import torch

from geodescent._record import Result
from geodescent.descent._control import STATIONARY
from geodescent.descent._linearised import Linearised
from geodescent.descent._state import State
from geodescent.linalg import svd

AT_FLOOR = 4.0  # Rounding floors: a cost below this is rounding, and the run ends.
NEAR_FLOOR = 1e4  # Rounding floors: below them a failed step is reported as `rounding_floor`, not as `no_progress`.
RESOLVED_NUMBERS = 2**22  # Numbers of B: a larger one is not decomposed to say why a run ended.
RESOLVED_ORDER = 1000  # Rows or columns, the fewer: the same.
ROUNDING_NOISE = 10.0  # Times the rounding noise of C: a smaller predicted fall cannot be observed.
PROGRESS = 0.9  # Share of the best cost: a fall to a cost above it is no progress.
PATIENCE = 6  # Accepted steps without a lower validation cost, or without progress near the floor.


AT_AN_END = (Result.rounding_floor, Result.stationary, Result.no_progress)
"""Results of paths that lead no further."""


@dataclass(frozen=True)
class Patience:
    """How long the validation cost may stay above its least value.

    Attributes:
        steps: accepted steps since that value, which end the run.
        closer: only steps count whose cost is below this share of the cost there: on a path that is not monotone these
            alone show that fitting further hurts. Infinite, where all steps count.
    """

    steps: float = PATIENCE
    closer: float = math.inf


@dataclass(frozen=True)
class Stopping:
    """When to end: at the target, when steps or seconds run out, or when the validation cost has risen.

    Attributes:
        by_validation: the best point is that of the least validation cost.
        patience: after which the run then ends.
    """

    target_cost: float = 0.0
    max_steps: int = 500
    max_seconds: float = math.inf
    by_validation: bool = False
    patience: Patience = Patience()


def is_idle(state: State, patience: int) -> bool:
    """Whether the last steps have not brought the best cost down by a tenth."""
    before, last = state.records[:-patience], state.records[-patience:]
    return bool(before) and min(r.cost for r in last) > PROGRESS * min(r.cost for r in before)


def ended(state: State, stopping: Stopping, *, on_part: bool, seconds: float) -> Result | None:
    """Why the run ends before its next step, or None.

    Args:
        on_part: whether steps are taken on a part of the samples; a stage on all of them still follows.
        seconds: since the start.
    """
    if not math.isfinite(state.cost):
        return Result.nonfinite
    if state.best.cost <= stopping.target_cost:
        return Result.target_reached
    near = not on_part and is_idle(state, PATIENCE)
    least = min(record.cost for record in state.records) if stopping.by_validation else state.best.cost
    if least <= (NEAR_FLOOR if near else AT_FLOOR) * state.floor:
        return Result.rounding_floor
    if stopping.by_validation and _steps_too_close(state, stopping.patience) >= stopping.patience.steps:
        return Result.validation_rose
    if state.step >= stopping.max_steps:
        return Result.max_steps
    return Result.max_seconds if seconds >= stopping.max_seconds else None


def in_the_light_of_validation(result: Result, state: State, stopping: Stopping) -> Result:
    """The result, where the point of least validation cost is kept: that fitting further hurt is then what counts."""
    if not stopping.by_validation or result not in AT_AN_END:
        return result
    return Result.validation_rose if _steps_too_close(state, Patience(closer=PROGRESS)) else result


def _steps_too_close(state: State, patience: Patience) -> int:
    """How many steps since the least validation cost count against the patience."""
    step = state.least_validation()[1]
    there = next(record.cost for record in state.records if record.step == step)
    return sum(record.step > step and record.cost < patience.closer * there for record in state.records)


def standstill(here: Linearised, state: State) -> Result:
    """Why no step was found: a critical point, where even the least damping predicts no fall, rounding, or neither."""
    if not math.isfinite(here.total_square):
        return Result.nonfinite
    if state.best.cost <= NEAR_FLOOR * state.floor:
        return Result.rounding_floor
    if _resolved_fall(here) <= STATIONARY * here.cost:
        return Result.stationary
    lifted = here.lift(here.damped(here.prepared.least_damping), -here.residual)
    fall = here.cost - here.predicted(lifted)
    if not lifted.converged:
        return Result.no_progress
    if fall <= STATIONARY * here.cost:
        return Result.stationary
    noise = 2.0 * math.sqrt(state.floor * here.cost)  # of C: rounding moves x by √(2N·floor), C by ⟨x − y, δx⟩/N
    return Result.rounding_floor if fall <= ROUNDING_NOISE * noise else Result.no_progress


def _resolved_fall(here: Linearised) -> float:
    """The fall of C that the singular vectors of B promise whose σ is more than rounding; ∞ where B is too large.

    A solve with the least damping also counts what rounding left of smaller ones, which no step can gain.
    """
    m, k = here.moving.shape
    if m * k > RESOLVED_NUMBERS or min(m, k) > RESOLVED_ORDER:
        return math.inf
    scale = here.metric.column_scale
    inside = here.moving.scaled(columns=None if scale is None else scale.to(here.residual.dtype))
    left, values, _ = svd(inside.dense())
    resolved = left[:, values > max(m, k) * torch.finfo(here.theta.dtype).eps * values[0]]
    along = resolved.T @ here.residual
    return here.problem.cost_of(along)
