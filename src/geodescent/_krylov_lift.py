"""The lift that only multiplies: conjugate gradients with the blocks of G as preconditioner, and LSMR."""

from dataclasses import dataclass, field
from functools import cached_property

import torch

from geodescent import _iterations as iterations
from geodescent._jacobian import Jacobian
from geodescent._lift import Damped, Lift, Lifted, Metrics, Prepared
from geodescent._preconditioner import OutputBlocks
from geodescent._types import Outputs, Theta

STRONG = 1e-2  # of ‖B‖_F²/m: above it the average over outputs preconditions well enough
LEAST_DAMPING = 1e-16  # of ‖B‖_F²/m: what products in this precision still see


@dataclass(frozen=True)
class KrylovLift(Lift):
    """`(BBᵀ + μ) z = v` by conjugate gradients through products with B, preconditioned by `OutputBlocks`.

    Above a hundredth of ‖B‖_F²/m the damping is strong enough for one block, K̄ ⊗ I_Q (THEORY 5.3); below it each
    rotated output has its own. Without damping, and where the iteration shows that BBᵀ is singular, LSMR on B gives
    the least-norm solution.

    Args:
        tol: relative residual at which to stop.
        max_iterations: a bound on the products.
        slack: stop also where the residual is below this share of what the damped step leaves, and of what it gains:
            a step that is damped that much gains little from a better solve. 0 for the exact lift.
        products: dtype of the products with B on the way; None for the Jacobian's own. The misfit, and with it C_lin,
            is always taken in the Jacobian's own.

    Cost: the blocks and their factors, Q·N³/3 a damping; two passes over the records and N²Q an iteration.
    """

    tol: float = 1e-12
    max_iterations: int = 2000
    slack: float = 0.0
    products: torch.dtype | None = None
    name: str = field(default="krylov", init=False)

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        metrics = Metrics.of(jacobian, row_scale, metric)
        inner = metrics.jacobian if self.products is None else metrics.jacobian.to(self.products)
        return _PreparedKrylov(metrics, inner, self)


@dataclass(frozen=True)
class _PreparedKrylov(Prepared):
    metrics: Metrics
    inner: Jacobian
    method: KrylovLift

    @property
    def scale(self) -> float:
        return self.metrics.scale

    @property
    def least_damping(self) -> float:
        return LEAST_DAMPING * self.metrics.scale

    @property
    def direct(self) -> bool:
        return False

    def damped(self, damping: float) -> Damped:
        return _DampedKrylov(self, damping, self._preconditioner(damping))

    def _preconditioner(self, damping: float) -> iterations.Operator | None:
        """Of BBᵀ + μ; None where there is no damping and G is singular."""
        jacobian = self.metrics.jacobian
        if damping == 0.0 and jacobian.n_params < jacobian.n_residuals:
            return None
        blocks = self._averaged if damping > STRONG * self.scale else self._rotated
        if blocks is not None:
            return blocks.damped(damping)
        diagonal = jacobian.row_squares() + damping
        return lambda z: z / diagonal

    @cached_property
    def _averaged(self) -> OutputBlocks | None:
        return OutputBlocks.averaged(self.metrics.jacobian)

    @cached_property
    def _rotated(self) -> OutputBlocks | None:
        return OutputBlocks.rotated(self.metrics.jacobian)


@dataclass(frozen=True)
class _DampedKrylov:
    prepared: _PreparedKrylov
    damping: float
    preconditioner: iterations.Operator | None

    def lift(self, velocity: Outputs, *, within: float = 0.0) -> Lifted:
        metrics, method = self.prepared.metrics, self.prepared.method
        jacobian, v = metrics.jacobian, metrics.enter(velocity)
        solved = self._conjugate_gradients(v, within)
        fallback = solved is None
        if solved is None:
            solved = iterations.lsmr(
                jacobian.mv, jacobian.rmv, v, tol=method.tol, max_iterations=4 * method.max_iterations
            )
            solution = solved.solution
        else:
            solution = jacobian.rmv(solved.solution)
        misfit = jacobian.mv(solution) - v
        return Lifted(metrics.leave(solution), misfit, None, solved.count, solved.converged, fallback)

    def _conjugate_gradients(self, v: Outputs, within: float) -> iterations.Iterations | None:
        """The solution z, or None where there is no damping and G is (or turns out) singular."""
        if self.preconditioner is None:
            return None
        inner, damping, method = self.prepared.inner, self.damping, self.prepared.method
        solved = iterations.conjugate_gradients(
            lambda z: torch.add(inner.mv(inner.rmv(z.to(inner.dtype))).to(z.dtype), z, alpha=damping),
            v,
            damping=damping,
            preconditioner=self.preconditioner,
            tol=method.tol,
            within=within,
            max_iterations=method.max_iterations,
            slack=method.slack,
        )
        return solved if solved.converged or damping > 0.0 else None
