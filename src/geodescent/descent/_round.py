"""One round of a descent: a step, a return to the best point, a later stage, or the reason why there is none."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from geodescent._record import Result, StepRecord
from geodescent._types import Theta
from geodescent.descent._batch_steps import BatchSteps, batch_steps
from geodescent.descent._control import Damping, Trial
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import Stage
from geodescent.descent._state import Best, State
from geodescent.descent._stopping import NEAR_FLOOR, PROGRESS, standstill
from geodescent.descent.first_order import gradient_steps
from geodescent.linalg import STEP_ITERATIONS
from geodescent.problem import BatchesSource, EpochsSource, may_be_rounding, rounding_floor

Stages = tuple[Stage, ...]


@dataclass(frozen=True)
class Observer:
    """What is measured in a run beside its costs.

    Attributes:
        validation_cost: of θ, or None where there are no validation data.
        seconds: since the start.
        by_validation: whether the best point is that of the least validation cost.
    """

    validation_cost: Callable[[Theta], float | None] = lambda theta: None
    seconds: Callable[[], float] = lambda: 0.0
    by_validation: bool = False


@dataclass(frozen=True)
class Round:
    """The result of a round.

    Attributes:
        state: after it.
        here: where it began.
        stepped: whether a step was taken; the last record of the state is then its own.
    """

    state: State
    here: Linearised
    stepped: bool


def play(stages: Stages, state: State, observer: Observer, tally: Counter[str]) -> Round | Result:
    """One round from the state's point, on the problem that the stage gives for its step."""
    stage = stages[state.stage.index]
    if isinstance(stage.source, EpochsSource):
        return _on_batches(stages, state, gradient_steps(stage, stage.source, state, tally), observer)
    if isinstance(stage.source, BatchesSource):
        return _on_batches(stages, state, batch_steps(stage, stage.source, state, tally), observer)
    problem = stage.source.at(state.step)
    here = Linearised.at(
        problem,
        state.theta,
        lift=stage.lift,
        dtype=stage.solve_dtype,
        tally=tally,
        metric=state.metric,
        linear=state.linear,
    )
    solved = _linear_solved(stage, state, here, observer) if state.step == 0 else None
    return solved or advance(stages, state, here, observer)


def _on_batches(stages: Stages, state: State, steps: BatchSteps, observer: Observer) -> Round | Result:
    """The round of these steps on batches, and the cost of all samples after it."""
    stage = stages[state.stage.index]
    if steps.trial is None:
        on = _at_most_to_the_last(stages, state, stage.stages_without_step)
        if not on:
            return standstill(steps.here, steps.state)
        return Round(_moved(stages, steps.state, on), steps.here, stepped=False)
    after = _stepped(stage, steps.state, steps.here, steps.trial, steps.state.stage.control, observer)
    return Round(_moved(stages, after, _stages_on(stages, steps.here, after)), steps.here, stepped=True)


def _linear_solved(stage: Stage, state: State, here: Linearised, observer: Observer) -> Round | None:
    """The first step solves for the parameters that enter linearly; None where there are none, or nothing to gain."""
    if here.separated is None:
        return None
    theta = here.settled(here.theta)
    cost = here.problem.cost(theta)
    if not cost < here.cost:
        return None
    trial = Trial(theta, cost, predicted=cost, damping=0.0, next_damping=0.0)
    after = _stepped(stage, state, here, trial, None, observer)
    return Round(replace(after, stage=state.stage), here, stepped=True)


def advance(stages: Stages, state: State, here: Linearised, observer: Observer) -> Round | Result:
    """One round from `here`: a step, a return to the best point or a change of stage; or why there is no step.

    Args:
        here: the state's point, linearised on the step's own problem by the stage's lift.
    """
    stage, before, iterations = stages[state.stage.index], _work(here), here.tally["iterations"]
    state = replace(state, metric=here.metric)
    if state.stage.control is None:
        if on := _stages_on(stages, here, state):
            return _further(stages, state, here, observer, on)
        begun = stage.control.begin(here, state.stage.damping)
        state = replace(state, stage=replace(state.stage, control=begun))
    taken = None
    if 0.0 < here.total_square < math.inf:
        taken = stage.control.step(here, stage.walk, state.stage.control, state.levels)
    work, iterations = state.stage.work + _work(here) - before, here.tally["iterations"] - iterations
    state = replace(state, stage=replace(state.stage, work=work, iterations=iterations))
    if taken is not None and here.cost - taken[0].predicted > stage.least_fall * here.cost:
        after = _stepped(stage, state, here, *taken, observer)
        return Round(_moved(stages, after, _stages_on(stages, here, after)), here, stepped=True)
    if on := _at_most_to_the_last(stages, state, stage.stages_without_step):
        return _further(stages, state, here, observer, on)
    restarted = stage.control.restart(here, state.returns)
    if restarted is not None and (state.theta is not state.best.theta or state.returns > 0 or taken is None):
        back = replace(state.at_best(), returns=state.returns + 1, stage=replace(state.stage, control=restarted))
        return Round(back, here, stepped=False)
    return standstill(here, _knowing_the_floor(stage, state))


