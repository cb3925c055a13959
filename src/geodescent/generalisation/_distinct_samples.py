"""Some of the samples of a problem, identical ones merged: from these the start is chosen."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.outputs import Layered, Sampled
from geodescent.problem import Problem, RowBlock, active, conflict_cost, identical_groups, resampled

LEAST_SAMPLES = 300  # Samples that are left out in turn, at least: fewer say too little of the gains.
ROWS_FLOPS = 1e8  # Of m·K·min(m, K): D is decomposed in some 0.05 s.


@dataclass(frozen=True)
class DistinctSamples:
    """Some samples of a problem, each input once.

    Attributes:
        problem: of them, each with the weight and the mean target of all that share its input.
        spread: the cost that merging hides.
        cost_of_mean: C of the best constant outputs.
        n_given: samples of the whole problem.
    """

    problem: Problem
    spread: float
    cost_of_mean: float
    n_given: int

    @property
    def n_samples(self) -> int:
        """Distinct samples."""
        return sum(block.n_samples for block in self.problem.blocks)


def blocks_of_samples(problem: Problem) -> list[RowBlock]:
    """The blocks whose samples can be left out: those of layered maps, with as many outputs as the first of them."""
    blocks = [b for b in problem.blocks if isinstance(b.map, Sampled) and isinstance(b.map, Layered)]
    return [b for b in blocks if b.n_outputs == blocks[0].n_outputs]


def affordable(problem: Problem) -> int:
    """How many samples the flops allow."""
    k, q = problem.n_params, problem.blocks[0].n_outputs
    rows = max(math.sqrt(ROWS_FLOPS / k), ROWS_FLOPS / k**2)  # the first where m ≤ K, else the second
    return max(LEAST_SAMPLES, int(rows / q))


def distinct_samples(problem: Problem, max_samples: int, seed: int) -> DistinctSamples:
    """Some of the samples of positive weight, drawn by the seed, identical ones merged.

    Args:
        problem: of blocks of samples alone.
        max_samples: of all blocks together.
    """
    n_given = sum(block.n_samples for block in problem.blocks)
    drawn = [_drawn(block, math.ceil(max_samples * block.n_samples / n_given), seed) for block in problem.blocks]
    part = Problem(tuple(drawn))
    groups = [identical_groups(block) for block in drawn]
    pairs = list(zip(drawn, groups, strict=True))
    spread = sum(conflict_cost(part, block, group) for block, alike in pairs for group in alike)
    merged = Problem(tuple(_merged(block, alike) for block, alike in pairs))
    of_mean = sum(conflict_cost(merged, block, list(range(block.n_samples))) for block in merged.blocks)
    return DistinctSamples(merged, spread, of_mean + spread, n_given)


def _weights(block: RowBlock) -> Tensor:
    return torch.ones_like(block.target[:, 0]) if block.weights is None else block.weights.to(block.target)


def _drawn(block: RowBlock, count: int, seed: int) -> RowBlock:
    assert isinstance(block.map, Sampled)
    samples = active(block)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed), device="cpu")
    kept = [samples[i] for i in order[:count].sort().values.tolist()]
    return resampled(block, block.map.at(kept), block.target[kept], _weights(block)[kept])


def _merged(block: RowBlock, groups: list[list[int]]) -> RowBlock:
    """Each group as one sample of the group's weight and mean target: all that a ridge solution sees of it."""
    assert isinstance(block.map, Sampled)
    target, weights = block.target.clone(), _weights(block).clone()
    for group in groups:
        first, share = group[0], weights[group, None] / weights[group].sum()
        target[first] += (share * (target[group] - target[first])).sum(0)
        weights[first] = weights[group].sum()
    repeated = {i for group in groups for i in group[1:]}
    rest = [i for i in range(len(target)) if i not in repeated]
    return resampled(block, block.map.at(rest), target[rest], weights[rest])
