"""Damped solves by conjugate gradients with B itself, preconditioned by a factor of its product."""

from dataclasses import dataclass

import torch

from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.linalg import PARAMETERS, ROWS, CholeskyFactor, cholesky, conjugate_gradients, fall_test

LEAST_FACTOR = 1e-15  # Share of tr A: with less damping a Cholesky factor of A may not exist.
SPARE_PIVOT = 10.0  # Times δ: a smaller pivot means eigenvalues of A below δ, which this factor cannot precondition.
ROUNDS = 2  # Rounds of conjugate gradients in a full solve; the residual of each is recomputed with B.
FALL = 1e-4  # Share: each round reduces the residual, in the norm of the factor's inverse, to this.
ROUGH_FALL = 1e-2  # Share: the same for the one round of a rough solve.
ROUND_ITERATIONS = 4
"""Iterations a round: where modes below the factor's damping need more, two factors are cheaper."""


@dataclass(frozen=True)
class RefinedFactor:
    """`(A + μ)⁻¹`, A = BBᵀ or BᵀB whichever is smaller, by conjugate gradients with a factor of A + δ, δ ≥ μ.

    The residual of each round is recomputed with B, so that rounding in A does not enter the solution.

    Attributes:
        jacobian: B, (m, K).
        factor: of A + δ.
        damping: μ.
        wide: whether A = BBᵀ.

    Cost: of a lift, some six products with B and as many solves with the factor.
    """

    jacobian: Jacobian
    factor: CholeskyFactor
    damping: float
    wide: bool

    @classmethod
    def of(
        cls, jacobian: Jacobian, product: torch.Tensor, *, damping: float, trace: float, wide: bool
    ) -> "RefinedFactor | None":
        """From B, its product A and tr A; None where A + δ has no trusted factor, or its pivots show modes below δ."""
        least = LEAST_FACTOR * trace
        factor = cholesky(product, damping=max(damping, least))
        if factor is None or (damping < least and float(factor.lower.diagonal().min()) ** 2 < SPARE_PIVOT * least):
            return None
        return cls(jacobian, factor, damping, wide)

    def lift(self, v: Outputs, *, rough: bool = False) -> tuple[Theta, Outputs] | None:
        """`θ̇ = Bᵀ(BBᵀ + μ)⁻¹v` and its misfit `Bθ̇ − v`; None where a round needs too many iterations."""
        solution = v.new_zeros(self.jacobian.shape[0 if self.wide else 1])
        rounds, fall = (1, ROUGH_FALL) if rough else (ROUNDS, FALL)
        left = v if self.wide else self.jacobian.rmv(v)
        for number in range(rounds):
            correction = conjugate_gradients(
                self._operator,
                left if number == 0 else self._residual(v, solution),
                preconditioner=self.factor.solve,
                enough=fall_test(fall**2),
                max_iterations=ROUND_ITERATIONS,
                space=ROWS if self.wide else PARAMETERS,
            )
            if not correction.converged:
                return None
            solution += correction.solution
        velocity = self.jacobian.rmv(solution) if self.wide else solution
        return velocity, self.jacobian.mv(velocity) - v

    def _operator(self, z: torch.Tensor) -> torch.Tensor:
        """`(A + μ) z`."""
        b = self.jacobian
        return torch.add(b.mv(b.rmv(z)) if self.wide else b.rmv(b.mv(z)), z, alpha=self.damping)

    def _residual(self, v: Outputs, solution: torch.Tensor) -> torch.Tensor:
        """`v − (BBᵀ + μ)z`, or `Bᵀ(v − Bθ̇) − μθ̇`."""
        b = self.jacobian
        left = v - (b.mv(b.rmv(solution)) if self.wide else b.mv(solution))
        return torch.sub(left if self.wide else b.rmv(left), solution, alpha=self.damping)
