"""Steps on batches, one after the other, until a round has seen its share of the samples."""

from collections import Counter
from dataclasses import dataclass, replace

from geodescent._deadline import OutOfTime, seconds_left
from geodescent.descent._batches import FIRST, OWN_PRODUCTS, after_step, passes_of_round, passes_of_step
from geodescent.descent._control import Trial
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import Stage
from geodescent.descent._state import State
from geodescent.problem import Problem, ShuffledSource


@dataclass(frozen=True)
class BatchSteps:
    """The last step of a round, and the state after it.

    Attributes:
        state: its cost is that of the last batch.
        here: where the step began.
        trial: the step; None where none was found on the first batch.
    """

    state: State
    here: Linearised
    trial: Trial | None


def batch_steps(stage: Stage, source: ShuffledSource, state: State, tally: Counter[str]) -> BatchSteps:
    """Steps on the batches of one round, each from where the last one led; fewer where the time runs out.

    Raises: OutOfTime, where not one was taken.
    """
    drawing, last, spent = source.drawing(state.step), None, 0.0
    try:
        while (batch := drawing.batch((state.stage.batch or FIRST).size)) is not None:
            before = state.stage.work
            found = _on_batch(stage, batch, state, tally)
            if found.trial is None:
                return last or found
            state, last = found.state, found
            spent += passes_of_step(found.here, state.stage.work - before, source.first)
            if spent >= passes_of_round(state.step) or seconds_left() <= 0.0:
                break
    except OutOfTime:
        if last is None:
            raise
    assert last is not None  # a round has at least one batch
    return last


def _on_batch(stage: Stage, batch: Problem, state: State, tally: Counter[str]) -> BatchSteps:
    """One step on a batch."""
    here = Linearised.at(batch, state.theta, lift=stage.lift, dtype=stage.solve_dtype, tally=tally, metric=state.metric)
    before, control = tally["iterations"], state.stage.control
    control = stage.control.begin(here, state.stage.damping) if control is None else control
    taken = stage.control.step(here, stage.walk, control, state.levels) if here.cost > 0.0 else None
    work = state.stage.work + tally["iterations"] - before + OWN_PRODUCTS
    state = replace(state, metric=here.metric, stage=replace(state.stage, control=control, work=work))
    if taken is None:
        return BatchSteps(state, here, None)
    trial, control = taken
    grown = after_step(state.stage.batch or FIRST, here.jacobian, here.cost, trial.cost)
    stage_state = replace(state.stage, control=control, batch=grown)
    return BatchSteps(replace(state, theta=trial.theta, cost=trial.cost, stage=stage_state), here, trial)
