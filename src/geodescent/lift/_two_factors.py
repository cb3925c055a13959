"""Damped solves through D itself by two Cholesky factors: for dampings below what G or DᵀD can resolve."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._deadline import require_time
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, require_room
from geodescent.linalg import outer_square

SHIFT = 4e-16  # Share of tr A: the first factor's damping, the level of rounding in the product.
BESIDE_D = 4.0  # Matrices of the factor's size beside it: R⁻¹, EEᵀ, R⁻¹R⁻ᵀ, and the second factor.
SHIFT_TRIES = 8  # Attempts to factorise, each with ten times the shift of the last.


@dataclass(frozen=True)
class TwoFactors:
    """`B` with its product factored a first time, `A + δI = R Rᵀ`, A = BBᵀ or BᵀB whichever is smaller.

    In `E = R⁻¹B` (of Bᵀ where K < m) all modes that A resolves have singular values near 1, so that a second factor, of
    `EEᵀ`, resolves the others: σ down to eps·σ_max, as from a QR of B, by matrix products alone.

    Attributes:
        rows: B, (m, K), or its transpose where K < m.
        lower: R, (n, n), n = min(m, K).
        whitened: E, (n, max(m, K)).
        product: `E Eᵀ`.
        inverse: `R⁻¹R⁻ᵀ`.
        wide: whether m ≤ K.
    """

    rows: Tensor
    lower: Tensor
    whitened: Tensor
    product: Tensor
    inverse: Tensor
    wide: bool

    @classmethod
    def of(cls, jacobian: Jacobian, product: Tensor, *, wide: bool) -> "TwoFactors | None":
        """From B and its product A; None where A has no factor, for example if it is not finite.

        Cost: B, E and four n × n matrices; about 2n²·max(m, K) flops more than A took.
        """
        lower = _shifted_cholesky(product)
        if lower is None:
            return None
        require_time("a factor of D")
        rows = jacobian.dense() if wide else jacobian.dense().T
        require_room(rows.numel() + BESIDE_D * lower.numel(), rows, "a factor of D")
        whitened = torch.linalg.solve_triangular(lower, rows, upper=False)
        require_time("a factor of D")
        inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), device="cpu").to(lower), upper=False)
        return cls(rows, lower, whitened, outer_square(whitened), outer_square(inverse), wide)

    def damped(self, damping: float) -> "TwoFactorSolver | None":
        """The second factor, `EEᵀ + μ R⁻¹R⁻ᵀ`; None where it does not exist. Cost: n³/3 flops."""
        lower, info = torch.linalg.cholesky_ex(torch.add(self.product, self.inverse, alpha=damping))
        return None if int(info) else TwoFactorSolver(self, lower, damping)


@dataclass(frozen=True)
class TwoFactorSolver:
    """`(BᵀB + μ)⁻¹Bᵀ u`, refined once with B itself.

    Source: the refinement is Björck's for seminormal equations (Linear Algebra Appl. 88/89, 1987).
    """

    first: TwoFactors
    lower: Tensor
    damping: float

    def lift(self, velocity: Outputs) -> tuple[Theta, Outputs]:
        """θ̇ and Bθ̇ − v."""
        return self._wide(velocity) if self.first.wide else self._tall(velocity)

    def _wide(self, v: Outputs) -> tuple[Theta, Outputs]:
        rows, whitened = self.first.rows, self.first.whitened
        half = self._inner(self._whiten(v))
        solution = whitened.T @ half
        z = self._unwhiten(half)
        missing = torch.addmv(v, rows, solution, alpha=-1.0).sub_(z, alpha=self.damping)
        solution += whitened.T @ self._inner(self._whiten(missing))
        return solution, torch.addmv(v, rows, solution, beta=-1.0)

    def _tall(self, v: Outputs) -> tuple[Theta, Outputs]:
        rows = self.first.rows
        solution = self._unwhiten(self._inner(self.first.whitened @ v))
        missing = torch.addmv(v, rows.T, solution, alpha=-1.0)
        gradient = torch.addmv(solution, rows, missing, beta=-self.damping)
        solution += self._unwhiten(self._inner(self._whiten(gradient)))
        return solution, torch.addmv(v, rows.T, solution, beta=-1.0)

    def _whiten(self, u: Tensor) -> Tensor:
        return _solved(self.first.lower, u, upper=False)

    def _unwhiten(self, u: Tensor) -> Tensor:
        return _solved(self.first.lower.T, u, upper=True)

    def _inner(self, u: Tensor) -> Tensor:
        return _solved(self.lower.T, _solved(self.lower, u, upper=False), upper=True)


def _solved(triangle: Tensor, u: Tensor, *, upper: bool) -> Tensor:
    """`T⁻¹u`, u (n,)."""
    column: Tensor = torch.linalg.solve_triangular(triangle, u[:, None], upper=upper)
    return column[:, 0]


def _shifted_cholesky(product: Tensor) -> Tensor | None:
    shift = SHIFT * float(product.diagonal().sum())
    for _ in range(SHIFT_TRIES):
        shifted = product.clone()
        shifted.diagonal().add_(shift)
        lower: Tensor
        lower, info = torch.linalg.cholesky_ex(shifted)
        if not int(info):
            return lower
        shift *= 10.0
    return None
