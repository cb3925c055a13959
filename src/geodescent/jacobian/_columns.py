"""Columns of the Jacobian for some entries of θ: the protocol, and the kind that is formed.

There are three kinds, each for N samples and Q outputs:

- `DenseColumns`: `D[(i,q), index[k]] = values[i,q,k]`, formed.
- `OuterColumns`: `D[(i,q), index[o,d]] = Σ_p g[i,q,p,o] a[i,p,d]`, never formed. Every linear layer is one of these.
- `ProductColumns`: known by `v ↦ Dv` and `u ↦ Dᵀu`, formed only where something needs the numbers.

All are immutable: taking samples, scaling and joining give new objects. Samples come first in every tensor, so that a
chunk of samples is a slice and the rows of D are sample-major without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from geodescent.jacobian._room import require_room
from geodescent.jacobian._workspace import Workspace
from geodescent.linalg import sum_of_squares

COPY_OF_ROWS = "a copy of rows of D"


class Columns(Protocol):
    """Columns of D for the entries `index` of θ."""

    @property
    def index(self) -> Tensor:
        """Which entries of θ the columns belong to, in the shape that this kind of columns needs."""
        ...

    @property
    def label(self) -> str:
        """Name of the module or the parameters, for messages and statistics."""
        ...

    @property
    def width(self) -> int:
        """Number of columns."""
        ...

    @property
    def positions(self) -> int:
        """P, how often a sample uses the parameters: a product multiplies by them so often."""
        ...

    @property
    def unmade(self) -> int:
        """How many numbers `settled` computes."""
        ...

    @property
    def is_formable(self) -> bool:
        """Whether `rows` is affordable."""
        ...

    def samples(self, chunk: slice) -> "Columns":
        """The columns' rows for some samples."""
        ...

    def to(self, dtype: torch.dtype) -> "Columns":
        """The same in another precision."""
        ...

    def rows(self) -> "DenseColumns":
        """The same columns, formed."""
        ...

    def settled(self) -> "Columns":
        """The same, with everything computed that a Gram matrix reads more than once."""
        ...

    def parts(self, limit: int) -> "Sequence[Columns]":
        """Cut into pieces whose rows hold at most `limit` numbers, where they can be cut."""
        ...

    def scaled(self, rows: Tensor | None, columns: Tensor | None) -> "Columns":
        """`diag(rows) D diag(columns)`; rows (N, Q), columns (K,); None for ones."""
        ...

    def mixed(self, matrix: Tensor) -> "Columns":
        """The columns for other outputs, `Σ_q matrix[q, r] x_q`; the matrix is (Q, R) or (N, Q, R)."""
        ...

    def coupling(self) -> Tensor:
        """`Σ_i D_i D_iᵀ`, (Q, Q): the Gram matrices of single samples, summed."""
        ...

    def averaged(self) -> "Columns":
        """Columns of one output whose G is the mean over the outputs."""
        ...

    def mv(self, v: Tensor) -> Tensor:
        """`D v`, (K,) → (N, Q)."""
        ...

    def rmv(self, u: Tensor, out: Tensor) -> None:
        """Adds `Dᵀu`, u (N, Q), to `out`, (K,)."""
        ...

    def row_squares(self) -> Tensor:
        """`Σ_k D[(i,q),k]²`, (N, Q)."""
        ...

    def add_column_squares(self, out: Tensor) -> None:
        """Adds `Σ_(i,q) D[(i,q),k]²` to `out`, (K,)."""
        ...

    def add_block(self, other: "Columns", out: Tensor, work: Workspace, *, fresh: bool) -> None:
        """`out += D D'ᵀ`; with `fresh`, whatever `out` held is overwritten."""
        ...

    def add_dense(self, out: Tensor) -> None:
        """Adds the columns to D, (N·Q, K)."""
        ...

    def flops(self, other_rows: int) -> int:
        """Flops of a block of G against `other_rows` rows, without forming columns that are not formed."""
        ...


@dataclass(frozen=True)
class DenseColumns:
    """Columns of D formed outright: `values (N, Q, k)` for the entries `index (k,)` of θ. Methods: see `Columns`."""

    values: Tensor
    index: Tensor
    label: str

    @property
    def width(self) -> int:
        return self.values.shape[2]

    @property
    def positions(self) -> int:
        return 1

    @property
    def unmade(self) -> int:
        return 0

    @property
    def is_formable(self) -> bool:
        return True

    def samples(self, chunk: slice) -> "DenseColumns":
        return replace(self, values=self.values[chunk])

    def to(self, dtype: torch.dtype) -> "DenseColumns":
        if dtype != self.values.dtype:
            require_room(self.values.numel(), self.values.new_empty(0, dtype=dtype), COPY_OF_ROWS)
        return replace(self, values=self.values.to(dtype))

    def rows(self) -> "DenseColumns":
        return self

    def settled(self) -> "DenseColumns":
        return self

    def parts(self, limit: int) -> "list[DenseColumns]":
        return [self]

    def scaled(self, rows: Tensor | None, columns: Tensor | None) -> "DenseColumns":
        if rows is None and columns is None:
            return self
        require_room(self.values.numel(), self.values, COPY_OF_ROWS)
        if rows is None:
            return self if columns is None else replace(self, values=self.values * columns[self.index])
        values = self.values * rows[:, :, None]
        return replace(self, values=values if columns is None else values.mul_(columns[self.index]))

    def mixed(self, matrix: Tensor) -> "DenseColumns":
        n, _, k = self.values.shape
        require_room(n * matrix.shape[-1] * k, self.values, COPY_OF_ROWS)
        return replace(self, values=matrix.mT @ self.values)

    def coupling(self) -> Tensor:
        require_room(self.values.numel(), self.values, COPY_OF_ROWS)
        by_output = self.values.transpose(0, 1).flatten(1)
        return by_output @ by_output.T

    def averaged(self) -> "DenseColumns":
        n, q, k = self.values.shape
        require_room(self.values.numel(), self.values, COPY_OF_ROWS)
        return replace(self, values=self.values.reshape(n, 1, q * k) / q**0.5, index=self.index.repeat(q))

    def mv(self, v: Tensor) -> Tensor:
        return self.values @ v[self.index]

    def rmv(self, u: Tensor, out: Tensor) -> None:
        out.index_add_(0, self.index, self.values.flatten(0, 1).T @ u.reshape(-1))

    def row_squares(self) -> Tensor:
        return sum_of_squares(self.values, 2)

    def add_column_squares(self, out: Tensor) -> None:
        out.index_add_(0, self.index, sum_of_squares(self.values, (0, 1)))

    def add_block(self, other: Columns, out: Tensor, work: Workspace, *, fresh: bool) -> None:
        values = other.rows().values.flatten(0, 1)
        out.addmm_(self.values.flatten(0, 1), values.T, beta=0.0 if fresh else 1.0)

    def add_dense(self, out: Tensor) -> None:
        every = torch.arange(out.shape[1], device=self.index.device)
        if self.index.shape == every.shape and torch.equal(self.index, every):
            out += self.values.flatten(0, 1)  # some five times as fast as by an index
        else:
            out.index_add_(1, self.index, self.values.flatten(0, 1))

    def flops(self, other_rows: int) -> int:
        n, q, k = self.values.shape
        return 2 * n * q * other_rows * k


def same_columns(a: Columns, b: Columns) -> bool:
    """Whether two pieces are of one kind and belong to the same entries of θ, in the same order."""
    return type(a) is type(b) and a.index.shape == b.index.shape and bool(torch.equal(a.index, b.index))
