"""What one use of a layer adds to the Jacobian: a sum of outer products, or plain rows.

A record holds the columns of D that belong to some entries of θ (`index`), for N samples and Q outputs:

- `OuterColumns`: `D[(i,q), index[o,d]] = Σ_p g[i,q,p,o] a[i,p,d]`, never formed. Every linear operation is one of these.
- `DenseColumns`: `D[(i,q), index[k]] = values[i,q,k]`, formed.

Both are values: slicing samples, scaling and joining give new records. Samples come first in every tensor, so that a
chunk of samples is a slice and the rows of D are sample-major without a copy.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent.jacobian._cotangents import Cotangents, DenseCotangents
from geodescent.jacobian._layer_inputs import DenseInputs, IndexInputs, Inputs

ROWS_LIMIT = 2**24  # numbers in rows formed at once, 128 MB in float64


class Workspace:
    """Two buffers for the tiles of G, taken anew only where a larger tile is asked for: fresh memory costs more to
    touch than a product costs to compute."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._buffers = [torch.empty(0, dtype=dtype, device=device) for _ in range(2)]

    def weights(self, rows: int, columns: int) -> Tensor:
        return self._take(0, rows, columns)

    def products(self, rows: int, columns: int) -> Tensor:
        return self._take(1, rows, columns)

    def _take(self, which: int, rows: int, columns: int) -> Tensor:
        if self._buffers[which].numel() < rows * columns:
            self._buffers[which] = self._buffers[which].new_empty(rows * columns)
        return self._buffers[which][: rows * columns].view(rows, columns)


@dataclass(frozen=True)
class DenseColumns:
    """Columns of D formed outright: `values (N, Q, k)` for the entries `index (k,)` of θ."""

    values: Tensor
    index: Tensor
    label: str

    @property
    def width(self) -> int:
        return self.values.shape[2]

    @property
    def unmade(self) -> int:
        """Numbers that `settled` makes."""
        return 0

    def samples(self, chunk: slice) -> "DenseColumns":
        return replace(self, values=self.values[chunk])

    def to(self, dtype: torch.dtype) -> "DenseColumns":
        return replace(self, values=self.values.to(dtype))

    def rows(self) -> "DenseColumns":
        return self

    def settled(self) -> "DenseColumns":
        return self

    def parts(self, limit: int) -> "list[DenseColumns]":
        return [self]

    def scaled(self, rows: Tensor | None, columns: Tensor | None) -> "DenseColumns":
        values = self.values if rows is None else self.values * rows[:, :, None]
        return replace(self, values=values if columns is None else values * columns[self.index])

    def mixed(self, matrix: Tensor) -> "DenseColumns":
        return replace(self, values=matrix.mT @ self.values)

    def coupling(self) -> Tensor:
        """`Σ_i D_i D_iᵀ`, (Q, Q): how much the outputs of a sample move together."""
        by_output = self.values.transpose(0, 1).flatten(1)
        return by_output @ by_output.T

    def averaged(self) -> "DenseColumns":
        n, q, k = self.values.shape
        return replace(self, values=self.values.reshape(n, 1, q * k) / q**0.5, index=self.index.repeat(q))

    def mv(self, v: Tensor) -> Tensor:
        return self.values @ v[self.index]

    def rmv(self, u: Tensor, out: Tensor) -> None:
        out.index_add_(0, self.index, self.values.flatten(0, 1).T @ u.reshape(-1))

    def row_squares(self) -> Tensor:
        return self.values.square().sum(2)

    def add_block(self, other: "DenseColumns", out: Tensor, work: Workspace, *, fresh: bool) -> None:
        """`out += D D'ᵀ`; with `fresh`, whatever `out` held is overwritten."""
        out.addmm_(self.values.flatten(0, 1), other.values.flatten(0, 1).T, beta=0.0 if fresh else 1.0)

    def add_dense(self, out: Tensor) -> None:
        out.index_add_(1, self.index, self.values.flatten(0, 1))

    def flops(self, other_rows: int) -> int:
        n, q, k = self.values.shape
        return 2 * n * q * other_rows * k


