"""Columns of the Jacobian that are known by their products alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geodescent._budget import budget, fits, require
from geodescent._deadline import PIECE_SHARE, Allowance, is_affordable, require_time
from geodescent._errors import InputError
from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._workspace import Workspace

PROBES = 64  # Products in an estimate of a diagonal: the relative error of its entries is about √(2/64), a fifth.
LEAST_PROBES = 2  # Products in an estimate of a diagonal that is cut by a deadline.

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
        label: a name for statistics.

    Methods: see `Columns`. Those that need entries of D form it once, by min(m, K) products. Where D is too large for
    that, `row_squares` estimates the diagonal of DDᵀ, as the mean of `(Dz)²` over random signs z, and
    `add_column_squares` that of DᵀD likewise.
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
    def positions(self) -> int:
        return 1

    @property
    def unmade(self) -> int:
        return len(self.row_scale) * self.width

    @property
    def is_formable(self) -> bool:
        lines = 0.5 * min(len(self.row_scale), self.width)
        small = self.unmade <= budget().rows_numbers
        return small and is_affordable(products=lines, share=PIECE_SHARE)

    @property
    def index(self) -> Tensor:
        """All of θ."""
        return torch.arange(self.width, device=self.row_scale.device)

    @cached_property
    def _formed(self) -> DenseColumns:
        need = self.unmade * self.row_scale.dtype.itemsize
        what = f"D of {len(self.row_scale)} × {self.width}, from its products"
        require(need, self.row_scale.device, what=what, instead="Use gd.KrylovLift().")
        values = self.row_scale.new_empty(len(self.row_scale), self.width)
        lines = values.T if self._by_columns else values
        for i, line in enumerate(self._lines()):
            lines[i] = line
        return DenseColumns(values[:, None], self.index, self.label)

    @property
    def _by_columns(self) -> bool:
        return self.width <= len(self.row_scale)

    def _lines(self) -> Iterator[Tensor]:
        """The columns of D one by one, or its rows, whichever are fewer."""
        scale = self.column_scale if self._by_columns else self.row_scale
        for i in range(len(scale)):
            require_time("D from its products")
            unit = torch.zeros_like(scale)
            unit[i] = 1.0
            if self._by_columns:
                yield self.mv(unit)[:, 0]
            else:
                row = torch.zeros_like(self.column_scale)
                self.rmv(unit[:, None], row)
                yield row

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
        product = self._checked("mv", self.product((self.column_scale * v).to(self.source)), len(self.row_scale))
        return (self.row_scale * product)[:, None]

    def rmv(self, u: Tensor, out: Tensor) -> None:
        product = self._checked("rmv", self.transposed((self.row_scale * u[:, 0]).to(self.source)), self.width)
        out.add_(self.column_scale * product)

    def _checked(self, name: str, product: Tensor, n: int) -> Tensor:
        """What a function returned, in the dtype of the rest. Raises InputError for another shape or dtype."""
        if not isinstance(product, Tensor):
            raise InputError(f"{name} of gd.MatrixJacobian returned {type(product).__name__}: return a tensor ({n},).")
        if tuple(product.shape) != (n,):
            raise InputError(
                f"{name} of gd.MatrixJacobian returned shape {tuple(product.shape)}: a vector ({n},) is needed. Where "
                "the numbers are the right ones, return product.reshape(-1)."
            )
        if product.dtype != self.source or product.device != self.row_scale.device:
            raise InputError(
                f"{name} of gd.MatrixJacobian returned {product.dtype} on {product.device}, and was called with "
                f"{self.source} on {self.row_scale.device}: return what it is called with, or pass dtype= and device= "
                "of its own to gd.MatrixJacobian."
            )
        return product.detach().to(self.row_scale.dtype)

    def row_squares(self) -> Tensor:
        if self.is_formable:
            return self._formed.row_squares()
        squares, drawn = torch.zeros_like(self.row_scale), 0
        for signs in random_signs(self.width, self.row_scale):
            squares += self.mv(signs)[:, 0].square()
            drawn += 1
        return (squares / drawn)[:, None]

    def add_column_squares(self, out: Tensor) -> None:
        if self.is_formable and fits(self.unmade * self.row_scale.dtype.itemsize, self.row_scale.device):
            self._formed.add_column_squares(out)
            return
        squares, drawn = torch.zeros_like(self.column_scale), 0
        for signs in random_signs(len(self.row_scale), self.row_scale):
            row = torch.zeros_like(self.column_scale)
            self.rmv(signs[:, None], row)
            squares += row.square()
            drawn += 1
        out.add_(squares, alpha=1.0 / drawn)

    def add_block(self, other: Columns, out: Tensor, work: Workspace, *, fresh: bool) -> None:
        self._formed.add_block(other, out, work, fresh=fresh)

    def add_dense(self, out: Tensor) -> None:
        self._formed.add_dense(out)

    def flops(self, other_rows: int) -> int:
        return 2 * len(self.row_scale) * other_rows * self.width


def random_signs(n: int, like: Tensor) -> Iterator[Tensor]:
    """`PROBES` vectors of random signs, (n,), always the same ones; where time is short `LEAST_PROBES`."""
    generator, allowed = torch.Generator().manual_seed(0), Allowance(PIECE_SHARE)
    for drawn in range(PROBES):
        if drawn >= LEAST_PROBES and allowed.is_spent:
            return
        signs = torch.randint(0, 2, (n,), generator=generator, device="cpu")
        yield (2 * signs - 1).to(like.device, like.dtype)
