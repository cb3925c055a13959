"""All batches of a loader as one problem whose D is never held: every product passes over the data again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from geodescent._budget import require
from geodescent._deadline import require_time
from geodescent._errors import InputError, MemoryPlanError
from geodescent._types import Gram, Outputs, Theta
from geodescent.jacobian import Block, Jacobian
from geodescent.outputs import Inputs, OutputMap, SampleMap, Select, n_samples_of
from geodescent.problem._around import AroundMap
from geodescent.problem._checks import require_finite
from geodescent.problem._problem import Problem
from geodescent.problem.loaders._batch_source import BatchSource, pair
from geodescent.problem.loaders._in_order import Batches, Loader, in_order
from geodescent.problem.loaders._summed import Summed


@dataclass(frozen=True)
class StreamedSource:
    """The whole of a loader as the problem of every step, for lifts that only need `DᵀD`: exact, in batches."""

    batches: BatchSource
    whole: Problem

    @classmethod
    def of(cls, model: nn.Module, loader: Loader, select: Select | None = None) -> "StreamedSource":
        """Raises InputError, where the loader is empty or does not yield pairs (X, y)."""
        batches = BatchSource.of(model, in_order(loader), select)
        (block,) = batches.first.blocks
        outputs = block.map
        assert isinstance(outputs, SampleMap)  # the map of a module
        targets = torch.cat([pair(batch, block.map.device)[1].reshape(-1, block.n_outputs) for batch in batches.loader])
        require_finite(targets, "y")
        return cls(
            batches, Problem.over(StreamedMap(outputs, batches.loader, (len(targets), block.n_outputs)), targets)
        )

    @property
    def first(self) -> Problem:
        """That of the first batch."""
        return self.batches.first

    def at(self, step: int) -> Problem:
        """The whole."""
        return self.whole

    def cost(self, theta: Theta) -> float:
        """C of the whole."""
        return self.whole.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """The cost of the step's own problem, which is all there is."""
        return own_cost

    def own_cost(self, theta: Theta, cost: float) -> float:
        """The same cost."""
        return cost


@dataclass(frozen=True)
class StreamedMap(AroundMap):
    """`x[θ]` over all batches of a loader; the outputs are held, nothing else.

    Attributes:
        map: of one batch; `on` gives that of every other.
        loader: yields pairs (X, y), in the same order at every pass.
        shape: (N, Q).
    """

    map: SampleMap
    loader: Batches
    shape: tuple[int, int]

    @property
    def model(self) -> nn.Module:
        """The module."""
        return self.map.model

    def parameters(self) -> dict[str, Tensor]:
        """The module's own parameters by name, in the order of θ."""
        return self.map.parameters()

    def watched(self, theta: Theta) -> Outputs:
        """`x[θ]` of one batch, recorded by autograd."""
        return self.map.watched(theta)

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q): one pass."""
        return torch.cat([part(theta) for part in self._maps()])

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, (N, Q): one pass."""
        return torch.cat([part.second_derivative(theta, direction) for part in self._maps()])

    def linearise(self, theta: Theta) -> tuple[Outputs, "StreamedJacobian"]:
        """`x[θ]` and D, which is not kept but computed again for every product, with what one pass gives of it."""
        n_rows, outputs, summed = (
            self.shape[0] * self.shape[1],
            list[Outputs](),
            Summed.zero(self.map.n_params, self.device),
        )
        for part, target in self._parts():
            x, jacobian = part.linearise(theta)
            outputs.append(x)
            if summed is not None:
                summed.add(jacobian, (x - target.reshape(x.shape)).reshape(-1))
        return torch.cat(outputs), StreamedJacobian(
            self, theta.clone(), (n_rows, len(theta)), self.dtype, summed=summed
        )

    def parts(self, theta: Theta) -> Iterator[Jacobian]:
        """D batch by batch."""
        for part in self._maps():
            yield part.linearise(theta)[1]

    def _maps(self) -> Iterator[OutputMap]:
        return (part for part, _ in self._parts())

    def _parts(self) -> Iterator[tuple[OutputMap, Tensor]]:
        """The map of each batch, and its targets."""
        n_samples = 0
        for batch in self.loader:
            inputs: Inputs
            inputs, target = pair(batch, self.device)
            n_samples += n_samples_of(inputs)
            yield self.map.on(inputs), target
        if n_samples != self.shape[0]:
            raise InputError(
                f"the DataLoader yielded {n_samples} samples, and {self.shape[0]} when it was first read: each pass "
                "must yield the same samples."
            )


