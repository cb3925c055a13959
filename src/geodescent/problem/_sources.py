"""Sources give the problem of each step: always the same one, or a part of its samples."""

import math
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.jacobian import Jacobian
from geodescent.outputs import Inputs, RawInputs, Sampled
from geodescent.problem._one_theta import require_one_theta
from geodescent.problem._problem import Problem
from geodescent.problem._row_block import RowBlock

OF_ALL = 2  # RoundOfBatches of more than half of the samples save little: all of them follow.
PART_ROWS = 8.0  # Rows of a part for each parameter: fewer are overfitted, more cost more (docs/decisions.md).
LEAST_PART = 500  # Samples of a part: with fewer the rows are not what costs most.
PART_SHARE = 0.25  # Share of all samples that a part may have: a larger one saves little.


@runtime_checkable
class Source(Protocol):
    """Gives the problem of each step, and the cost of all data."""

    @property
    def first(self) -> Problem:
        """The problem from which shapes, dtype, rounding floor and certificate are taken."""
        ...

    def at(self, step: int) -> Problem:
        """The problem on which the step after `step` is taken."""
        ...

    def cost(self, theta: Theta) -> float:
        """C of all data."""
        ...

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C of all data after that step, whose own problem has `own_cost`; None where it is not computed then."""
        ...

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of the problem of the next step, where that is known beforehand; else C of all data, `cost`."""
        ...


class RoundOfBatches(Protocol):
    """The batches of one round."""

    @property
    def n_residuals(self) -> int:
        """Rows of all data."""
        ...

    def batch(self, size: int) -> Problem | None:
        """The next batch, of so many samples, or of all where there are no more; None where the round is over."""
        ...

    def next_size(self, size: int, jacobian: Jacobian) -> int:
        """Samples of the batches after those of this size; the same size where no larger one is possible.

        Args:
            jacobian: of a batch of this size.
        """
        ...


@runtime_checkable
class BatchesSource(Source, Protocol):
    """Gives rounds of batches; the cost of all data is measured after each."""

    def drawing(self, step: int) -> RoundOfBatches:
        """The batches of the round after `step`."""
        ...


@dataclass(frozen=True)
class FixedSource:
    """One problem for every step."""

    first: Problem

    def __post_init__(self) -> None:
        if not isinstance(self.first, Problem):
            raise InputError(f"a {type(self.first).__name__} is no problem: pass gd.FixedSource(problem).")

    def at(self, step: int) -> Problem:
        """The problem."""
        return self.first

    def cost(self, theta: Theta) -> float:
        """Its cost."""
        return self.first.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """The cost of the step's own problem, which is all there is."""
        return own_cost

    def own_cost(self, theta: Theta, cost: float) -> float:
        """The same cost."""
        return cost


@dataclass(frozen=True)
class PartSource:
    """Some of the samples, or others, for every step; the cost after a step is that of all samples, a forward pass."""

    whole: FixedSource
    drawn: Problem

    def __post_init__(self) -> None:
        if not (isinstance(self.whole, FixedSource) and isinstance(self.drawn, Problem)):
            raise InputError(
                f"a {type(self.whole).__name__} and a {type(self.drawn).__name__} are no part of a problem: pass "
                "gd.PartSource(gd.FixedSource(problem), other)."
            )
        first, drawn = self.whole.first.blocks[0].map, self.drawn.blocks[0].map
        require_one_theta(first, drawn, first_name="the problem of all samples", other_name="that of the samples drawn")

    @property
    def first(self) -> Problem:
        """The problem of all samples."""
        return self.whole.first

    def at(self, step: int) -> Problem:
        """The problem of the samples drawn."""
        return self.drawn

    def cost(self, theta: Theta) -> float:
        """C of all samples."""
        return self.whole.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C of all samples."""
        return self.cost(theta)

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of the samples drawn."""
        return self.drawn.cost(theta)


def sampled_block(problem: Problem) -> tuple[RowBlock, Sampled] | None:
    """The block and its map, where the problem has one block and the map has samples; else None."""
    block = problem.blocks[0]
    if len(problem.blocks) > 1 or not isinstance(block.map, Sampled):
        return None
    return block, block.map


def on_samples(problem: Problem, inputs: RawInputs, target: Values, *, name: str | None = None) -> Problem:
    """The same map on other samples: another batch, or validation data. Raises InputError for a map without samples."""
    sampled = sampled_block(problem)
    if sampled is None:
        raise InputError(
            "other samples need a problem of one block whose map is of samples, as gd.SampleMap: pass another "
            "gd.Problem over the same parameters."
        )
    block, outputs = sampled
    return Problem((RowBlock(name or block.name, outputs.on(cast(Inputs, inputs)), cast(Tensor, target)),))


def resampled(block: RowBlock, outputs: Sampled, target: Tensor, weights: Tensor | None) -> RowBlock:
    """The block on other samples: their map, their targets (N, Q), and their weights."""
    return RowBlock(block.name, outputs, target.reshape(outputs.target_shape), weights, block.weight)


def chosen_samples(problem: Problem, rows: Tensor) -> Problem:
    """The problem on some of its samples, of a problem of one block whose map is of samples."""
    sampled = sampled_block(problem)
    assert sampled is not None
    block, outputs = sampled
    chosen = rows.to(block.target.device)
    weights = None if block.weights is None else block.weights[chosen]
    return Problem((block.of_samples(outputs.at(chosen), block.target[chosen], weights),))


def weighted_samples(block: RowBlock) -> Tensor:
    """The numbers of the samples of a block whose weight is not zero."""
    if block.weights is None:
        return torch.arange(block.n_samples, device="cpu")
    return block.weights.cpu().nonzero()[:, 0]


def part_of(problem: Problem) -> Problem | None:
    """A part of the samples, drawn by a fixed seed, which determines steps far from the minimum as well as all.

    None where it would not be much smaller: `PART_ROWS` rows for each parameter, at least `LEAST_PART` samples and at
    most a `PART_SHARE` of them. Samples of weight zero do not count.
    """
    sampled = sampled_block(problem)
    if sampled is None:
        return None
    block, _ = sampled
    asked = weighted_samples(block)
    n = max(LEAST_PART, math.ceil(PART_ROWS * problem.n_params / block.n_outputs))
    if n > PART_SHARE * len(asked):
        return None
    order = torch.randperm(len(asked), generator=torch.Generator().manual_seed(0), device="cpu")
    return chosen_samples(problem, asked[order[:n]].sort().values)
