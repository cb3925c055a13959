"""The loop: linearise, propose, judge, record. Every way of descending goes through it."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._control import Control, GainRatio
from geodescent._field import AdaptedField, Field
from geodescent._lift import Lift, Prepared
from geodescent._linalg import dot
from geodescent._plan import PlannedLift
from geodescent._problem import Problem
from geodescent._rounding import rounding_floor
from geodescent._solution import Callback, Record, Result
from geodescent._types import Theta
from geodescent._walk import EulerWalk, Walk

STATIONARY = 1e-12  # relative fall of the cost that the undamped linear model still promises: ‖P(x−y)‖ ≤ 1e-6 ‖x−y‖
LOST = 1e-15  # a promised fall below this share of the cost is lost in rounding
AT_FLOOR = 4.0  # a cost below this many rounding floors has arrived
NOISE = 10.0  # a promised fall below this many times the rounding noise of C cannot be seen
NEAR_FLOOR = 1e4  # below this many, a step that fails is the floor's doing


@dataclass(frozen=True)
class Method:
    """How to descend: field × lift × walk × control. Every door accepts one."""

    field: Field = dataclasses.field(default_factory=AdaptedField)
    lift: Lift = dataclasses.field(default_factory=PlannedLift)
    walk: Walk = dataclasses.field(default_factory=EulerWalk)
    control: Control = dataclasses.field(default_factory=GainRatio)
    solve_dtype: torch.dtype = torch.float64


@dataclass(frozen=True)
class Stopping:
    """When to end: at the target, or when steps or seconds run out."""

    target_cost: float = 0.0
    max_steps: int = 500
    max_seconds: float = math.inf


@dataclass(frozen=True)
class State:
    """Where a run stands: all that the next step depends on.

    Attributes:
        theta: the best point, (K,).
        cost: C there.
        damping: relative, for the next step.
        records: of the accepted steps, the start first.
        floor: the rounding floor, estimated at the start and again near it.
    """

    theta: Theta
    cost: float
    damping: float
    floor: float
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A step that could be taken."""

    theta: Theta
    cost: float
    predicted: float
    gain_ratio: float
    converged: bool


class Clock:
    """Seconds since the start, those before a resume included."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.perf_counter() - before

    def __call__(self) -> float:
        return time.perf_counter() - self._start


def start(problem: Problem, method: Method, held_out: Callable[[Theta], float | None]) -> State:
    """The state at the problem's own parameters."""
    theta = problem.theta
    cost = problem.cost(problem.outputs(theta))
    record = Record(0, 0.0, cost, cost, math.nan, math.nan, None, held_out(theta), 0.0)
    return State(theta, cost, method.control.initial_damping, rounding_floor(problem, theta), (record,))


def descend(
    problem: Problem,
    state: State,
    *,
    method: Method,
    stopping: Stopping,
    callback: Callback,
    held_out: Callable[[Theta], float | None],
    counts: Counter[str],
    save: Callable[[State], None],
) -> tuple[State, Result]:
    """Steps until something ends the run; the state returned is the best point.

    Raises nothing on the way: what stops a run is a Result.
    """
    clock = Clock(state.records[-1].seconds)
    try:
        while (result := _ended(state, stopping, clock)) is None:
            outcome = _step(problem, state, method, counts)
            if isinstance(outcome, Result):
                return state, outcome
            trial, damping, absolute = outcome
            record = _record(state, trial, absolute, method, held_out(trial.theta), clock())
            state = _advanced(problem, state, trial, damping, record)
            save(state)
            callback(record)
    except StopIteration:
        return state, Result.stopped
    except KeyboardInterrupt:
        return state, Result.interrupted
    return state, result


def _ended(state: State, stopping: Stopping, clock: Clock) -> Result | None:
    if not math.isfinite(state.cost):
        return Result.nonfinite
    if state.cost <= stopping.target_cost:
        return Result.target_reached
    if state.cost <= AT_FLOOR * state.floor:
        return Result.rounding_floor
    if state.records[-1].step >= stopping.max_steps:
        return Result.max_steps
    return Result.max_seconds if clock() >= stopping.max_seconds else None


