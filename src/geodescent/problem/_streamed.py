"""All batches of a loader as one problem whose D is never held: every product passes over the data again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from geodescent._budget import require
from geodescent._errors import InputError, MemoryPlanError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.outputs import Inputs, SampleMap, n_samples_of
from geodescent.problem._problem import Problem, RowBlock, require_finite
from geodescent.problem._sources import BatchSource, pair


@dataclass(frozen=True)
class StreamedSource:
    """The whole of a loader as the problem of every step, for lifts that only need `DᵀD`: exact, in batches."""

    batches: BatchSource
    whole: Problem
    part: None = None

    @classmethod
    def of(cls, model: nn.Module, loader: DataLoader[Any]) -> "StreamedSource":
        batches = BatchSource.of(model, in_order(loader))
        (block,) = batches.first.blocks
        targets = torch.cat([pair(batch)[1].reshape(-1, block.map.n_outputs) for batch in batches.loader])
        require_finite(targets, "y")
        streamed = StreamedMap(block.map, batches.loader, len(targets))
        return cls(batches, Problem((RowBlock("data", streamed, targets),)))  # type: ignore[arg-type]

    @property
    def first(self) -> Problem:
        return self.batches.first

    def at(self, step: int) -> Problem:
        return self.whole

    def cost(self, theta: Theta) -> float:
        return self.whole.cost(self.whole.outputs(theta))

    def judged(self, step: int, theta: Theta, cost: float) -> float | None:
        return cost


def in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The batches of one pass, again at every pass: rows must be met where the last pass met them."""
    if isinstance(loader.dataset, IterableDataset):
        return loader
    common: dict[str, Any] = {"collate_fn": loader.collate_fn, "num_workers": loader.num_workers}
    if loader.batch_sampler is None:
        return DataLoader(loader.dataset, batch_size=None, sampler=list(loader.sampler), **common)
    return DataLoader(loader.dataset, batch_sampler=list(loader.batch_sampler), **common)


@dataclass(frozen=True)
class StreamedMap:
    """`x[θ]` over all batches; the outputs are held, nothing else."""

    map: SampleMap
    loader: DataLoader[Any]
    n_samples: int

    @property
    def n_outputs(self) -> int:
        return self.map.n_outputs

    @property
    def n_params(self) -> int:
        return self.map.n_params

    @property
    def theta(self) -> Theta:
        return self.map.theta

    def write(self, theta: Theta) -> None:
        """Copies θ into the module."""
        self.map.write(theta)

    def __call__(self, theta: Theta) -> Outputs:
        return torch.cat([self.map.on(inputs)(theta) for inputs in self._inputs()])

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + t·direction]/dt²` at t = 0, (N, Q)."""
        return torch.cat([self.map.on(inputs).second_derivative(theta, direction) for inputs in self._inputs()])

    def linearise(self, theta: Theta) -> tuple[Outputs, "StreamedJacobian"]:
        """`x[θ]` and D, of which only the recipe is kept."""
        jacobian = StreamedJacobian(self, theta, (self.n_samples * self.n_outputs, self.n_params), self.map.dtype)
        return self(theta), jacobian

    def parts(self, theta: Theta) -> Iterator[Jacobian]:
        """D batch by batch."""
        for inputs in self._inputs():
            yield self.map.on(inputs).linearise(theta)[1]

    def _inputs(self) -> Iterator[Inputs]:
        found = 0
        for batch in self.loader:
            inputs = pair(batch)[0]
            found += n_samples_of(inputs)
            yield inputs
        if found != self.n_samples:
            raise InputError(f"the DataLoader yielded {found} samples, and {self.n_samples} when it was first read.")


@dataclass(frozen=True)
class StreamedJacobian:
    """D by passes over the data: `mv`, `rmv`, `normal` and `row_squares`; no Gram matrix and no rows.

    Attributes:
        map, theta: where it is taken.
        shape: (m, K).
        dtype: of what it returns.
        rows: a scale of the rows, (m,), or None.
    """

    map: StreamedMap
    theta: Theta
    shape: tuple[int, int]
    dtype: torch.dtype
    rows: Tensor | None = None

    @property
    def n_residuals(self) -> int:
        """m."""
        return self.shape[0]

    @property
    def n_params(self) -> int:
        """K."""
        return self.shape[1]

    @property
    def device(self) -> torch.device:
        """Of everything it returns."""
        return self.theta.device

    def to(self, dtype: torch.dtype) -> "StreamedJacobian":
        """The same in another precision after the capture."""
        return StreamedJacobian(self.map, self.theta, self.shape, dtype, self.rows)

    def scaled(self, *, rows: Outputs | None = None, columns: Theta | None = None) -> "StreamedJacobian":
        """`diag(rows) D`; column scales are not streamed."""
        if columns is not None:
            raise InputError("a parameter metric cannot be used over a DataLoader: pass the data as tensors.")
        scale = self.rows if rows is None else rows if self.rows is None else self.rows * rows
        return StreamedJacobian(self.map, self.theta, self.shape, self.dtype, scale)

    def mv(self, v: Theta) -> Outputs:
        """`D v`: one pass."""
        return torch.cat([part.mv(v) for part in self._parts()])

    def rmv(self, u: Outputs) -> Theta:
        """`Dᵀ u`: one pass."""
        out, start = u.new_zeros(self.n_params), 0
        for part in self._parts():
            out += part.rmv(u[start : start + part.n_residuals])
            start += part.n_residuals
        return out

    def normal(self) -> Tensor:
        """`DᵀD`: one pass, K² numbers."""
        out = torch.zeros(self.n_params, self.n_params, dtype=self.dtype, device=self.device)
        for part in self._parts():
            out += part.normal()
        return out

    def row_squares(self) -> Outputs:
        """The diagonal of G: one pass."""
        return torch.cat([part.row_squares() for part in self._parts()])

    def compact(self) -> "StreamedJacobian":
        """Itself: nothing is held."""
        return self

    def row_chunks(self) -> Iterator[Tensor]:
        """D from top to bottom in chunks of whole samples."""
        for part in self._parts():
            yield from part.row_chunks()

    def gram(self) -> Tensor:
        """Refused: it would need all of D at once."""
        m = self.n_residuals
        raise MemoryPlanError(f"the Gram matrix of {m} × {m} rows is not formed over a DataLoader: use NormalLift().")

    def dense(self) -> Tensor:
        """D, (m, K): one pass. Raises MemoryPlanError where it does not fit."""
        m, k = self.shape
        require(m * k * self.dtype.itemsize, self.device, what=f"D of {m} × {k}", instead="Use mv, rmv or normal.")
        return torch.cat(list(self.row_chunks()))

    def _parts(self) -> Iterator[Jacobian]:
        start = 0
        for part in self.map.parts(self.theta):
            scale = None if self.rows is None else self.rows[start : start + part.n_residuals]
            start += part.n_residuals
            yield part.to(self.dtype).scaled(rows=scale)
