"""Columns of the Jacobian that are known by their products alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._workspace import Workspace

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ProductColumns:
    """Columns of D known by their products, `row_scale · D · column_scale`, for one output a sample.

    Attributes:
        product: `v ↦ D v`, (K,) → (m,).
        transposed: `u ↦ Dᵀ u`, (m,) → (K,).
        row_scale: (m,), in the dtype of everything returned.
        column_scale: (K,).
        source: dtype in which the products are computed.
        label: for statistics.

    Verbs: those of `Columns`; all but `mv` and `rmv` form the columns, by min(m, K) products, once.
    """

    product: Product
    transposed: Product
    row_scale: Tensor
    column_scale: Tensor
    source: torch.dtype
    label: str

    @property
    def width(self) -> int:
        return len(self.column_scale)

    @property
    def unmade(self) -> int:
        return len(self.row_scale) * self.width

    @property
    def index(self) -> Tensor:
        """All of θ."""
        return torch.arange(self.width, device=self.row_scale.device)

    @cached_property
    def _formed(self) -> DenseColumns:
        m, k = len(self.row_scale), self.width
        if k <= m:
            units = torch.eye(k, dtype=self.row_scale.dtype, device=self.row_scale.device)
            values = torch.stack([self.mv(unit)[:, 0] for unit in units], 1)
        else:
            values = self.row_scale.new_zeros(m, k)
            for i, unit in enumerate(torch.eye(m, dtype=self.row_scale.dtype, device=self.row_scale.device)):
                self.rmv(unit[:, None], values[i])
        return DenseColumns(values[:, None], self.index, self.label)

    def samples(self, chunk: slice) -> DenseColumns:
        return self._formed.samples(chunk)

    def to(self, dtype: torch.dtype) -> "ProductColumns":
        return replace(self, row_scale=self.row_scale.to(dtype), column_scale=self.column_scale.to(dtype))

    def rows(self) -> DenseColumns:
        return self._formed

    def settled(self) -> DenseColumns:
        return self._formed

    def parts(self, limit: int) -> list[DenseColumns]:
        return [self._formed]

    def scaled(self, rows: Tensor | None, columns: Tensor | None) -> "ProductColumns":
        row_scale = self.row_scale if rows is None else self.row_scale * rows[:, 0]
        return replace(
            self,
            row_scale=row_scale,
            column_scale=self.column_scale if columns is None else self.column_scale * columns,
        )

    def mixed(self, matrix: Tensor) -> DenseColumns:
        return self._formed.mixed(matrix)

    def coupling(self) -> Tensor:
        return self._formed.coupling()

    def averaged(self) -> DenseColumns:
        return self._formed

    def mv(self, v: Tensor) -> Tensor:
        product = self.product((self.column_scale * v).to(self.source)).to(self.row_scale.dtype)
        return (self.row_scale * product)[:, None]

    def rmv(self, u: Tensor, out: Tensor) -> None:
        product = self.transposed((self.row_scale * u[:, 0]).to(self.source)).to(self.row_scale.dtype)
        out.add_(self.column_scale * product)

    def row_squares(self) -> Tensor:
        return self._formed.row_squares()

    def add_block(self, other: Columns, out: Tensor, work: Workspace, *, fresh: bool) -> None:
        self._formed.add_block(other, out, work, fresh=fresh)

    def add_dense(self, out: Tensor) -> None:
        self._formed.add_dense(out)

    def flops(self, other_rows: int) -> int:
        return 2 * len(self.row_scale) * other_rows * self.width
