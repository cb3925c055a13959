"""Sources give the problem of each step: always the same one, a part of its samples, or batches of a loader."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geodescent._conversion import Values
from geodescent._deadline import SMALL_SHARE, Allowance, leave_out
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import Inputs, RawInputs, Sampled, Select
from geodescent.problem._one_theta import require_one_theta
from geodescent.problem._problem import Problem, RowBlock

PART_ROWS = 8.0  # Rows of a part for each parameter: fewer are overfitted, more cost more (docs/decisions.md).
LEAST_PART = 500  # Samples of a part: with fewer the rows are not what costs most.
PART_SHARE = 0.25  # Share of all samples that a part may have: a larger one saves little.

Loader = DataLoader[Any]
"""Yields pairs (X, y)."""


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


@dataclass
class BatchSource:
    """The batches of a loader, one a step; C of all data once a pass, by forward passes alone.

    Args:
        loader: yields pairs (X, y); its order, shuffled or not, is its own.
        first: its first batch as a problem, whose routes the others share.

    Memory: one batch at a time.
    """

    loader: Iterable[Any]
    first: Problem
    _batches: Iterator[Any] | None = field(default=None, init=False)
    _per_pass: int = field(default=0, init=False)  # counted by `cost`: a loader need not have a length
    _most: int | None = field(default=None, init=False)  # batches of a pass, where a first one was cut by a deadline

    @classmethod
    def of(cls, model: nn.Module, loader: Iterable[Any], select: Select | None = None) -> "BatchSource":
        """Raises InputError, where the loader is empty or does not yield pairs (X, y)."""
        for batch in loader:
            return cls(loader, Problem.of(model, *pair(batch, device_of(model)), select=select))
        raise InputError("the DataLoader yields no batch: it needs at least one pair (X, y).")

    def at(self, step: int) -> Problem:
        """The next batch, from the loader's start again after its end."""
        if self._batches is None:
            self._batches = iter(self.loader)
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self.loader)
            batch = next(self._batches, None)
        if batch is None:
            raise InputError("the DataLoader gave nothing on its second pass: it must be readable again and again.")
        return on_samples(self.first, *pair(batch, self.first.device))

    def cost(self, theta: Theta) -> float:
        """C over one pass, or over as many batches as a first pass could read in its share of the time."""
        total, n_samples, allowed = 0.0, 0.0, Allowance(SMALL_SHARE)
        for count, batch in enumerate(self.loader, 1):
            if self._most is None and self._per_pass == count - 1 > 0 and allowed.is_spent:
                self._most = count - 1
                leave_out(f"the cost of all but the first {self._most} batches")
            if self._most is not None and count > self._most:
                break
            self._per_pass = count
            problem = on_samples(self.first, *pair(batch, self.first.device))
            total += problem.n_samples * problem.cost(theta)
            n_samples += problem.n_samples
        return total / n_samples

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C over one pass, where one has just ended."""
        return self.cost(theta) if self._per_pass and step % self._per_pass == 0 else None

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of all data, because the next batch is not known."""
        return cost


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
    return Problem((resampled(block, outputs.at(chosen), block.target[chosen], weights),))


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


def device_of(model: nn.Module) -> torch.device | None:
    """Of the parameters; None of a module without any, and of what is no module."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return None if first is None else first.device


def pair(batch: Any, device: torch.device | None) -> tuple[Inputs, Tensor]:
    """X and y of what a loader yields, on the device: loaders read into the memory of the host."""
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
        kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list, dict, str)) else None
        raise InputError(f"the DataLoader yields a {kind or type(batch).__name__}: it must yield pairs (X, y).")
    inputs, target = (batch[0], batch[1]) if device is None else (_moved(part, device) for part in batch)
    return inputs, target


def _moved(values: Any, device: torch.device) -> Any:
    """Tensors, and those in a tuple, list or dict, on the device; anything else as it is."""
    if isinstance(values, Tensor):
        return values.to(device)
    if isinstance(values, dict):
        return {name: _moved(value, device) for name, value in values.items()}
    return type(values)(_moved(value, device) for value in values) if type(values) in (tuple, list) else values
