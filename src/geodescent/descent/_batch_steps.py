"""Steps on batches, one after the other, until a round has seen its share of the samples."""

import math
from collections import Counter
from dataclasses import dataclass, replace

from geodescent._deadline import OutOfTime, seconds_left
from geodescent.descent._control import Trial
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import Stage
from geodescent.descent._state import BatchState, State
from geodescent.jacobian import CALL_FLOPS, Jacobian
from geodescent.linalg import sum_of_squares
from geodescent.problem import BatchesSource, Problem, RoundOfBatches

FIRST_BATCH = 128  # Samples: fewer hardly cost less, since kernels are called as often.
COMPARED_STEPS = 16  # Steps over which the falls on new samples and on own ones are compared, at the most.
SURE = 1.0  # Standard errors of the fall on new samples, by which it must be smaller at the least.
HALF = 0.5  # Of the length of steps: as twice as many samples would, it halves the noise that stays in the parameters.

OWN_PRODUCTS = 3.0  # Pairs of products: what a step on a batch takes beside its iterations.
CALLS_OF_LAYER = 1.5e7  # Flops: what calling kernels, of a step's products and of all beside, takes a layer and pair.
PASSES_OF_ROUND = (2.0, 4.0, 8.0)  # Times a pass over all samples: the first rounds, and all later ones.

FIRST = BatchState(FIRST_BATCH)
"""The state before the first step."""


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


def batch_steps(stage: Stage, source: BatchesSource, state: State, tally: Counter[str]) -> BatchSteps:
    """Steps on the batches of one round, each from where the last one led; fewer where the time runs out.

    Raises: OutOfTime, where not one was taken.
    """
    drawing, last, spent = source.drawing(state.step), None, 0.0
    try:
        while (batch := drawing.batch((state.stage.batch or FIRST).size)) is not None:
            before = state.stage.work
            found = _on_batch(stage, drawing, batch, state, tally)
            if found.trial is None:
                return last or found
            state, last = found.state, found
            spent += _passes_of_step(found.here, state.stage.work - before, drawing.n_residuals)
            if spent >= _passes_of_round(state.step) or seconds_left() <= 0.0:
                break
    except OutOfTime:
        if last is None:
            raise
    assert last is not None  # a round has at least one batch
    return last


def _on_batch(stage: Stage, drawing: RoundOfBatches, batch: Problem, state: State, tally: Counter[str]) -> BatchSteps:
    """One step on a batch of a drawing."""
    here = Linearised.at(batch, state.theta, lift=stage.lift, dtype=stage.solve_dtype, tally=tally, metric=state.metric)
    before, control, last = tally["iterations"], state.stage.control, state.stage.batch or FIRST
    walk = stage.walk.sized(last.length * stage.walk.step_size)
    control = stage.control.begin(here, state.stage.damping) if control is None else control
    taken = stage.control.step(here, walk, control, state.levels) if here.cost > 0.0 else None
    work = state.stage.work + tally["iterations"] - before + OWN_PRODUCTS
    state = replace(state, metric=here.metric, stage=replace(state.stage, control=control, work=work))
    if taken is None:
        return BatchSteps(state, here, None)
    trial, control = taken
    following = _after_step(last, here, trial.cost)
    if following.size > last.size:
        following = _with_less_noise(last, drawing.next_size(last.size, here.jacobian))
    stage_state = replace(state.stage, control=control, batch=following)
    return BatchSteps(replace(state, theta=trial.theta, cost=trial.cost, stage=stage_state), here, trial)


