"""The loop: linearise, step, record. Every way of descending goes through it."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from geodescent._record import Callback, Result, StepRecord
from geodescent._types import Theta
from geodescent.descent._control import STATIONARY, Control, Standing, Trial
from geodescent.descent._linearised import Linearised
from geodescent.descent._planned import PlannedControl, PlannedWalk
from geodescent.descent._walk import Walk
from geodescent.flow import AdaptedField, Field
from geodescent.lift import Lift, PlannedLift
from geodescent.problem import Problem, Source, rounding_floor

AT_FLOOR = 4.0  # a cost below this many rounding floors has arrived
NOISE = 10.0  # a promised fall below this many times the rounding noise of C cannot be seen
PROGRESS = 0.9  # a best cost above this share of the last one is no progress
PATIENCE = 6  # accepted steps without a lower held-out cost, or without progress near the floor
PART_PATIENCE = 24  # the same for steps on a part of the samples, of which each costs at most a quarter
NEAR_FLOOR = 1e4  # below this many, a step that fails is the floor's doing

Judged = Callable[[int, Theta, float], float | None]  # `Source.judged`


@dataclass(frozen=True)
class Method:
    """How to descend: field × lift × walk × control. Every door accepts one."""

    field: Field = dataclasses.field(default_factory=AdaptedField)
    lift: Lift = dataclasses.field(default_factory=PlannedLift)
    walk: Walk = dataclasses.field(default_factory=PlannedWalk)
    control: Control = dataclasses.field(default_factory=PlannedControl)
    solve_dtype: torch.dtype = torch.float64


@dataclass(frozen=True)
class Stopping:
    """When to end: at the target, when steps or seconds run out, or when the held-out cost has risen.

    Attributes:
        held_out: the best point is that of the least held-out cost, and the run ends `PATIENCE` steps after it.
    """

    target_cost: float = 0.0
    max_steps: int = 500
    max_seconds: float = math.inf
    held_out: bool = False


@dataclass(frozen=True)
class State:
    """Where a run stands: all that the next step depends on.

    Attributes:
        theta, cost: the point of the last step, (K,), and C there, of the step's own problem.
        best, best_cost: the best point so far, by cost or by held-out cost. A control may walk through worse ones.
        damping: relative, for the next step.
        reference: the larger of the cost at the start and that of outputs 0: what "small" is measured by.
        floor: the rounding floor, estimated at the start and again near it.
        records: of the accepted steps, the start first.
        returns: to the best point, since it last fell by a tenth.
        momentum: what the last step left for the next, (K,), or None.
        opening: iterations that the inexact steps at the beginning have taken; None when they are over.
        trust: the fall of ln C up to which the last steps bore the linear model out.
        part_cost: C of the part of the samples that steps are taken on, at the best point; None where they are taken
            on all of them. `best_cost` and `records` are of all of them.
    """

    theta: Theta
    cost: float
    best: Theta
    best_cost: float
    damping: float
    reference: float
    floor: float
    records: tuple[StepRecord, ...] = ()
    returns: int = 0
    momentum: Theta | None = None
    opening: float | None = None
    trust: float = math.inf
    part_cost: float | None = None


NUMBERS = (
    "cost",
    "best_cost",
    "damping",
    "reference",
    "floor",
    "returns",
    "opening",
    "trust",
    "part_cost",
)  # of a state: what is saved beside points


class Clock:
    """Seconds since the start, those before a resume included."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.perf_counter() - before

    def __call__(self) -> float:
        return time.perf_counter() - self._start


def start(source: Source, method: Method, held_out: Callable[[Theta], float | None]) -> State:
    """The state at the model's own parameters."""
    problem, theta = source.first, source.first.theta
    cost = source.cost(theta)
    record = StepRecord(0, 0.0, cost, cost, math.nan, math.nan, None, held_out(theta), 0.0)
    reference = max(cost, problem.cost(torch.zeros_like(problem.target)))
    floor = rounding_floor(problem, theta)
    damping = method.control.initial_damping
    part = None if source.part is None else source.part.at(0)
    part_cost = None if part is None else part.cost(part.outputs(theta))
    return State(theta, cost, theta, cost, damping, reference, floor, (record,), opening=0.0, part_cost=part_cost)