def _stages_on(stages: Stages, here: Linearised, state: State) -> int:
    """By how many stages the run advances; never beyond the last."""
    return _at_most_to_the_last(stages, state, stages[state.stage.index].stages_on(here, state))


def _at_most_to_the_last(stages: Stages, state: State, on: int) -> int:
    return min(on, len(stages) - 1 - state.stage.index)


def _moved(stages: Stages, state: State, on: int) -> State:
    """The state in a later stage; at the best point, if that stage uses other samples."""
    if not on:
        return state
    source, index = stages[state.stage.index].source, state.stage.index + on
    state = replace(state, stage=replace(state.stage, index=index, control=None))
    following = stages[index].source
    if following is source:
        return state
    own_cost = following.own_cost(state.best.theta, state.best.cost)
    return replace(state, theta=state.best.theta, cost=own_cost, best=replace(state.best, own_cost=own_cost))


def _further(stages: Stages, state: State, here: Linearised, observer: Observer, on: int) -> Round | Result:
    """The round of a later stage, from the same linearisation if it uses the same samples."""
    stage, state = stages[state.stage.index], _moved(stages, state, on)
    following = stages[state.stage.index]
    if following.source is stage.source and following.solve_dtype == stage.solve_dtype:
        return advance(stages, state, here.by(following.lift), observer)
    return Round(state, here, stepped=False)


def _stepped(stage: Stage, state: State, here: Linearised, trial: Trial, control: object, observer: Observer) -> State:
    """The state after a step, with its record."""
    known = stage.source.cost_of_all(state.step + 1, trial.theta, trial.cost)
    shown = trial.cost if known is None else known
    record = StepRecord(
        step=state.step + 1,
        time=state.records[-1].time + stage.walk.step_size,
        cost=shown,
        predicted=trial.predicted,
        damping=trial.damping,
        gain_ratio=trial.gain_ratio(here.cost),
        validation_cost=observer.validation_cost(trial.theta),
        seconds=observer.seconds(),
        block_rms=stage.source.first.block_rms(trial.theta, shown),
    )
    damping = Damping(trial.next_damping, here.total_square) if trial.next_damping > 0.0 else state.stage.damping
    after = replace(
        state,
        theta=trial.theta,
        cost=trial.cost,
        best=_best(state, trial, known, record, observer),
        records=(*state.records, record),
        stage=replace(state.stage, control=control, damping=damping),
    )
    if known is None or not known < state.best.cost:
        return after
    problem = stage.source.first
    near = known <= NEAR_FLOOR * state.floor if state.floor else may_be_rounding(problem, known, state.reference)
    floor = rounding_floor(problem, trial.theta) if near else state.floor
    return replace(after, floor=floor, returns=state.returns if known > PROGRESS * state.best.cost else 0)


def _knowing_the_floor(stage: Stage, state: State) -> State:
    """The state with the rounding floor of its best point, where that was of no use before."""
    return state if state.floor else replace(state, floor=rounding_floor(stage.source.first, state.best.theta))


def _best(state: State, trial: Trial, known: float | None, record: StepRecord, observer: Observer) -> Best:
    """The best point after a step."""
    if observer.by_validation:
        judged = record.validation_cost
        better = judged is not None and judged < state.least_validation()[0]
    else:
        better = known is not None and known < state.best.cost
    return Best(trial.theta, math.inf if known is None else known, trial.cost) if better else state.best


def _work(here: Linearised) -> float:
    """The cost of all solves so far, in iterations: their own, and `STEP_ITERATIONS` for each factor."""
    return here.tally["iterations"] + STEP_ITERATIONS * here.tally["factors"]
