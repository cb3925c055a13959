"""The batches of a loader, one after the other, and the pairs that it yields."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._deadline import SMALL_SHARE, Allowance, leave_out
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import Inputs, Select
from geodescent.problem._problem import Problem
from geodescent.problem._sources import on_samples
from geodescent.problem.loaders._in_order import Batches, anew


@dataclass
class BatchSource:
    """The batches of a loader, one a step; C of all data once a pass, by forward passes alone.

    Args:
        loader: yields pairs (X, y); its order, shuffled or not, is its own.
        first: its first batch as a problem, whose routes the others share.

    Memory: one batch at a time.
    """

    loader: Batches
    first: Problem
    _batches: Iterator[Any] | None = field(default=None, init=False)
    _per_pass: int = field(default=0, init=False)  # counted by `cost`: a loader need not have a length
    _n_samples: int = field(default=0, init=False)  # of a pass, counted likewise
    _most: int | None = field(default=None, init=False)  # batches of a pass, where a first one was cut by a deadline

    @classmethod
    def of(cls, model: nn.Module, loader: Batches, select: Select | None = None) -> "BatchSource":
        """Raises InputError, where the loader is empty or does not yield pairs (X, y)."""
        inputs, target = first_pair(loader, device_of(model))
        return cls(loader, Problem.of(model, inputs, target, select=select))

    @classmethod
    def on(cls, problem: Problem, loader: Batches, *, name: str) -> "BatchSource":
        """The map of a problem on the batches of another loader, as validation data.

        Args:
            name: of its rows.
        """
        return cls(loader, on_samples(problem, *first_pair(loader, problem.device), name=name))

    def at(self, step: int) -> Problem:
        """The next batch, from the loader's start again after its end."""
        batch = None if self._batches is None else next(self._batches, None)
        if batch is None:
            batch = next(self.begin_pass(), None)
        if batch is None:
            raise InputError("the DataLoader gave nothing on its second pass: it must be readable again and again.")
        return on_samples(self.first, *pair(batch, self.first.device))

    @property
    def most_rows(self) -> int:
        """Rows of all data, before they are read: of whole batches, or any number where the loader has no length."""
        return length_hint(self.loader, sys.maxsize) * self.first.n_residuals

    @property
    def n_samples(self) -> int:
        """Samples of a pass, which are counted in one where none was made yet."""
        if not self._n_samples:
            self._n_samples = sum(len(target) for _, target in (pair(batch, None) for batch in anew(self.loader)))
        return self._n_samples

    def begin_pass(self) -> Iterator[Any]:
        """Makes the next batch the first of a pass."""
        self._batches = anew(self.loader)
        return self._batches

    def cost(self, theta: Theta) -> float:
        """C over one pass, or over as many batches as a first pass could read in its share of the time."""
        total, n_samples, allowed = 0.0, 0.0, Allowance(SMALL_SHARE)
        for count, batch in enumerate(anew(self.loader), 1):
            if self._most is None and self._per_pass == count - 1 > 0 and allowed.is_spent:
                self._most = count - 1
                leave_out(f"the cost of all but the first {self._most} batches")
            if self._most is not None and count > self._most:
                break
            self._per_pass = count
            problem = on_samples(self.first, *pair(batch, self.first.device))
            total += problem.n_samples * problem.cost(theta)
            n_samples += problem.n_samples
        self._n_samples = round(n_samples)
        return total / n_samples

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C over one pass, where one has just ended."""
        return self.cost(theta) if self._per_pass and step % self._per_pass == 0 else None

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of all data, because the next batch is not known."""
        return cost


def device_of(model: nn.Module) -> torch.device | None:
    """Of the parameters; None of a module without any, and of what is no module."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return None if first is None else first.device


def first_pair(loader: Batches, device: torch.device | None) -> tuple[Inputs, Tensor]:
    """X and y of the first batch. Raises InputError, where there is none."""
    for batch in anew(loader):
        return pair(batch, device)
    raise InputError("the DataLoader yields no batch: it needs at least one pair (X, y).")


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
