"""Small least-squares problems, one for each data set, by triangular factors."""

from dataclasses import dataclass

import torch
from torch import Tensor

DEPENDENT = 1e-13
"""Share of a column's norm: a column of which the columns before it leave less depends on them; eps with a margin."""
FAR_APART = 1e-3
"""Share of a column's norm: where the columns before it leave more of every column, AᵀA is factorised, whose rounding
then reaches R as 1e-10 at most; a tenth of the time of orthogonalisation (docs/decisions.md)."""


@dataclass(frozen=True)
class ColumnFactor:
    """`A = QR` for b matrices A (n, K), and `c = Qᵀr`.

    A column that depends on those before it has a zero on the diagonal of R; its unknown is zero in solutions.

    Attributes:
        columns: those of A, (K, b, n).
        r: (b, K, K), upper triangular.
        c: (b, K).
    """

    columns: Tensor
    r: Tensor
    c: Tensor

    def __getitem__(self, rows: Tensor) -> "ColumnFactor":
        return ColumnFactor(self.columns[:, rows], self.r[rows], self.c[rows])

    def put(self, rows: Tensor, other: "ColumnFactor") -> None:
        """Writes the factors of other points in place of those of `rows`."""
        self.columns[:, rows], self.r[rows], self.c[rows] = other.columns, other.r, other.c

    def coefficients(self, right: Tensor) -> Tensor:
        """`Qᵀr = R⁻ᵀAᵀr` (b, K) of another right side (b, n)."""
        return forward_substituted(self.r, products(self.columns, right))


def factored(columns: Tensor, right: Tensor) -> ColumnFactor:
    """`A = QR` and `c = Qᵀr` for columns (K, b, n) and r (b, n).

    Where the columns are far apart, R is the Cholesky factor of AᵀA; elsewhere they are orthogonalised.

    Cost: b n K² flops in one batched product.
    """
    gram = columns.transpose(0, 1) @ columns.permute(1, 2, 0)
    lengths = gram.diagonal(dim1=1, dim2=2).sqrt()
    scale = torch.where(lengths > 0.0, lengths, 1.0)
    lower, failed = torch.linalg.cholesky_ex(gram / (scale[:, :, None] * scale[:, None, :]))
    r = lower.mT * scale[:, None, :]
    factor = ColumnFactor(columns, r, forward_substituted(r, products(columns, right)))
    near = (failed != 0) | ~(lower.diagonal(dim1=1, dim2=2) > FAR_APART).all(1)
    if near.any():
        factor.put(near, orthogonalised(columns[:, near], right[near]))
    return factor


def orthogonalised(columns: Tensor, right: Tensor) -> ColumnFactor:
    """The same by orthogonalisation, without AᵀA, for columns that may be near each other or dependent.

    Cost: 2 b n K² flops, in sweeps over all data sets.
    Source: modified Gram-Schmidt with r as the last column is backward stable for least squares: Björck, BIT 7 (1967).
    """
    unknowns, count = len(columns), len(right)
    r, c = right.new_zeros(count, unknowns, unknowns), right.new_zeros(count, unknowns)
    q = list[Tensor]()
    for j, column in enumerate(columns):
        before = column.square().sum(1).sqrt()
        for i in range(j):
            r[:, i, j] = torch.linalg.vecdot(q[i], column)
            column = column - r[:, i, j, None] * q[i]
        length = column.square().sum(1).sqrt()
        kept = length > DEPENDENT * before
        r[:, j, j] = torch.where(kept, length, 0.0)
        q.append(torch.where(kept, 1.0 / length, 0.0)[:, None] * column)
        c[:, j] = torch.linalg.vecdot(q[j], right)
        right = right - c[:, j, None] * q[j]
    return ColumnFactor(columns, r, c)


def back_substituted(r: Tensor, c: Tensor) -> Tensor:
    """`R⁻¹c` (b, K), with zeros for dependent columns."""
    solution = torch.zeros_like(c)
    for j in reversed(range(c.shape[1])):
        rest = c[:, j] - (r[:, j, j + 1 :] * solution[:, j + 1 :]).sum(1)
        solution[:, j] = torch.where(r[:, j, j] > 0.0, rest / r[:, j, j], 0.0)
    return solution


def forward_substituted(r: Tensor, c: Tensor) -> Tensor:
    """`R⁻ᵀc` (b, K), with zeros for dependent columns."""
    solution = torch.zeros_like(c)
    for j in range(c.shape[1]):
        rest = c[:, j] - (r[:, :j, j] * solution[:, :j]).sum(1)
        solution[:, j] = torch.where(r[:, j, j] > 0.0, rest / r[:, j, j], 0.0)
    return solution


def products(columns: Tensor, right: Tensor) -> Tensor:
    """`Aᵀr` (b, K) for each data set."""
    return (columns.transpose(0, 1) @ right[:, :, None])[:, :, 0]


def times(r: Tensor, v: Tensor) -> Tensor:
    """`Rv` (b, K) for each data set."""
    return (r @ v[:, :, None])[:, :, 0]