@dataclass(frozen=True)
class StreamedJacobian:
    """D by passes over the data: products, `normal` and `row_squares`; no Gram matrix.

    Attributes:
        map, theta: where it is taken.
        shape: (m, K).
        dtype: of what it returns.
        rows, columns: scales of the rows, (m,), and of the columns, (K,), or None.
        blocks: none: its rows are never held.
        summed: what the pass of the linearisation summed up, of rows without a scale; None for nothing.
    """

    map: StreamedMap
    theta: Theta
    shape: tuple[int, int]
    dtype: torch.dtype
    rows: Tensor | None = None
    columns: Tensor | None = None
    blocks: tuple[Block, ...] = ()
    summed: Summed | None = None

    @property
    def holds_rows(self) -> bool:
        """Never: each product passes over the data."""
        return False

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
        """The same in another precision."""
        rows = None if self.rows is None else self.rows.to(dtype)
        columns = None if self.columns is None else self.columns.to(dtype)
        return replace(self, dtype=dtype, rows=rows, columns=columns)

    def scaled(self, *, rows: Outputs | None = None, columns: Theta | None = None) -> "StreamedJacobian":
        """`diag(rows) D diag(columns)`."""
        return replace(self, rows=_times(self.rows, rows), columns=_times(self.columns, columns))

    def mv(self, v: Theta) -> Outputs:
        """`D v`: one pass."""
        return torch.cat([part.mv(v) for part in self._parts()])

    def rmv(self, u: Outputs) -> Theta:
        """`Dᵀ u`: one pass; none for u = ±(x − y)."""
        u = u.reshape(-1)
        if self.summed is not None and self.rows is None and u.dtype == torch.float64:
            known = self.summed.product(u)
            if known is not None:
                return known if self.columns is None else known * self.columns
        out, start = u.new_zeros(self.n_params), 0
        for part in self._parts():
            out += part.rmv(u[start : start + part.n_residuals])
            start += part.n_residuals
        return out

    def normal(self) -> Tensor:
        """`DᵀD`: of the linearisation, or one pass, 2K² numbers. Raises MemoryPlanError where they do not fit."""
        k = self.n_params
        size = 2 * k * k * self.dtype.itemsize  # the sum and the part of one batch
        require(size, self.device, what=f"the normal matrix of {k} × {k}", instead="Use gd.KrylovLift().")
        if self.summed is not None and self.rows is None:
            known = self.summed.normal.to(self.dtype, copy=True)
            return known if self.columns is None else known.mul_(self.columns[:, None]).mul_(self.columns)
        out = torch.zeros(k, k, dtype=self.dtype, device=self.device)
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

    def product_flops(self) -> float:
        """Flops of one product with D and one with Dᵀ, the passes over the data not counted."""
        return 4.0 * self.n_residuals * self.n_params

    def gram_flops(self) -> float:
        """Flops of a Gram matrix, if it were formed."""
        return float(self.n_residuals**2 * self.n_params)

    def routes(self) -> list[dict[str, object]]:
        """How the columns of the first batch enter its G."""
        return next(self._parts()).routes()

    def gram(self, other: Jacobian | None = None) -> Gram:
        """Refused: it would need all of D at once."""
        raise self._refused("the Gram matrix")

    def mean_gram(self) -> Gram:
        """Refused, as `gram`."""
        raise self._refused("K̄")

    def mixed(self, matrix: Tensor) -> Jacobian:
        """Refused, as `gram`."""
        raise self._refused("a mixture of outputs")

    def dense(self) -> Tensor:
        """D, (m, K): one pass. Raises MemoryPlanError where it does not fit."""
        m, k = self.shape
        require(m * k * self.dtype.itemsize, self.device, what=f"D of {m} × {k}", instead="Use mv, rmv or normal.")
        return torch.cat(list(self.row_chunks()))

    def _refused(self, what: str) -> MemoryPlanError:
        m = self.n_residuals
        return MemoryPlanError(f"{what} of {m} × {m} rows is not formed over a DataLoader: use gd.NormalLift().")

    def _parts(self) -> Iterator[Jacobian]:
        start = 0
        for part in self.map.parts(self.theta):
            require_time("a pass over the data")
            scale = None if self.rows is None else self.rows[start : start + part.n_residuals]
            start += part.n_residuals
            yield part.to(self.dtype).scaled(rows=scale, columns=self.columns)


def _times(scale: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The product of two scales, None for ones."""
    if scale is None or other is None:
        return other if scale is None else scale
    return scale * other
