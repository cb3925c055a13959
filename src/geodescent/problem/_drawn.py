"""Steps on samples drawn anew each time: for a problem on all of whose samples a step takes too long."""

import math
from dataclasses import dataclass, replace

import torch

from geodescent._deadline import Allowance, OutOfTime, clock, has_deadline, seconds_left
from geodescent._errors import JacobianError, MemoryPlanError
from geodescent._types import Theta
from geodescent.jacobian import Jacobian
from geodescent.outputs import Sampled, Traced
from geodescent.problem._by_products import ByProducts
from geodescent.problem._epochs import SourceOfBatches
from geodescent.problem._problem import Problem
from geodescent.problem._row_block import RowBlock
from geodescent.problem._sources import chosen_samples, resampled, weighted_samples

FIRST_LOOK = 4  # Samples of the first look at what a step takes.
MORE_SAMPLES = 4  # Factor on the samples from one look to the next.
LOOKING = 0.02  # Share of the time that is left which the looks together may take.
TELLING = 0.005  # Share of the time that is left: a look that takes less says little of one at many samples.
SURELY = 4.0  # Times what all samples take by the last look, in proportion: a margin for caches.
LONG_STEP = 0.2  # Share of the time that is left: where a planned step takes more, D is known by its products alone.
SHORT_STEP = 0.1  # Share of the time that is left which a step by products is to take.
PRODUCTS = 8  # Pairs of products with D and Dᵀ, with which a step is taken to be over.
PASSES = 5.0  # Forward passes that such a pair takes as long as.
LEAST_DRAWN = 2  # Samples that are drawn at least.


@dataclass(frozen=True)
class DrawnSource:
    """As many samples for every step, others each time, by a fixed seed, and D by its products where autograd has them.

    The cost after a step is that of all samples.

    Attributes:
        first: the problem of all samples.
        share: of the samples of each block that has some; other blocks enter whole.
        by_products: whether D is known by its products alone.
    """

    first: Problem
    share: float
    by_products: bool = True

    def at(self, step: int) -> Problem:
        """The problem of the samples drawn for the step after `step`."""
        problem = drawn(self.first, self.share, seed=step)
        return _by_products(problem) if self.by_products else problem

    def cost(self, theta: Theta) -> float:
        """C of all samples."""
        return self.first.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C of all samples."""
        return own_cost if self.is_whole else self.cost(theta)

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of all samples, because the next ones are others."""
        return cost

    @property
    def is_whole(self) -> bool:
        """Whether all samples are drawn."""
        return self.share >= 1.0

    @property
    def n_drawn(self) -> int:
        """Samples of a step, of all blocks that have some."""
        return sum(_number(block, self.share) for block in self.first.blocks if isinstance(block.map, Sampled))


@dataclass(frozen=True)
class ShuffledSource(SourceOfBatches):
    """Steps on batches whose size the steps themselves choose."""

    def drawing(self, step: int) -> "Drawing":
        """The batches of the round after `step`."""
        return Drawing(self.first, seed=step)


class Drawing:
    """Batches without replacement, of the samples whose weight is not zero.

    Args:
        problem: of all samples.
        seed: of their order.
    """

    def __init__(self, problem: Problem, *, seed: int) -> None:
        samples = weighted_samples(problem.blocks[0])
        generator = torch.Generator().manual_seed(seed)
        self._problem, self._next = problem, 0
        self._order = samples[torch.randperm(len(samples), generator=generator, device="cpu")]

    @property
    def n_residuals(self) -> int:
        """Rows of all samples."""
        return self._problem.n_residuals

    def next_size(self, size: int, jacobian: Jacobian) -> int:
        """Twice as many samples."""
        return 2 * size

    def batch(self, size: int) -> Problem | None:
        """The next so many samples, or all where there are no more; None where fewer are left."""
        size = min(size, len(self._order))
        chosen = self._order[self._next : self._next + size]
        self._next += size
        return chosen_samples(self._problem, chosen.sort().values) if len(chosen) == size else None


def drawn(problem: Problem, share: float, *, seed: int) -> Problem:
    """A share of the samples of each block that has some; samples of weight zero are not drawn."""
    if share >= 1.0:
        return problem
    generator = torch.Generator().manual_seed(seed)
    return Problem(tuple(_drawn(block, share, generator) for block in problem.blocks))


