"""The opening of a fit: short steps on batches of growing size, and of large problems on all samples."""

from dataclasses import dataclass

import torch

from geodescent._deadline import FASTER_PRODUCTS, PIECE_SHARE, is_affordable
from geodescent._settings import NOT_NEGATIVE, Whole, settle
from geodescent.descent._batch_steps import FIRST_BATCH
from geodescent.descent._control import STATIONARY
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import STAGES, Leave, Stage
from geodescent.descent._state import State
from geodescent.descent._walk import EulerWalk
from geodescent.jacobian import Jacobian, is_recorded
from geodescent.lift import SketchedLift, factors_flops
from geodescent.linalg import STEP_ITERATIONS
from geodescent.problem import (
    OF_ALL,
    FixedSource,
    GrowingSource,
    Problem,
    ShuffledSource,
    Source,
    chosen_samples,
    sampled_block,
    weighted_samples,
)

STEP_LINEARISATIONS = 8.0  # Linearisations: a step with few iterations takes as long as so many.
OPENING_DAMPING = 1e-5
"""Share of ‖B‖_F² of the first batch, whose rows have more in common the more outputs a sample has: with a tenth of it
first steps of deep networks are refused, and with a share of ‖B‖_F²/m those of 784 outputs end in a plateau."""
LEAST_OF_PRECISION = {torch.float32: 1e-7, torch.float64: 1e-12}
"""Share of ‖B‖_F²/m: the least damping of steps with few iterations, by the precision of the problem."""
PRICE_OF_ALL = 5.0  # Iterations: what a step on all samples takes beside them, by products in float32.


@dataclass(frozen=True)
class BatchesEnd:
    """Ends the steps on batches, where the next one would have more than half of all samples.

    Args:
        n_samples: of the problem, without those of weight zero.
        below: a share of the reference cost; the stage ends there too, where exact steps follow.
    """

    n_samples: int
    below: float = 0.0
    stages: int = 1
    least_fall: float = STATIONARY

    def __post_init__(self) -> None:
        settle(self, n_samples=Whole(1000, least=1), below=NOT_NEGATIVE, stages=STAGES, least_fall=NOT_NEGATIVE)

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether steps on all samples are the better use of the time."""
        if state.best.cost <= self.below * state.reference:
            return True
        if state.stage.batch is None or OF_ALL * state.stage.batch.size <= self.n_samples:
            return False
        times = self.n_samples / here.jacobian.blocks[0].n_samples
        return is_affordable(linearisations=STEP_LINEARISATIONS * times, share=PIECE_SHARE)


@dataclass(frozen=True)
class EigenvectorsPay:
    """Ends the steps with sketched factors of the layers, where the factors' eigenvectors are worth their price.

    They save iterations, the more of them the smaller the damping, and steps with them make the columns of D. Where
    products were passes through a graph they pay once they cost no more than `STEP_ITERATIONS`, as long as a step with
    them takes anyway, or as the last step took. Where columns are known anyway they do not.
    """

    stages: int = 1
    least_fall: float = STATIONARY

    def __post_init__(self) -> None:
        settle(self, stages=STAGES, least_fall=NOT_NEGATIVE)

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether the better factors are the better use of the time."""
        if not is_recorded(here.jacobian):
            return False
        price = eigenvectors_price(here.jacobian, here.jacobian.product_flops())
        return price <= STEP_ITERATIONS or state.stage.iterations >= price


def eigenvectors_price(jacobian: Jacobian, product_flops: float) -> float:
    """How many pairs of products the eigenvectors of the layers' factors take as long as.

    Args:
        jacobian: whose layers they are.
        product_flops: of a pair.
    """
    return FASTER_PRODUCTS * factors_flops(jacobian) / product_flops


def first_batch(problem: Problem) -> Problem | None:
    """The samples of a first step on a batch; None where steps are taken on all."""
    sampled = sampled_block(problem)
    if sampled is None or problem.has_equations:
        return None
    samples = weighted_samples(sampled[0])
    return None if len(samples) < OF_ALL * FIRST_BATCH else chosen_samples(problem, samples[:FIRST_BATCH])


def opening(source: FixedSource) -> tuple[Stage, ...]:
    """The first stages of a large problem: on batches, where it has enough samples, and then on all.

    Both take few iterations a step, behind factors of the layers that cost next to nothing, in the problem's precision.
    Where a matrix for few parameters can be factorised instead, a step on all samples costs too little for batches to
    save much.
    """
    problem, stages = source.first, list[Stage]()
    if problem.has_equations or (sampled := sampled_block(problem)) is None:
        return ()
    n_samples = len(weighted_samples(sampled[0]))
    if n_samples >= OF_ALL * FIRST_BATCH:
        stages.append(_short_steps(ShuffledSource(problem), BatchesEnd(n_samples)))
    stages.append(_short_steps(source, EigenvectorsPay(), price=PRICE_OF_ALL))
    return tuple(stages)


def batches_stage(source: GrowingSource) -> Stage:
    """The one stage of a large problem over a DataLoader: its last batches are all samples, or what memory holds."""
    return _short_steps(source)


def _short_steps(source: Source, *leave: Leave, price: float = 1.0) -> Stage:
    """Few iterations a step, behind factors of the layers that cost next to nothing.

    Args:
        price: of a step, in iterations.
    """
    dtype, n_rows = source.first.dtype, FIRST_BATCH * source.first.blocks[0].n_outputs
    control = GainRatio(initial_damping=OPENING_DAMPING * n_rows, least_damping=LEAST_OF_PRECISION[dtype])
    lift = SketchedLift(price, products=torch.float32)
    return Stage(source, lift, EulerWalk(), control, leave, solve_dtype=dtype)
