"""Steps on samples drawn anew each time: for a problem on all of whose samples a step takes too long."""

import math
import time
from dataclasses import dataclass, replace

import torch

from geodescent._deadline import Allowance, OutOfTime, has_deadline, seconds_left
from geodescent._errors import MemoryPlanError
from geodescent._types import Theta
from geodescent.outputs import ByProducts, Sampled, Traced
from geodescent.problem._problem import Problem, RowBlock
from geodescent.problem._sources import resampled

FIRST_LOOK, GROWTH = 4, 4  # Samples of the first look at what a step takes, and the factor from one look to the next.
LOOKING = 0.02  # Share of the time that is left which the looks together may take.
TELLING = 0.005  # Share of the time that is left: a look that takes less says little of one at many samples.
LONG_STEP = 0.2  # Share of the time that is left: where a planned step takes more, D is known by its products alone.
SHORT_STEP = 0.1  # Share of the time that is left which a step by products is to take.
PRODUCTS = 8  # Pairs of products with D and Dᵀ, with which a step is taken to be over.
FEWEST = 2  # Samples that are drawn at least.


@dataclass(frozen=True)
class DrawnSource:
    """As many samples for every step, others each time, by a fixed seed, and D by its products where autograd has them.

    The cost after a step is that of all samples.

    Attributes:
        first: the problem of all samples.
        share: of the samples of each block that has some; other blocks enter whole.
    """

    first: Problem
    share: float

    def at(self, step: int) -> Problem:
        """The problem of the samples drawn for the step after `step`."""
        return _by_products(drawn(self.first, self.share, seed=step))

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
    asked = torch.arange(block.n_samples) if block.weights is None else block.weights.cpu().nonzero()[:, 0]
    order = torch.randperm(len(asked), generator=generator)[: _number(block, share)]
    chosen = asked[order].sort().values.to(block.target.device)
    weights = None if block.weights is None else block.weights[chosen]
    return resampled(block, outputs.at(chosen), block.target[chosen], weights)


def _number(block: RowBlock, share: float) -> int:
    return min(block.n_samples, max(FEWEST, math.ceil(share * block.n_samples)))


def _by_products(problem: Problem) -> Problem:
    """The problem with D by products, in the blocks whose maps autograd can differentiate."""
    return Problem(tuple(replace(b, map=ByProducts(b.map)) if _is_traced(b) else b for b in problem.blocks))


def _is_traced(block: RowBlock) -> bool:
    return isinstance(block.map, Traced) and isinstance(block.map, Sampled)


def timely_source(problem: Problem, part: Problem | None) -> DrawnSource | None:
    """A source of short steps; None where the planned ones are short enough for the time that is left.

    Looked at are linearisations and products on few samples, then on more, up to a small share of the time that is
    left; what a step on all of them takes is extrapolated from the last two looks. D of so many samples that it does
    not fit into memory counts as too long.

    Args:
        part: the samples that the first planned steps would be taken on, or None for all of them.
    """
    sizes = [block.n_samples for block in problem.blocks if isinstance(block.map, Sampled)]
    if not sizes or not has_deadline():
        return None
    most = max(block.n_samples for block in (part or problem).blocks if isinstance(block.map, Sampled))
    left = seconds_left()
    planned = _Looks.of(problem, most)
    if planned.seconds(most) <= LONG_STEP * left:
        return None
    short = _Looks.of(_by_products(problem), max(sizes))
    return DrawnSource(problem, min(1.0, short.samples(SHORT_STEP * left) / max(sizes)))


@dataclass(frozen=True)
class _Looks:
    """What a step on some samples took: `fixed + slope · samples`, by the last two looks.

    Attributes:
        count, last: samples and seconds of the last look.
        slope: seconds a sample.
    """

    count: int
    last: float
    slope: float

    @classmethod
    def of(cls, problem: Problem, most: int) -> "_Looks":
        n, left, allowed = max(b.n_samples for b in problem.blocks), seconds_left(), Allowance(LOOKING)
        count = min(FIRST_LOOK, most)
        before, sooner = count, _seconds_of_step(problem, count / n)
        while True:
            count = min(GROWTH * before, most)
            last = _seconds_of_step(problem, count / n)
            if math.isinf(last):
                return cls(before, sooner, math.inf)
            looks = cls(count, last, max(0.0, last - sooner) / max(1, count - before))
            if count == most or last >= TELLING * left or allowed.is_spent:
                return looks
            before, sooner = count, last

    def seconds(self, count: int) -> float:
        """Of a step on so many samples."""
        return self.last if count == self.count else self.last + self.slope * (count - self.count)

    def samples(self, seconds: float) -> float:
        """Of a step that takes so long; or twice as long as one on no samples would, which fewer save little of."""
        if self.slope == 0.0:
            return math.inf
        fixed = max(0.0, self.last - self.slope * self.count)
        return max(float(FEWEST), max(seconds - fixed, fixed) / self.slope)


def _seconds_of_step(problem: Problem, share: float) -> float:
    """Infinite where D of these samples does not fit into memory, or into the time."""
    few = drawn(problem, share, seed=0)
    begin = time.perf_counter()
    try:
        residual, jacobian = few.linearise(few.theta)
        linearised = time.perf_counter()
        jacobian.mv(jacobian.rmv(residual))
    except (MemoryPlanError, OutOfTime):
        return math.inf
    return linearised - begin + PRODUCTS * (time.perf_counter() - linearised)