def _step(problem: Problem, state: State, method: Method, counts: Counter[str]) -> tuple[Trial, float, float] | Result:
    """The next accepted trial, the relative damping after it and its own absolute one; or why there is none."""
    outputs, jacobian = problem.linearise(state.theta)
    residual = problem.residual(outputs).to(method.solve_dtype)
    prepared = method.lift.prepare(jacobian.to(method.solve_dtype), row_scale=problem.row_scale)
    velocity = method.field.velocity(residual, residual)
    counts["linearisations"] += 1
    damping, scale = state.damping, prepared.scale
    if not math.isfinite(scale):
        return Result.nonfinite
    while damping <= method.control.largest_damping:
        trial = _propose(problem, state, method, prepared, velocity, damping * scale, counts)
        promised = state.cost - trial.predicted
        if trial.converged and promised <= STATIONARY * state.cost:
            result = _standstill(problem, state, method, prepared, velocity, counts)
            if result is not Result.no_progress or promised <= LOST * state.cost:
                return result
        verdict = method.control.judge(trial.gain_ratio, damping)
        if verdict.accepted:
            return trial, verdict.damping, damping * scale
        damping = verdict.damping
        counts["rejections"] += 1
    return _standstill(problem, state, method, prepared, velocity, counts)


def _propose(
    problem: Problem,
    state: State,
    method: Method,
    prepared: Prepared,
    velocity: Tensor,
    damping: float,
    counts: Counter[str],
) -> Trial:
    lifted = prepared.lift(velocity, damping=damping)
    counts["solves"] += 1
    counts["iterations"] += lifted.iterations
    counts["fallbacks"] += lifted.fallback
    theta = method.walk.step(state.theta, lifted.velocity)
    cost = problem.cost(problem.outputs(theta)) if bool(torch.isfinite(theta).all()) else math.inf
    predicted = dot(lifted.misfit, lifted.misfit) / (2.0 * problem.n_samples)
    fall = state.cost - predicted
    gain = (state.cost - cost) / fall if fall > 0.0 else -math.inf
    return Trial(theta, cost, predicted, gain if math.isfinite(cost) else -math.inf, lifted.converged)


def _standstill(
    problem: Problem, state: State, method: Method, prepared: Prepared, velocity: Tensor, counts: Counter[str]
) -> Result:
    """Why no step is left: a critical point if even the least damped linear model promises nothing, or rounding."""
    if state.cost <= NEAR_FLOOR * state.floor:
        return Result.rounding_floor
    lifted = prepared.lift(velocity, damping=method.control.least_damping * prepared.scale)
    counts["solves"] += 1
    predicted = dot(lifted.misfit, lifted.misfit) / (2.0 * problem.n_samples)
    promised = state.cost - predicted
    if lifted.converged and promised <= STATIONARY * state.cost:
        return Result.stationary
    noise = 2.0 * math.sqrt(state.floor * state.cost)  # of C: rounding moves x by √(2N·floor), C by ⟨x − y, δx⟩/N
    return Result.rounding_floor if promised <= NOISE * noise else Result.no_progress


def _record(
    state: State, trial: Trial, damping: float, method: Method, held_out: float | None, seconds: float
) -> Record:
    last = state.records[-1]
    moved = last.time + method.walk.step_size
    return Record(last.step + 1, moved, trial.cost, trial.predicted, damping, trial.gain_ratio, None, held_out, seconds)


def _advanced(problem: Problem, state: State, trial: Trial, damping: float, record: Record) -> State:
    near = trial.cost <= NEAR_FLOOR * state.floor
    floor = rounding_floor(problem, trial.theta) if near else state.floor
    return replace(
        state, theta=trial.theta, cost=trial.cost, damping=damping, floor=floor, records=(*state.records, record)
    )