def _drawn(block: RowBlock, share: float, generator: torch.Generator) -> RowBlock:
    outputs = block.map
    if not isinstance(outputs, Sampled):
        return block
    asked = weighted_samples(block)
    order = torch.randperm(len(asked), generator=generator, device="cpu")[: _number(block, share)]
    if len(order) < min(2, block.n_samples):  # norms of single numbers refuse a single sample
        return block
    chosen = asked[order].sort().values.to(block.target.device)
    weights = None if block.weights is None else block.weights[chosen]
    return resampled(block, outputs.at(chosen), block.target[chosen], weights)


def _number(block: RowBlock, share: float) -> int:
    return min(block.n_samples, max(LEAST_DRAWN, math.ceil(share * block.n_samples)))


def _by_products(problem: Problem) -> Problem:
    """The problem with D by products, in the blocks whose maps autograd can differentiate."""
    return Problem(tuple(replace(b, map=ByProducts(b.map)) if _is_traced(b) else b for b in problem.blocks))


def _is_traced(block: RowBlock) -> bool:
    return isinstance(block.map, Traced) and isinstance(block.map, Sampled)


def timely_source(problem: Problem, part: Problem | None) -> DrawnSource | None:
    """A source of short steps; None where the planned ones are short enough for the time that is left.

    How many samples are drawn for a short step follows from what a forward pass over all of them takes.

    Args:
        part: the samples that the first planned steps would be taken on, or None for all of them.
    """
    left = seconds_left()
    if not (has_deadline() and left > 0.0 and any(isinstance(block.map, Sampled) for block in problem.blocks)):
        return None
    if _seconds_of_planned(part or problem) <= LONG_STEP * left:
        return None
    try:
        has_products = _has_products(problem)
    except OutOfTime:
        return DrawnSource(problem, 0.0)  # the shortest steps: the time is over
    if not has_products:
        return DrawnSource(problem, _affordable_share(problem, SHORT_STEP * left), by_products=False)
    begin = clock(problem.device)
    problem.outputs(problem.theta)
    seconds = PRODUCTS * PASSES * (clock(problem.device) - begin)
    return DrawnSource(problem, min(1.0, SHORT_STEP * left / seconds))


def _has_products(problem: Problem) -> bool:
    """Whether autograd has `D v` and `Dᵀu` of the maps: some operations have neither of the derivatives for `D v`.

    Raises: OutOfTime, which says nothing of them.
    """
    try:
        _measured_step(_by_products(drawn(problem, 0.0, seed=0)))
    except (NotImplementedError, RuntimeError, JacobianError, MemoryPlanError):
        return False
    return True


def _affordable_share(problem: Problem, seconds: float) -> float:
    """Of the samples, so many that a step with D formed takes at most so long."""
    n = max(block.n_samples for block in problem.blocks)
    count = LEAST_DRAWN
    while count < n and MORE_SAMPLES * _seconds_of_step(problem, count / n) <= seconds:
        count = min(MORE_SAMPLES * count, n)
    return count / n


def _seconds_of_planned(problem: Problem) -> float:
    """What a planned step takes, by looks at few samples, then at more, as long as these take little of the time.

    One look is enough where the step is short however it grows; else extrapolated from the last two. D of so many
    samples that it does not fit into memory counts as too long.
    """
    n, left, allowed = max(block.n_samples for block in problem.blocks), seconds_left(), Allowance(LOOKING)
    before, sooner = min(FIRST_LOOK, n), _seconds_of_step(problem, min(FIRST_LOOK, n) / n)
    while sooner <= LONG_STEP * left:
        if SURELY * sooner * n / before <= LONG_STEP * left:
            return sooner * n / before
        count = min(MORE_SAMPLES * before, n)
        last = _seconds_of_step(problem, count / n)
        slope = max(0.0, last - sooner) / max(1, count - before)
        whole = last + slope * (n - count)
        is_told = last >= TELLING * left or SURELY * whole <= LONG_STEP * left
        if count == n or math.isinf(last) or is_told or allowed.is_spent:
            return whole
        before, sooner = count, last
    return math.inf


def _seconds_of_step(problem: Problem, share: float) -> float:
    """Infinite where D of these samples does not fit into memory, or into the time."""
    try:
        return _measured_step(drawn(problem, share, seed=0))
    except (MemoryPlanError, OutOfTime):
        return math.inf


def _measured_step(problem: Problem) -> float:
    """Seconds of a step, of a linearisation and products with D. Raises: MemoryPlanError, OutOfTime."""
    begin = clock(problem.device)
    residual, jacobian = problem.linearise(problem.theta)
    linearised = clock(problem.device)
    jacobian.mv(jacobian.rmv(residual))
    return linearised - begin + PRODUCTS * (clock(problem.device) - linearised)
