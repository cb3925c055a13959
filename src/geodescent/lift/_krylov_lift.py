"""The lift by products alone: conjugate gradients, preconditioned by factors of layers or by blocks of G; LSMR."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from geodescent import linalg
from geodescent._settings import BETWEEN, NOT_NEGATIVE, SOLVES_IN, OrNone, Whole, settle
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, expecting, random_sums
from geodescent.lift._layer_factors import LayerFactors
from geodescent.lift._output_blocks import RowBlocks
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.linalg import ROWS, Iterations, row_dot, row_norm, row_total

LEAST_OF_PRODUCTS = 1e-16  # Share of ‖B‖_F²/m: the least damping that products in this precision resolve.
LSMR_ITERATIONS = 4  # Times `max_iterations`: LSMR has no preconditioner.


@dataclass(frozen=True)
class KrylovLift(Lift):
    """`(BBᵀ + μ) z = v` by conjugate gradients through products with B.

    An inexact solve iterates on `(BᵀB + μ) θ̇ = Bᵀv` from `SolveGoal.start`, preconditioned by factors of the layers,
    which cost little. It ends where a new step would gain more (`linalg.Pace`), or where it has cost as much as blocks
    of G would. An exact solve, and one that gained nothing or has few rows, is preconditioned by blocks of G. Without
    damping, where BBᵀ is singular or this does not converge, LSMR on B gives the least-norm solution.

    Args:
        tol: relative residual at which to stop.
        max_iterations: a bound on the products.
        slack: 0 for exact solves. Solves with blocks of G also stop where the duality gap is below slack² times what
            the damped step leaves and slack² times what it gains: a better solve would improve the step little.
        products: dtype of the products with B in the iterations; None for the Jacobian's own. The misfit, and with it
            C_lin, is always computed in the Jacobian's own.

    Cost: two passes over the columns an iteration; with blocks of G their factors, Q·N³/3 a damping, and N²Q more.
    """

    tol: float = 1e-12
    max_iterations: int = 2000
    slack: float = 0.0
    products: torch.dtype | None = None
    name: str = field(default="krylov", init=False)

    def __post_init__(self) -> None:
        iterations = Whole(2000, least=1)
        settle(self, tol=BETWEEN.such_as(1e-12), max_iterations=iterations, slack=NOT_NEGATIVE)
        settle(self, products=OrNone(SOLVES_IN))

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        inside = MetricJacobian.of(jacobian, metric)
        inner = inside.jacobian if self.products is None else inside.jacobian.to(self.products)
        return _PreparedKrylov(inside, inner, self)

    @property
    def exact(self) -> bool:
        return False


@dataclass
class _PreparedKrylov(Prepared):
    """Attributes: too_weak is the largest damping at which the factors of the layers were not enough, updated
    by solves."""

    metric: MetricJacobian
    inner: Jacobian
    method: KrylovLift
    too_weak: float = 0.0

    @cached_property
    def moments(self) -> Jacobian:
        """The Jacobian whose second moments are taken: for inexact solves of random sums of the outputs, where these
        take less."""
        return (self.method.slack > 0.0 and random_sums(self.inner)) or self.inner

    @cached_property
    def mean_square(self) -> float:
        """`‖B‖_F²/m`; for inexact solves with several outputs, whose rows take a pass each, that of the factors."""
        has_several = any(block.n_outputs > 1 for block in self.inner.blocks)
        if has_several and self.iterates_in_parameters and self.layers is not None:
            return self.layers.trace / self.inner.n_residuals
        return row_total(self.moments.row_squares()) / self.inner.n_residuals

    @property
    def least_damping(self) -> float:
        return LEAST_OF_PRODUCTS * self.mean_square

    @property
    def exact(self) -> bool:
        return False

    def damped(self, damping: float) -> Damped:
        return _DampedKrylov(self, damping)

    @cached_property
    def by_columns(self) -> Jacobian:
        """B for an inexact solve of as many iterations as pay for a step, each a product with B and one with Bᵀ."""
        return expecting(self.inner, 2.0 * linalg.STEP_ITERATIONS)

    @cached_property
    def iterates_in_parameters(self) -> bool:
        """Whether solves are inexact and iterate in θ; not where blocks of G cost less than a few iterations."""
        return self.method.slack > 0.0 and self.patience >= linalg.STEP_ITERATIONS

    @cached_property
    def layers(self) -> LayerFactors | None:
        """The preconditioner of iterations in θ."""
        return LayerFactors.of(self.moments)

    @cached_property
    def rows(self) -> RowBlocks | None:
        """The preconditioner of iterations over rows."""
        return RowBlocks.of(self.metric.jacobian)

    @cached_property
    def patience(self) -> int:
        """How many iterations cost as much as the blocks of G; `max_iterations` where these do not fit into memory."""
        price = RowBlocks.flops(self.metric.jacobian)
        return int(price / self.inner.product_flops()) if price else self.method.max_iterations


@dataclass(frozen=True)
class _DampedKrylov:
    prepared: _PreparedKrylov
    damping: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        metric = self.prepared.metric
        jacobian, v = metric.jacobian, metric.rows(velocity)
        solved = self._by_layers(v, goal)
        if solved is None:
            self.prepared.too_weak = max(self.prepared.too_weak, self.damping)
            solved = self._by_rows(v, goal.residual)
        fallback = solved is None
        if solved is None:
            method = self.prepared.method
            most = LSMR_ITERATIONS * method.max_iterations
            solved = linalg.lsmr(jacobian.mv, jacobian.rmv, v, tol=method.tol, max_iterations=most)
        misfit = jacobian.mv(solved.solution) - v
        sound = solved.converged and row_norm(misfit) <= row_norm(v)  # rounding can spoil a converged solve
        return Lifted(metric.leave(solved.solution), misfit, None, solved.count, sound, fallback)

    def _by_layers(self, v: Outputs, goal: SolveGoal) -> Iterations | None:
        """θ̇ by iterations in θ; None where there were none, or they gained nothing."""
        prepared, damping = self.prepared, self.damping
        if not prepared.iterates_in_parameters or damping <= prepared.too_weak or prepared.layers is None:
            return None
        preconditioner, inner = prepared.layers.damped(damping), prepared.by_columns
        b = inner.rmv(v.to(inner.dtype)).to(v.dtype)
        pace = linalg.Pace(b, row_dot(v, v), enough=goal.fall)
        solved = linalg.conjugate_gradients(
            lambda x: torch.add(inner.rmv(inner.mv(x.to(inner.dtype))).to(x.dtype), x, alpha=damping),
            b,
            preconditioner=lambda x: preconditioner(x.to(inner.dtype)).to(x.dtype),
            enough=linalg.either(pace, lambda x, residual, rho: rho <= goal.residual**2),
            max_iterations=min(prepared.patience, prepared.method.max_iterations),
            near=None if goal.start is None else prepared.metric.enter(goal.start),
        )
        if solved.cut:
            return solved
        return replace(solved, converged=True) if solved.converged or pace.seen else None

    def _by_rows(self, v: Outputs, residual: float) -> Iterations | None:
        """θ̇ = Bᵀz by iterations for z, or None where there is no damping and G is singular or they do not converge."""
        preconditioner = self._of_rows
        if preconditioner is None:
            return None
        inner, damping, method = self.prepared.inner, self.damping, self.prepared.method
        solved = linalg.conjugate_gradients(
            lambda z: torch.add(inner.mv(inner.rmv(z.to(inner.dtype))).to(z.dtype), z, alpha=damping),
            v,
            preconditioner=preconditioner,
            enough=linalg.either(
                linalg.residual_test(v, tol=method.tol, within=residual),
                linalg.gap_test(v, damping=damping, slack=method.slack),
            ),
            max_iterations=method.max_iterations,
            space=ROWS,
        )
        if not (solved.converged or solved.cut) and damping == 0.0:
            return None
        return replace(solved, solution=self.prepared.metric.jacobian.rmv(solved.solution))

    @cached_property
    def _of_rows(self) -> linalg.Operator | None:
        """An approximate inverse of BBᵀ + μ; None where there is no damping and G is singular."""
        jacobian, damping = self.prepared.metric.jacobian, self.damping
        if damping == 0.0 and jacobian.n_params < jacobian.n_residuals:
            return None
        if self.prepared.rows is not None:
            return self.prepared.rows.damped(damping)
        diagonal = jacobian.row_squares() + damping
        return lambda z: z / diagonal
