"""The lift through the Gram matrix `G = BBᵀ`, m × m: for K ≥ m."""

from dataclasses import dataclass, field

import torch

from geodescent._budget import require
from geodescent._settings import RCOND, OrNone, settle
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.lift._product_lift import DENSE_MATRICES, PreparedProduct, solving_flops
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.linalg import EighFactor, Factor, factor

REFINEMENTS = 2  # Refinements of an undamped solve: each multiplies the error by about eps·cond(G).


@dataclass(frozen=True)
class GramLift(Lift):
    """`θ̇ = Bᵀ(BBᵀ + μ)⁻¹ v` through the m × m Gram matrix: for K ≥ m.

    Solves with a damping below 1e-13·‖B‖_F² use B itself: by a factor of G refined with B; where G has modes that this
    does not resolve, by two factors, if B is small enough.

    Args:
        rcond: relative cut on σ, for the rank; None uses Cholesky where it can be trusted.

    Cost: the Gram matrix, m³/3 a damping; two m × m matrices.
    """

    rcond: float | None = None
    name: str = field(default="gram", init=False)

    def __post_init__(self) -> None:
        settle(self, rcond=OrNone(RCOND))

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        m = jacobian.n_residuals
        need = DENSE_MATRICES * m * m * jacobian.dtype.itemsize
        require(need, jacobian.device, what=f"the Gram lift of {m} residuals", instead="Use gd.KrylovLift().")
        inside = MetricJacobian.of(jacobian, metric)
        return PreparedProduct(inside, inside.jacobian.gram(), self.rcond, True, _by_gram)

    def step_flops(self, jacobian: Jacobian) -> float:
        """Flops of the Gram matrix and of its solves in one step of a descent."""
        return jacobian.gram_flops() + solving_flops(jacobian.n_residuals)


def _by_gram(prepared: PreparedProduct, damping: float) -> Damped:
    of_gram = factor(prepared.product, damping=damping, rcond=prepared.rcond)
    return _UndampedGram(prepared, of_gram) if damping == 0.0 else _DampedGram(prepared, of_gram, damping)


@dataclass(frozen=True)
class _DampedGram:
    prepared: PreparedProduct
    factor: Factor
    damping: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        metric, gram = self.prepared.metric, self.prepared.product
        v = metric.rows(velocity)
        z = self.factor.solve(v)
        if goal.rough:
            return Lifted(metric.leave(metric.jacobian.rmv(z)), z.mul(-self.damping))
        missing = torch.addmv(v, gram, z, alpha=-1.0).sub_(z, alpha=self.damping)
        z += self.factor.solve(missing)  # one refinement, of what the factor lost to conditioning
        fallback = self.prepared.rcond is None and isinstance(self.factor, EighFactor)
        misfit = torch.addmv(v, gram, z, beta=-1.0)
        rank = None if self.prepared.rcond is None else self.factor.rank
        return Lifted(metric.leave(metric.jacobian.rmv(z)), misfit, rank, fallback=fallback)


@dataclass(frozen=True)
class _UndampedGram:
    """`D⁺v` by a factor of G, refined with B itself: the error is eps·cond(B)² by G alone, and eps·cond(B) by B."""

    prepared: PreparedProduct
    factor: Factor

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        metric, jacobian = self.prepared.metric, self.prepared.metric.jacobian
        v = metric.rows(velocity)
        solution = jacobian.rmv(self.factor.solve(v))
        for _ in range(REFINEMENTS):
            solution += jacobian.rmv(self.factor.solve(v - jacobian.mv(solution)))
        fallback = self.prepared.rcond is None and isinstance(self.factor, EighFactor)
        return Lifted(metric.leave(solution), jacobian.mv(solution) - v, self.factor.rank, fallback=fallback)
