"""Rounds of steps along gradients of batches, and when these steps end."""

import math
from collections import Counter
from dataclasses import dataclass, replace

from geodescent._deadline import OutOfTime, seconds_left
from geodescent._settings import NOT_NEGATIVE, settle
from geodescent.descent._batch_steps import FIRST_BATCH, BatchSteps
from geodescent.descent._control import STATIONARY
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import STAGES, VALLEY, Stage
from geodescent.descent._state import State
from geodescent.descent._walk import EulerWalk
from geodescent.descent.first_order._eigenbases import Eigenbases
from geodescent.descent.first_order._soap import Soap
from geodescent.jacobian import CALL_FLOPS, BlockJacobian, OuterColumns
from geodescent.lift import GradientLift
from geodescent.problem import EpochsSource, Problem, by_gradients

LEAST_ROUNDS = 24  # Before that a cost that hardly falls is a plateau, which recurrent and attending networks begin on.
SLOW = 0.25  # Fall of ln C: with less in the later half of all rounds, other steps are tried.


@dataclass(frozen=True)
class GradientsEnd:
    """Ends the steps along gradients in the valley, where others converge faster, and where they hardly lower the cost.

    Args:
        below: the share of the reference cost at which the valley begins.
    """

    below: float = VALLEY
    stages: int = 1
    least_fall: float = STATIONARY

    def __post_init__(self) -> None:
        settle(self, below=NOT_NEGATIVE, stages=STAGES, least_fall=NOT_NEGATIVE)

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether steps on all samples are the better use of the time."""
        if state.best.cost <= self.below * state.reference:
            return True
        if state.step < LEAST_ROUNDS:
            return False
        before = min(record.cost for record in state.records[: state.step // 2 + 1])
        return not state.best.cost < math.exp(-SLOW) * before


def gradients_stage(problem: Problem, some: BlockJacobian) -> Stage | None:
    """Steps along gradients of batches; None where the rotations would take longer than the gradients.

    Args:
        problem: of all samples, of one block.
        some: D of some of them, whose layers are meant.
    """
    kinds = [kind for block in some.blocks for kind in block.kinds]
    layers = [kind.index for kind in kinds if isinstance(kind, OuterColumns) and kind.index.dim() == 2]
    bases = Eigenbases.of(layers, problem.n_params)
    of_gradient = (some.product_flops() - CALL_FLOPS * len(kinds)) * FIRST_BATCH / some.blocks[0].n_samples
    if bases.flops > of_gradient:
        return None
    control = Soap(bases)
    return Stage(
        EpochsSource(problem, FIRST_BATCH),
        GradientLift(),
        EulerWalk(),
        control,
        (GradientsEnd(),),
        solve_dtype=problem.dtype,
    )


def gradient_steps(stage: Stage, source: EpochsSource, state: State, tally: Counter[str]) -> BatchSteps:
    """The steps of one round, each from where the last one led; fewer where the time runs out.

    Raises: OutOfTime, where not one was taken.
    """
    last: BatchSteps | None = None
    try:
        for batch in source.batches(state.step):
            last = _on_batch(stage, batch, state, tally)
            if last.trial is None:
                return last
            state = last.state
            if seconds_left() <= 0.0:
                break
    except OutOfTime:
        if last is None:
            raise
    assert last is not None and last.trial is not None  # a round has at least one batch
    if math.isnan(last.trial.cost):
        last = replace(last, trial=replace(last.trial, cost=last.here.problem.cost(state.theta)))
    return last


def _on_batch(stage: Stage, batch: Problem, state: State, tally: Counter[str]) -> BatchSteps:
    """One step on a batch."""
    here = Linearised.at(by_gradients(batch), state.theta, lift=stage.lift, dtype=stage.solve_dtype, tally=tally)
    here = replace(here, metric=state.metric)
    control = stage.control.begin(here) if state.stage.control is None else state.stage.control
    taken = stage.control.step(here, stage.walk, control, state.levels) if here.cost > 0.0 else None
    if taken is None:
        return BatchSteps(state, here, None)
    trial, control = taken
    following = replace(state, theta=trial.theta, cost=trial.cost, stage=replace(state.stage, control=control))
    return BatchSteps(following, here, trial)