def descend(
    source: Source,
    state: State,
    *,
    method: Method,
    stopping: Stopping,
    callback: Callback,
    held_out: Callable[[Theta], float | None],
    counts: Counter[str],
    save: Callable[[State], None],
) -> tuple[State, Result]:
    """Steps until something ends the run; the state returned holds the best point.

    What stops a run is a Result. What a callback, a loader or the model raises passes through, and the last state saved
    is that of the last whole step.
    """
    clock = Clock(state.records[-1].seconds)
    try:
        while (result := _ended(state, stopping, clock)) is None:
            current = _current(source, state)
            problem = current.at(state.records[-1].step)
            here = Linearised.at(problem, state.theta, lift=method.lift, dtype=method.solve_dtype, tally=counts)
            outcome = advance(here, state, method, current.judged)
            if state.part_cost is not None and (isinstance(outcome, Result) or outcome[0] is None):
                state = _on_all(state)
                continue
            if isinstance(outcome, Result):
                result = outcome
                break
            trial, after, known = outcome
            if trial is None:
                state = after
                continue
            shown = trial.cost if known is None else known
            record = _record(state, trial, here.cost, shown, method, held_out(trial.theta), clock())
            if stopping.held_out:
                after = _best_held_out(state, after, record, known)
            after = replace(after, records=(*state.records, record))
            state = _on_all(after) if _leads_no_further(after, trial) else after
            save(state)
            callback(record)
    except StopIteration:
        result = Result.stopped
    except KeyboardInterrupt:
        result = Result.interrupted
    state = _settled(_current(source, state), state, stopping)
    save(state)
    return state, result


def _current(source: Source, state: State) -> Source:
    """Where the next step is taken: on a part of the samples, or on what the source gives."""
    return source if state.part_cost is None or source.part is None else source.part


def _best_held_out(before: State, state: State, record: StepRecord, known: float | None) -> State:
    """The state after a step, its best point the one of the least held-out cost; its C infinite until it is known."""
    if not (record.held_out is not None and record.held_out < _least_held_out(before)[0]):
        return replace(state, best=before.best, best_cost=before.best_cost)
    return replace(state, best=state.theta, best_cost=math.inf if known is None else known)


def _least_held_out(state: State) -> tuple[float, int]:
    """The least held-out cost so far, and at which step."""
    known = [(record.held_out, record.step) for record in state.records if record.held_out is not None]
    return min(known, default=(math.inf, 0))


def _settled(source: Source, state: State, stopping: Stopping) -> State:
    """The state with the cost of everything known at its last point too."""
    if stopping.held_out:
        return state if math.isfinite(state.best_cost) else replace(state, best_cost=source.cost(state.best))
    if state.theta is state.best or source.judged(state.records[-1].step, state.theta, state.cost) is not None:
        return state
    cost = source.cost(state.theta)
    return replace(state, best=state.theta, best_cost=cost) if cost < state.best_cost else state


def _on_all(state: State) -> State:
    """The best point, from which the part of the samples that was walked on leads no further."""
    return replace(state, theta=state.best, cost=state.best_cost, momentum=None, trust=math.inf, part_cost=None)


def _leads_no_further(state: State, trial: Trial) -> bool:
    """Whether a part of the samples is learnt by heart, or steps on it no longer bring all of them down.

    By heart: it costs a tenth less than at the best point, which the step would be, had all samples come down too.
    """
    if state.part_cost is None:
        return False
    return trial.cost < PROGRESS * state.part_cost or _idle(state, PART_PATIENCE)


def its_own(step: int, theta: Theta, cost: float) -> float | None:
    """The cost of the step's own problem is the cost of everything."""
    return cost


