"""What the Gram lift and the normal lift share: one product A of B with itself, factorised for each damping."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from geodescent._budget import fits
from geodescent._types import Outputs
from geodescent.lift._protocols import FULL, Damped, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.lift._refined_factor import LEAST_FACTOR, RefinedFactor
from geodescent.lift._two_factors import TwoFactors, TwoFactorSolver
from geodescent.linalg import total

PRODUCT_DAMPING = 1e-13
"""Share of tr A: a Cholesky factor of G or DᵀD resolves dampings above it, with digits to spare."""
LEAST_DAMPING = 5e-28  # Share of tr A: the least damping where D itself can be formed.
LEAST_OF_PRODUCT = 1e-15  # Share of tr A: the least damping where D itself is too large to be formed.
DENSE_MATRICES = 5.0  # Matrices of A's size: A, its eigenvectors, their copy and the workspace.
SOLVES = 50.0  # Flops for each entry of A in the solves of a step, with A and its factors.
ROWS_BYTES = 1e9  # Bytes: D and its whitened copy may take up to this.

ByProduct = Callable[["PreparedProduct", float], Damped]


def solving_flops(n: int) -> float:
    """Flops of two factors and the solves of a step, with a matrix of order n."""
    return 2.0 * n**3 / 3.0 + SOLVES * n**2


@dataclass
class PreparedProduct(Prepared):
    """B, and its product A = BBᵀ or BᵀB, whichever is smaller.

    Attributes:
        metric: B.
        product: A.
        rcond: relative cut on σ, for the rank, or None.
        wide: whether A = BBᵀ.
        by_product: makes the solver of one damping from a factor of A alone.
        too_low: the largest damping at which a factor refined with B was not enough; updated by solves.
    """

    metric: MetricJacobian
    product: Tensor
    rcond: float | None
    wide: bool
    by_product: ByProduct
    too_low: float = 0.0

    @cached_property
    def trace(self) -> float:
        """tr A = ‖B‖_F²."""
        return total(self.product.diagonal())

    @property
    def mean_square(self) -> float:
        return self.trace / self.metric.jacobian.n_residuals

    @property
    def least_damping(self) -> float:
        return self.trace * (LEAST_DAMPING if self._rows_fit else LEAST_OF_PRODUCT)

    @property
    def exact(self) -> bool:
        return True

    @cached_property
    def _rows_fit(self) -> bool:
        jacobian = self.metric.jacobian
        need = 2.0 * jacobian.n_residuals * jacobian.n_params * jacobian.dtype.itemsize
        return need <= ROWS_BYTES and fits(need, jacobian.device)

    @cached_property
    def _two_factors(self) -> TwoFactors | None:
        return TwoFactors.of(self.metric.jacobian, self.product, wide=self.wide)

    def damped(self, damping: float) -> Damped:
        """Through B itself where this damping needs it, else through a factor of A alone."""
        if 0.0 < damping < PRODUCT_DAMPING * self.trace and self.rcond is None:
            return _ThroughRows(self, damping)
        return self.by_product(self, damping)

    def refined(self, damping: float) -> RefinedFactor | None:
        """A factor of A refined with B; None where that is known not to be enough."""
        if damping <= self.too_low:
            return None
        factor = RefinedFactor.of(self.metric.jacobian, self.product, damping=damping, trace=self.trace, wide=self.wide)
        if factor is None and damping < LEAST_FACTOR * self.trace:  # all dampings below it use the same factor
            self.too_low = LEAST_FACTOR * self.trace
        return factor

    def twice(self, damping: float) -> TwoFactorSolver | None:
        """Two factors, where B is small enough to be formed."""
        return self._two_factors.damped(damping) if self._rows_fit and self._two_factors is not None else None


@dataclass(frozen=True)
class _ThroughRows:
    """By a refined factor of A; by two factors where it is too coarse; by A alone where B is too large for these."""

    prepared: PreparedProduct
    damping: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        prepared, metric = self.prepared, self.prepared.metric
        v = metric.rows(velocity)
        refined = self._refined if prepared.too_low < self.damping else None
        pair = None if refined is None else refined.lift(v, rough=goal.rough)
        if pair is None:
            prepared.too_low = max(prepared.too_low, self.damping)
            pair = None if self._twice is None else self._twice.lift(v)
        if pair is None:
            return self._by_product.lift(velocity)
        solution, misfit = pair
        return Lifted(metric.leave(solution), misfit)

    @cached_property
    def _refined(self) -> RefinedFactor | None:
        return self.prepared.refined(self.damping)

    @cached_property
    def _twice(self) -> TwoFactorSolver | None:
        return self.prepared.twice(self.damping)

    @cached_property
    def _by_product(self) -> Damped:
        return self.prepared.by_product(self.prepared, self.damping)
