"""Rounds of gradient steps: batches of one size, by passes over the samples, and when they end."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from geodescent._deadline import OutOfTime, seconds_left
from geodescent._settings import NOT_NEGATIVE, Whole, settle
from geodescent._types import Theta
from geodescent.descent._batch_steps import FIRST_BATCH, BatchSteps
from geodescent.descent._control import STATIONARY
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import STAGES, VALLEY, Stage
from geodescent.descent._state import State
from geodescent.descent._walk import EulerWalk
from geodescent.descent.first_order._eigenbases import Eigenbases
from geodescent.descent.first_order._soap import Soap
from geodescent.jacobian import BlockJacobian, OuterColumns
from geodescent.lift import PacedLift
from geodescent.problem import Problem, by_gradients, chosen_samples, weighted_samples

PASSES_OF_ROUND = (0.5, 1.0, 2.0)  # Over the samples: those of the first rounds, and of all later ones.
LEAST_ROUNDS = 24  # Before that a cost that hardly falls is a plateau, which recurrent and attending networks begin on.
SLOW = 0.25  # Fall of ln C: with less in the later half of all rounds, other steps are tried.


@dataclass(frozen=True)
class Epochs:
    """Batches of one size by random permutations of the samples; the cost of all is measured after each round.

    Attributes:
        first: the problem of all samples, of one block.
    """

    first: Problem

    def at(self, step: int) -> Problem:
        """The problem of all samples."""
        return self.first

    def cost(self, theta: Theta) -> float:
        """C of all samples."""
        return self.first.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C of all samples."""
        return self.cost(theta)

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of all samples, because the next batch has others."""
        return cost

    def batches(self, step: int) -> Iterator[Problem]:
        """Those of the round after `step`."""
        samples, generator = weighted_samples(self.first.blocks[0]), torch.Generator().manual_seed(step)
        passes = PASSES_OF_ROUND[min(step, len(PASSES_OF_ROUND) - 1)]
        a_pass = len(samples) // FIRST_BATCH
        order = samples
        for k in range(max(1, round(passes * len(samples) / FIRST_BATCH))):
            if k % a_pass == 0:
                order = samples[torch.randperm(len(samples), generator=generator, device="cpu")]
            begin = k % a_pass * FIRST_BATCH
            yield chosen_samples(self.first, order[begin : begin + FIRST_BATCH])


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


def gradients_stage(problem: Problem, some: BlockJacobian) -> Stage:
    """Steps along gradients of batches.

    Args:
        problem: of all samples, of one block.
        some: D of some of them, whose layers are meant.
    """
    kinds = [kind for block in some.blocks for kind in block.kinds]
    layers = [kind.index for kind in kinds if isinstance(kind, OuterColumns) and kind.index.dim() == 2]
    control = Soap(Eigenbases.of(layers, problem.n_params))
    return Stage(Epochs(problem), PacedLift(), EulerWalk(), control, (GradientsEnd(),), solve_dtype=problem.dtype)


def gradient_steps(stage: Stage, source: Epochs, state: State, tally: Counter[str]) -> BatchSteps:
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