def _after_step(state: BatchState, here: Linearised, own: float) -> BatchState:
    """The state after a step on a batch, whose size doubles where that lowers the cost faster.

    A step lowers ln C of its own batch by f, and that of new samples by g ≤ f, which the costs of the next batches show
    before their own steps. What f has over g is noise, and twice the samples halve it: a step would bring (f + 3g)/4,
    at τ times the price. So the size doubles where that is more than τ g, which is f > (4τ − 3) g, and surely: with
    `SURE` standard errors added to g. These decrease with the steps, so that a clear difference tells after two.

    Args:
        here: where the step began, for τ and the scatter of the samples.
        own: C of the batch after its step.
    """
    fall = math.log(here.cost / own) if own > 0.0 else math.inf
    costs, falls = (*state.costs, here.cost)[-COMPARED_STEPS:], (*state.falls, fall)[-COMPARED_STEPS:]
    times = 4.0 * _price_of_double(here.jacobian) - 3.0
    if len(costs) > 1 and sum(falls) / len(falls) > times * _on_new_samples(costs, _scatter(here)):
        return BatchState(2 * state.size)
    return replace(state, costs=costs, falls=falls)


def _with_less_noise(state: BatchState, size: int) -> BatchState:
    """Larger batches; where there are none, steps of half the length, whose noise the steps after them average.

    Args:
        size: of the batches that follow.
    """
    return BatchState(size, length=state.length if size > state.size else HALF * state.length)


def _on_new_samples(costs: tuple[float, ...], scatter: float) -> float:
    """The most that the mean fall of ln C a step may be on samples that no step has seen, from two costs or more.

    The means of the earlier half and of the later half of the costs of batches before their steps are compared.

    Args:
        costs: of the batches.
        scatter: standard deviation of ln of each of them.
    """
    half = len(costs) // 2
    earlier, later = sum(costs[:half]) / half, sum(costs[half:]) / (len(costs) - half)
    error = scatter * math.sqrt(1.0 / half + 1.0 / (len(costs) - half))
    return (math.log(earlier / later) + SURE * error) * 2.0 / len(costs) if later > 0.0 else math.inf


def _scatter(here: Linearised) -> float:
    """The standard deviation of ln C of a batch, from the costs of its samples."""
    of_samples = sum_of_squares(here.residual.view(here.problem.blocks[0].n_samples, -1), 1)
    return float(of_samples.std()) / (math.sqrt(len(of_samples)) * float(of_samples.mean()))


def _passes_of_step(here: Linearised, products: float, n_residuals: int) -> float:
    """What a step on a batch takes, in passes over all samples, of which each takes as much as half a pair of products.

    Args:
        here: where it began.
        products: pairs of products that it took as long as.
        n_residuals: rows of all samples.
    """
    rows = _rows_flops(here.jacobian)
    of_pass = rows / 2.0 * n_residuals / here.jacobian.n_residuals
    return products * (rows + _calls(here.jacobian)) / of_pass


def _passes_of_round(step: int) -> float:
    """How many passes the steps of a round take, so that the pass after them, for the cost, takes little beside them.

    Args:
        step: number of the last round.
    """
    return PASSES_OF_ROUND[min(step, len(PASSES_OF_ROUND) - 1)]


def steps_of_first_round(jacobian: Jacobian, products: float, problem: Problem) -> int:
    """How many steps on batches the first round has, if each takes as long as the first.

    Args:
        jacobian: of the first batch, or of some of its samples.
        products: pairs of products that a step takes as long as.
        problem: of all samples, of one block.
    """
    n, rows = problem.blocks[0].n_samples, _rows_flops(jacobian) / jacobian.blocks[0].n_samples
    of_step = products * (FIRST_BATCH * rows + _calls(jacobian))
    return max(1, min(n // FIRST_BATCH, math.ceil(PASSES_OF_ROUND[0] * rows * n / 2.0 / of_step)))


def _calls(jacobian: Jacobian) -> float:
    """What a step on a batch takes however few its samples are, in flops a pair of products."""
    return CALLS_OF_LAYER * sum(len(block.kinds) for block in jacobian.blocks)


def _rows_flops(jacobian: Jacobian) -> float:
    """Of a pair of products, without calling kernels."""
    return jacobian.product_flops() - CALL_FLOPS * sum(len(block.kinds) for block in jacobian.blocks)


def _price_of_double(jacobian: Jacobian) -> float:
    """τ: what products with twice the rows cost over those with these; kernels are called as often."""
    rows, calls = _rows_flops(jacobian), _calls(jacobian)
    return (2.0 * rows + calls) / (rows + calls)