@dataclass(frozen=True)
class OuterColumns:
    """Columns of D as sums of outer products, `D[(i,q), index[o,d]] = scale[o,d] Σ_p g[i,q,p,o] a[i,p,d]`.

    Attributes:
        inputs: a, `(N, P, d)`; a constant 1 appended where the layer has a bias.
        cotangents: g, as `(N, Q, P, o)`, the derivative of the outputs by what the layer returned.
        index: where each entry of the layer's matrix stands in θ, `(o, d)`.
        scale: of the columns, or None for ones.
        label: the module's name.
    """

    inputs: Inputs
    cotangents: Cotangents
    index: Tensor
    label: str
    scale: Tensor | None = None

    @property
    def width(self) -> int:
        return self.index.numel()

    @property
    def unmade(self) -> int:
        return self.cotangents.unmade

    def samples(self, chunk: slice) -> "OuterColumns":
        return replace(self, inputs=self.inputs.samples(chunk), cotangents=self.cotangents.samples(chunk))

    def to(self, dtype: torch.dtype) -> "OuterColumns":
        scale = None if self.scale is None else self.scale.to(dtype)
        return replace(self, inputs=self.inputs.to(dtype), cotangents=self.cotangents.to(dtype), scale=scale)

    def rows(self) -> DenseColumns:
        """The same columns, formed: N·Q·P·o·d multiply-adds."""
        a, g = self.inputs.dense(), self.cotangents.dense()
        n, q, p, o = g.shape
        if p == 1:
            outer = g[:, :, 0, :, None] * a[:, :, None, :]
        else:  # one product a sample: a is not repeated for each output
            outer = (g.transpose(2, 3).reshape(n, q * o, p) @ a).view(n, q, o, -1)
        outer = outer if self.scale is None else outer * self.scale
        return DenseColumns(outer.flatten(2), self.index.reshape(-1), self.label)

    def settled(self) -> "OuterColumns":
        """The same with its cotangents made: for what reads them more than once."""
        return replace(self, cotangents=DenseCotangents(self.cotangents.dense()))

    def parts(self, limit: int) -> "list[OuterColumns]":
        """The record cut along o into pieces whose rows hold at most `limit` numbers."""
        n, q = self.cotangents.shape[:2]
        step = max(1, limit // max(1, n * q * self.index.shape[1]))
        return [self.columns(slice(o, o + step)) for o in range(0, self.index.shape[0], step)]

    def columns(self, chunk: slice) -> "OuterColumns":
        """The rows `chunk` of the layer's matrix."""
        scale = None if self.scale is None else self.scale[chunk]
        return replace(self, cotangents=self.cotangents.columns(chunk), index=self.index[chunk], scale=scale)

    def scaled(self, rows: Tensor | None, columns: Tensor | None) -> "OuterColumns":
        g = self.cotangents if rows is None else self.cotangents.scaled(rows)
        if columns is None:
            return replace(self, cotangents=g)
        scale = columns[self.index] if self.scale is None else self.scale * columns[self.index]
        if bool((scale == scale[0, 0]).all()):
            return replace(self, cotangents=g.times(scale[0, 0]), scale=None)
        return replace(self, cotangents=g, scale=scale)

    def mixed(self, matrix: Tensor) -> "OuterColumns":
        """The record of other outputs, each a combination of these: column r of the matrix, (Q, R) or (N, Q, R)."""
        return replace(self, cotangents=self.cotangents.mixed(matrix))

    def coupling(self) -> Tensor:
        """`Σ_i D_i D_iᵀ`, (Q, Q): how much the outputs of a sample move together."""
        if self.scale is not None or self.inputs.positions**2 > self.width:
            return torch.stack([part.rows().coupling() for part in self.parts(ROWS_LIMIT)]).sum(0)
        return self.cotangents.coupled(self.inputs.inner_own())

    def averaged(self) -> "OuterColumns":
        """The record of one output whose G is the mean over the outputs."""
        g = self.cotangents.averaged()
        times = g.shape[3] // self.index.shape[0]
        scale = None if self.scale is None else self.scale.repeat(times, 1)
        return replace(self, cotangents=g, index=self.index.repeat(times, 1), scale=scale)

    def mv(self, v: Tensor) -> Tensor:
        matrix = v[self.index] if self.scale is None else v[self.index] * self.scale
        return self.cotangents.apply(self.inputs.apply(matrix))

    def rmv(self, u: Tensor, out: Tensor) -> None:
        matrix = self.inputs.collect(self.cotangents.collect(u))
        matrix = matrix if self.scale is None else matrix * self.scale
        out.index_add_(0, self.index.reshape(-1), matrix.reshape(-1))

    def row_squares(self) -> Tensor:
        """`Σ_k D[(i,q),k]²`, (N, Q)."""
        if self.scale is not None or self.inputs.positions**2 > self.width:
            return torch.stack([part.rows().row_squares() for part in self.parts(ROWS_LIMIT)]).sum(0)
        return self.cotangents.squares(self.inputs.inner_own())

    def add_block(self, other: "OuterColumns", out: Tensor, work: Workspace, *, fresh: bool) -> None:
        """`out += Σ_{p,p'} (a·a')(g·g')`: the block of G without D (THEORY 5.1); with `fresh`, `out` is overwritten."""
        n, q, p, _ = self.cotangents.shape
        n2, q2, p2, _ = other.cotangents.shape
        weights = self.inputs.inner(other.inputs, work.weights(n * p, n2 * p2)).view(n, 1, p, n2, 1, p2)
        single = p == p2 == 1
        products = out if fresh and single else work.products(n * q * p, n2 * q2 * p2)
        torch.mm(self.cotangents.dense().flatten(0, 2), other.cotangents.dense().flatten(0, 2).T, out=products)
        by_sample = products.unflatten(1, (n2, q2, p2)).unflatten(0, (n, q, p))
        if single and not fresh:
            out.unflatten(1, (n2, q2)).unflatten(0, (n, q)).addcmul_(
                by_sample[:, :, 0, ..., 0], weights[:, :, 0, ..., 0]
            )
            return
        by_sample.mul_(weights)
        if not single:
            summed = by_sample.sum((2, 5)).view(n * q, n2 * q2)
            out.copy_(summed) if fresh else out.add_(summed)

    def add_dense(self, out: Tensor) -> None:
        self.rows().add_dense(out)

    def flops(self, other_rows: int) -> int:
        """Of one block of G against as many rows, contracted."""
        n, q, p, o = self.cotangents.shape
        pairs = (n * p) * (other_rows // q * p)
        return 2 * pairs * (self.inputs.size + q * q * (o + 1))


Columns = OuterColumns | DenseColumns


def same_columns(a: Columns, b: Columns) -> bool:
    """Whether the two records belong to the same entries of θ, in the same order."""
    return a.index.shape == b.index.shape and bool(torch.equal(a.index, b.index))


def merged(records: list[Columns]) -> Columns:
    """All uses of the same parameters as one record: positions put side by side, or rows summed."""
    first = records[0]
    if len(records) == 1:
        return first
    outer = [r for r in records if isinstance(r, OuterColumns)]
    alike = len(outer) == len(records) and all(
        type(r.inputs) is type(outer[0].inputs) and same_columns(outer[0], r) for r in outer
    )
    return _side_by_side(outer) if alike else _summed(records)


def _side_by_side(records: list[OuterColumns]) -> OuterColumns:
    first = records[0]
    indexed = [r.inputs for r in records if isinstance(r.inputs, IndexInputs)]
    inputs: Inputs
    if indexed:
        inputs = replace(indexed[0], indices=torch.cat([i.indices for i in indexed], 1))
    else:
        inputs = DenseInputs(torch.cat([r.inputs.dense() for r in records], 1))
    cotangents = DenseCotangents(torch.cat([r.cotangents.dense() for r in records], 2))
    return replace(first, inputs=inputs, cotangents=cotangents)


def _summed(records: list[Columns]) -> DenseColumns:
    rows = [r.rows() for r in records]
    index, inverse = torch.unique(torch.cat([r.index for r in rows]), return_inverse=True)
    n, q, _ = rows[0].values.shape
    values = rows[0].values.new_zeros(n, q, len(index))
    values.index_add_(2, inverse, torch.cat([r.values for r in rows], 2))
    return DenseColumns(values, index, " + ".join(dict.fromkeys(r.label for r in rows)))
