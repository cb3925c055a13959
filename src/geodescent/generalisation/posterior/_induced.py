"""The covariance of many rows through some of them: exact on the diagonal, of low rank beside it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._numbers import PriorNumbers

JITTER = 1e-8  # Added to the covariance of the rows picked, times its mean diagonal: float64 leaves it singular.
ROWS_AT_ONCE = 1000  # Of the covariance with the rows picked.


@dataclass(frozen=True)
class InducedFactors:
    """What predictions need.

    Attributes:
        picked: the rows through which others are seen, M.
        numbers: of the prior.
        lower: L of `K_MM = L Lᵀ`.
        inner: the Cholesky factor of `I + Vᵀ Λ⁻¹ V`, (M, M).
    """

    picked: PriorRows
    numbers: PriorNumbers
    lower: Tensor
    inner: Tensor

    def explained(self, rows: PriorRows) -> Tensor:
        """By how much the data reduce the prior variance of these rows, (n,)."""
        across = self.projected(rows)
        left: Tensor = torch.linalg.solve_triangular(self.inner, across, upper=False)
        explained: Tensor = across.square().sum(0) - left.square().sum(0)
        return explained

    def projected(self, rows: PriorRows) -> Tensor:
        """`L⁻¹ K_Mn`, (M, n)."""
        across = covariance(self.picked, rows, self.numbers)
        projected: Tensor = torch.linalg.solve_triangular(self.lower, across, upper=False)
        return projected


@dataclass(frozen=True)
class Induced:
    """`A ≈ V Vᵀ + Λ`, `V = K_NM L⁻ᵀ` and Λ what the diagonal of A has beside that of `V Vᵀ`.

    Source: Snelson and Ghahramani, *Sparse Gaussian processes using pseudo-inputs* (2006).

    Attributes:
        factors: for predictions.
        columns: V, (N, M).
        own: Λ, (N,).
    """

    factors: InducedFactors
    columns: Tensor
    own: Tensor

    @classmethod
    def of(cls, rows: PriorRows, picked: Tensor, noise: Tensor, numbers: PriorNumbers) -> "Induced":
        """From all rows, the places of those picked, and the noise of each.

        Cost: N M² multiply-adds and 16 N M bytes.
        """
        some, n, m = rows.part(picked), len(noise), len(picked)
        gram = covariance(some, some, numbers)
        gram.diagonal().add_(JITTER * gram.diagonal().mean())
        eye = torch.eye(m, dtype=gram.dtype, device="cpu")
        factors = InducedFactors(some, numbers, torch.linalg.cholesky(gram), eye)
        columns = torch.empty(n, m, dtype=gram.dtype, device="cpu")
        for part in torch.split(torch.arange(n, device="cpu"), ROWS_AT_ONCE):
            columns[part] = factors.projected(rows.part(part)).T
        own = (variances(rows, numbers) - columns.square().sum(1)).clamp(min=0.0) + noise
        inner = eye + columns.T @ (columns / own[:, None])
        return cls(InducedFactors(some, numbers, factors.lower, torch.linalg.cholesky(inner)), columns, own)

    def inverse(self, values: Tensor) -> Tensor:
        """Times `(V Vᵀ + Λ)⁻¹`, (N, Q)."""
        scaled = values / self.own[:, None]
        inner = torch.cholesky_solve(self.columns.T @ scaled, self.factors.inner)
        return scaled - (self.columns @ inner) / self.own[:, None]

    def inverse_diagonal(self) -> Tensor:
        """Of the same, (N,)."""
        parts = torch.split(self.columns, ROWS_AT_ONCE)
        halves = (torch.linalg.solve_triangular(self.factors.inner, part.T, upper=False) for part in parts)
        return (1.0 - torch.cat([half.square().sum(0) for half in halves]) / self.own) / self.own
