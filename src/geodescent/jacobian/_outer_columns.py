"""Columns of the Jacobian as sums of outer products of layer inputs and cotangents."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from geodescent._budget import budget
from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._cotangents import CHUNK, Cotangents, DenseCotangents
from geodescent.jacobian._layer_inputs import DenseInputs, LayerInputs
from geodescent.jacobian._room import require_room
from geodescent.jacobian._workspace import Workspace


@dataclass(frozen=True)
class OuterColumns:
    """Columns of D as sums of outer products, `D[(i,q), index[o,d]] = scale[o,d] Σ_p g[i,q,p,o] a[i,p,d]`.

    Attributes:
        inputs: a, `(N, P, d)`; a constant 1 appended where the layer has a bias.
        cotangents: g, as `(N, Q, P, o)`, the derivative of the outputs by what the layer returned.
        index: where each entry of the layer's matrix stands in θ, `(o, d)`.
        label: the module's name.
        scale: of the columns, or None for ones.

    Methods: see `Columns`.
    """

    inputs: LayerInputs
    cotangents: Cotangents
    index: Tensor
    label: str
    scale: Tensor | None = None

    @property
    def width(self) -> int:
        return self.index.numel()

    @property
    def positions(self) -> int:
        return self.inputs.positions

    @property
    def unmade(self) -> int:
        return self.cotangents.unmade

    @property
    def is_formable(self) -> bool:
        return True

    def samples(self, chunk: slice) -> "OuterColumns":
        return replace(self, inputs=self.inputs.samples(chunk), cotangents=self.cotangents.samples(chunk))

    def to(self, dtype: torch.dtype) -> "OuterColumns":
        scale = None if self.scale is None else self.scale.to(dtype)
        return replace(self, inputs=self.inputs.to(dtype), cotangents=self.cotangents.to(dtype), scale=scale)

    def rows(self) -> DenseColumns:
        """The same columns, formed: N·Q·P·o·d multiply-adds."""
        a, g = self.inputs.dense(), self.cotangents.dense()
        n, q, p, o = g.shape
        turned = 0 if p == 1 else g.numel()
        formed = n * q * self.width
        require_room(turned + formed, g, "rows of D")
        if p == 1:
            outer = g[:, :, 0, :, None] * a[:, :, None, :]
        else:  # one product a sample: a is not repeated for each output
            outer = (g.transpose(2, 3).reshape(n, q * o, p) @ a).view(n, q, o, -1)
        outer = outer if self.scale is None else outer.mul_(self.scale)
        return DenseColumns(outer.flatten(2), self.index.reshape(-1), self.label)

    def settled(self) -> "OuterColumns":
        return replace(self, cotangents=DenseCotangents(self.cotangents.dense()))

    def parts(self, limit: int) -> "list[OuterColumns]":
        """Cut along the rows of the layer's matrix into pieces whose rows hold at most `limit` numbers."""
        n, q = self.cotangents.shape[:2]
        step = max(1, limit // max(1, n * q * self.index.shape[1]))
        return [self.part(slice(o, o + step)) for o in range(0, self.index.shape[0], step)]

    def part(self, chunk: slice) -> "OuterColumns":
        """The rows `chunk` of the layer's matrix."""
        scale = None if self.scale is None else self.scale[chunk]
        return replace(self, cotangents=self.cotangents.part(chunk), index=self.index[chunk], scale=scale)

    def scaled(self, rows: Tensor | None, columns: Tensor | None) -> "OuterColumns":
        g = self.cotangents if rows is None else self.cotangents.scaled(rows)
        if columns is None:
            return replace(self, cotangents=g)
        scale = columns[self.index] if self.scale is None else self.scale * columns[self.index]
        if bool((scale == scale[0, 0]).all()):
            factor = scale[0, 0]
            return replace(self, cotangents=g if float(factor) == 1.0 else g.times(factor), scale=None)
        if isinstance(self.inputs, DenseInputs) and bool((scale == scale[:1]).all()):  # as of a unit for each input
            return replace(self, inputs=self.inputs.scaled(scale[0]), cotangents=g, scale=None)
        return replace(self, cotangents=g, scale=scale)

    def mixed(self, matrix: Tensor) -> "OuterColumns":
        return replace(self, cotangents=self.cotangents.mixed(matrix))

    def coupling(self) -> Tensor:
        if self._is_cheaper_formed:
            return torch.stack([part.rows().coupling() for part in self._pieces()]).sum(0)
        parts = (g.coupled(a.inner_own()) for a, g in self._by_samples())
        return reduce(torch.Tensor.add_, parts)

    def averaged(self) -> "OuterColumns":
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
        if self._is_cheaper_formed:
            return torch.stack([part.rows().row_squares() for part in self._pieces()]).sum(0)
        return torch.cat([g.squares(a.inner_own()) for a, g in self._by_samples()])

    def add_column_squares(self, out: Tensor) -> None:
        for part in self._pieces():
            part.rows().add_column_squares(out)

    def add_block(self, other: Columns, out: Tensor, work: Workspace, *, fresh: bool) -> None:
        """`out += Σ_{p,p'} (a·a')(g·g')`: the block of G without D; with `fresh`, `out` is overwritten."""
        if not isinstance(other, OuterColumns):
            self.rows().add_block(other, out, work, fresh=fresh)
            return
        n, q, p, _ = self.cotangents.shape
        n2, q2, p2, _ = other.cotangents.shape
        weights = self.inputs.inner(other.inputs, work.weights(n * p, n2 * p2)).view(n, 1, p, n2, 1, p2)
        single = p == p2 == 1
        products = out if fresh and single else work.products(n * q * p, n2 * q2 * p2)
        torch.mm(self.cotangents.dense().flatten(0, 2), other.cotangents.dense().flatten(0, 2).T, out=products)
        by_sample = products.view(n, q, p, n2, q2, p2)
        if single and not fresh:
            torch.unflatten(torch.unflatten(out, 1, (n2, q2)), 0, (n, q)).addcmul_(
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
        """Flops of a block of G against `other_rows` rows, contracted."""
        n, q, p, o = self.cotangents.shape
        pairs = (n * p) * (other_rows // q * p)
        return 2 * pairs * (self.inputs.size + q * q * (o + 1))

    @property
    def _is_cheaper_formed(self) -> bool:
        return self.scale is not None or self.inputs.positions**2 > self.width

    def _by_samples(self) -> "Iterator[tuple[LayerInputs, Cotangents]]":
        """Inputs and cotangents of so few samples at a time that the copies of a sum over them stay in the cache."""
        n, q, p, o = self.cotangents.shape
        step = max(1, CHUNK // max(1, q * p * max(p, o)))
        for start in range(0, n, step):
            chunk = slice(start, start + step)
            yield self.inputs.samples(chunk), self.cotangents.samples(chunk)

    def _pieces(self) -> "list[OuterColumns]":
        return self.parts(budget().rows_numbers)
