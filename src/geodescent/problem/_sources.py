"""Sources: the problem of each step. The loop asks for it, whether it is one problem, or batches of a loader."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import Inputs, take
from geodescent.problem._problem import Problem, RowBlock, batch_of

PART_ROWS = 8.0  # for each parameter: fewer are fitted by heart, more cost more (docs/decisions.md)
LEAST_PART = 500  # samples: with fewer it is not the rows that cost
PART_SHARE = 0.25  # of all samples: a larger part spares little


class Source(Protocol):
    """Gives the problem of each step, and says what a step's cost means for the whole."""

    @property
    def first(self) -> Problem:
        """The problem that stands for all in what is said once: shapes, dtype, rounding floor, certificate."""
        ...

    @property
    def part(self) -> "Source | None":
        """A part of the samples on which a descent may open, or None."""
        ...

    def at(self, step: int) -> Problem:
        """The problem on which the step after `step` is taken."""
        ...

    def cost(self, theta: Theta) -> float:
        """C of everything."""
        ...

    def judged(self, step: int, theta: Theta, cost: float) -> float | None:
        """C of everything after that step, whose own problem has `cost`; None where it is not the time to know."""
        ...


@dataclass(frozen=True)
class FixedSource:
    """One problem for every step, but for those of an opening on some of its samples, where they were drawn."""

    first: Problem
    drawn: Problem | None = None

    @property
    def part(self) -> "PartSource | None":
        return None if self.drawn is None else PartSource(self, self.drawn)

    def at(self, step: int) -> Problem:
        return self.first

    def cost(self, theta: Theta) -> float:
        return self.first.cost(self.first.outputs(theta))

    def judged(self, step: int, theta: Theta, cost: float) -> float | None:
        return cost


@dataclass(frozen=True)
class PartSource:
    """Some of the samples for every step; what a step is worth is said by all of them, in one forward pass."""

    whole: FixedSource
    drawn: Problem
    part: None = field(default=None, init=False)

    @property
    def first(self) -> Problem:
        return self.whole.first

    def at(self, step: int) -> Problem:
        return self.drawn

    def cost(self, theta: Theta) -> float:
        return self.whole.cost(theta)

    def judged(self, step: int, theta: Theta, cost: float) -> float | None:
        return self.cost(theta)


@dataclass
class BatchSource:
    """The batches of a loader, one a step; C of everything once a pass, by forward passes alone.

    Args:
        loader: yields pairs (X, y); its order, shuffled or not, is its own.
        first: its first batch as a problem, whose routes the others share.

    Memory: one batch at a time.
    """

    loader: DataLoader[Any]
    first: Problem
    part: None = field(default=None, init=False)
    _batches: Iterator[Any] | None = field(default=None, init=False)
    _per_pass: int = field(default=0, init=False)  # a loader need not have a length; the first cost counts

    @classmethod
    def of(cls, model: nn.Module, loader: DataLoader[Any]) -> "BatchSource":
        """Raises InputError, where the loader is empty or does not yield pairs (X, y)."""
        for batch in loader:
            return cls(loader, Problem.of(model, *pair(batch)))
        raise InputError("the DataLoader yields no batch: it needs at least one pair (X, y).")

    def at(self, step: int) -> Problem:
        if self._batches is None:
            self._batches = iter(self.loader)
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self.loader)
            batch = next(self._batches, None)
        if batch is None:
            raise InputError("the DataLoader gave nothing on its second pass: it must be readable again and again.")
        return batch_of(self.first, *pair(batch))

    def cost(self, theta: Theta) -> float:
        total, n_samples = 0.0, 0.0
        for count, batch in enumerate(self.loader, 1):
            self._per_pass = count
            problem = batch_of(self.first, *pair(batch))
            total += problem.n_samples * problem.cost(problem.outputs(theta))
            n_samples += problem.n_samples
        return total / n_samples

    def judged(self, step: int, theta: Theta, cost: float) -> float | None:
        return self.cost(theta) if self._per_pass and step % self._per_pass == 0 else None


def part_of(problem: Problem) -> Problem | None:
    """A part of the samples, drawn by a fixed seed, that tells as much of θ far from the minimum as all of them do.

    None where it would not be much smaller: `PART_ROWS` rows for each parameter, at least `LEAST_PART` samples and at
    most a `PART_SHARE` of them. Samples of weight zero do not count.
    """
    (block,) = problem.blocks
    n_samples, n_outputs = block.target.shape
    asked = torch.arange(n_samples) if block.weights is None else block.weights.cpu().nonzero()[:, 0]
    n = max(LEAST_PART, math.ceil(PART_ROWS * problem.n_params / n_outputs))
    if n > PART_SHARE * len(asked):
        return None
    order = torch.randperm(len(asked), generator=torch.Generator().manual_seed(0))
    chosen = asked[order[:n]].sort().values.to(block.target.device)
    weights = None if block.weights is None else block.weights[chosen]
    outputs = block.map.on(take(block.map.inputs, chosen))
    return Problem((RowBlock(block.name, outputs, block.target[chosen], weights),))


def pair(batch: Any) -> tuple[Inputs, Tensor]:
    """X and y of what a loader yields."""
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
        kind = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
        raise InputError(f"the DataLoader yields a {kind}: it must yield pairs (X, y).")
    return batch[0], batch[1]
