"""Small least-squares problems, one for each data set, by orthogonalised columns."""

from dataclasses import dataclass

import torch
from torch import Tensor

DROPPED = 1e-13
"""Share of a column's norm: a column of which the columns before it leave less depends on them; eps with a margin."""


@dataclass(frozen=True)
class Factor:
    """`A = QR` for b matrices A (n, K), and `c = Qᵀr`, for which no matrix AᵀA is formed.

    A column that depends on those before it has zeros in Q and on the diagonal of R; its unknown is zero in solutions.

    Attributes:
        q: (b, K, n), the columns of Q.
        r: (b, K, K), upper triangular.
        c: (b, K).
    """

    q: Tensor
    r: Tensor
    c: Tensor

    def __getitem__(self, rows: Tensor) -> "Factor":
        return Factor(self.q[rows], self.r[rows], self.c[rows])

    def put(self, rows: Tensor, other: "Factor") -> None:
        """Writes the factors of other points in place of those of `rows`."""
        self.q[rows], self.r[rows], self.c[rows] = other.q, other.r, other.c

    def coefficients(self, right: Tensor) -> Tensor:
        """`Qᵀr` (b, K) of another right side (b, n)."""
        return (self.q @ right[:, :, None])[:, :, 0]


def orthogonalised(columns: Tensor, right: Tensor) -> tuple[Factor, Tensor]:
    """`A = QR`, `c = Qᵀr`, and what is left of r, for columns (K, b, n) and r (b, n).

    Cost: 2 b n K² flops, in sweeps over all data sets, which a GPU and a CPU do equally well.
    Source: modified Gram-Schmidt with r as the last column is backward stable for least squares: Björck, BIT 7 (1967).
    """
    unknowns, (count, points) = len(columns), right.shape
    q = right.new_zeros(count, unknowns, points)
    r, c = right.new_zeros(count, unknowns, unknowns), right.new_zeros(count, unknowns)
    for j in range(unknowns):
        column = columns[j]
        before = column.square().sum(1).sqrt()
        for i in range(j):
            r[:, i, j] = (q[:, i] * column).sum(1)
            column = column - r[:, i, j, None] * q[:, i]
        length = column.square().sum(1).sqrt()
        kept = length > DROPPED * before
        r[:, j, j] = torch.where(kept, length, 0.0)
        q[:, j] = torch.where(kept, 1.0 / length, 0.0)[:, None] * column
        c[:, j] = (q[:, j] * right).sum(1)
        right = right - c[:, j, None] * q[:, j]
    return Factor(q, r, c), right


def back_substituted(r: Tensor, c: Tensor) -> Tensor:
    """`R⁻¹c` (b, K), with zeros for dependent columns."""
    solution = torch.zeros_like(c)
    for j in reversed(range(c.shape[1])):
        rest = c[:, j] - (r[:, j, j + 1 :] * solution[:, j + 1 :]).sum(1)
        solution[:, j] = torch.where(r[:, j, j] > 0.0, rest / r[:, j, j], 0.0)
    return solution


def times(r: Tensor, v: Tensor) -> Tensor:
    """`Rv` (b, K) for each data set."""
    return (r @ v[:, :, None])[:, :, 0]