def advance(
    here: Linearised, state: State, method: Method, judged: Judged = its_own
) -> tuple[Trial | None, State, float | None] | Result:
    """One step from `here`: the trial, the state after it and C of everything there, where that is known; a return to
    the best point, without a trial; or why there is none.

    Args:
        here: the state's point, linearised on the step's own problem.
        state: before the step.
        method: its walk and control take it.
        judged: C of everything after the step, where that is known (`Source.judged`).
    """
    trial, step = None, state.records[-1].step
    if 0.0 < here.trace < math.inf:
        left = state.momentum, state.opening, state.trust
        standing = Standing(state.damping, state.best_cost, state.reference, step, *left)
        trial = method.control.step(here, method.walk, standing)
    if trial is not None and here.cost - trial.predicted > STATIONARY * here.cost:
        known = judged(step + 1, trial.theta, trial.cost)
        return trial, _advanced(here.problem, state, trial, known), known
    damping = method.control.restart(here, state.returns)
    if damping is not None and (state.theta is not state.best or state.returns > 0 or trial is None):
        back = replace(state, theta=state.best, cost=state.best_cost, damping=damping, returns=state.returns + 1)
        return None, replace(back, momentum=None, opening=None, trust=math.inf), None
    return _standstill(here, state, method) if math.isfinite(here.trace) else Result.nonfinite


def _ended(state: State, stopping: Stopping, clock: Clock) -> Result | None:
    if not math.isfinite(state.cost):
        return Result.nonfinite
    if state.best_cost <= stopping.target_cost:
        return Result.target_reached
    near = state.part_cost is None and _idle(state, PATIENCE)
    if state.best_cost <= (NEAR_FLOOR if near else AT_FLOOR) * state.floor:
        return Result.rounding_floor
    if stopping.held_out and state.records[-1].step - _least_held_out(state)[1] >= PATIENCE:
        return Result.held_out_rose
    if state.records[-1].step >= stopping.max_steps:
        return Result.max_steps
    return Result.max_seconds if clock() >= stopping.max_seconds else None


def _idle(state: State, patience: int) -> bool:
    """Whether the last steps have not brought the best cost down by a tenth."""
    before, last = state.records[:-patience], state.records[-patience:]
    return bool(before) and min(r.cost for r in last) > PROGRESS * min(r.cost for r in before)


def _standstill(here: Linearised, state: State, method: Method) -> Result:
    """Why no step is left: a critical point if even the least damped linear model promises nothing, or rounding."""
    if state.best_cost <= NEAR_FLOOR * state.floor:
        return Result.rounding_floor
    lifted = here.lift(here.damped(here.prepared.least_damping), -here.residual)
    promised = here.cost - here.predicted(lifted)
    if not lifted.converged:
        return Result.no_progress
    if promised <= STATIONARY * here.cost:
        return Result.stationary
    noise = 2.0 * math.sqrt(state.floor * here.cost)  # of C: rounding moves x by √(2N·floor), C by ⟨x − y, δx⟩/N
    return Result.rounding_floor if promised <= NOISE * noise else Result.no_progress


def _record(
    state: State, trial: Trial, before: float, cost: float, method: Method, held_out: float | None, seconds: float
) -> StepRecord:
    last, ratio = state.records[-1], trial.gain_ratio(before)
    moved = last.time + method.walk.step_size
    return StepRecord(last.step + 1, moved, cost, trial.predicted, trial.damping, ratio, None, held_out, seconds)


def _advanced(problem: Problem, state: State, trial: Trial, cost: float | None) -> State:
    state = replace(state, theta=trial.theta, cost=trial.cost, damping=trial.next_damping)
    state = replace(state, momentum=trial.momentum, opening=trial.opening, trust=trial.trust)
    if cost is None or not cost < state.best_cost:
        return state
    near = cost <= NEAR_FLOOR * state.floor
    floor = rounding_floor(problem, trial.theta) if near else state.floor
    returns = state.returns if cost > PROGRESS * state.best_cost else 0
    part_cost = None if state.part_cost is None else trial.cost
    return replace(state, best=trial.theta, best_cost=cost, returns=returns, floor=floor, part_cost=part_cost)
