"""The lift of short solves on batches: conjugate gradients behind factors of the layers that cost next to nothing."""

from dataclasses import dataclass, field
from functools import cached_property

import torch

from geodescent import linalg
from geodescent._settings import POSITIVE, SOLVES_IN, OrNone, Whole, settle
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, Spanned, goes_by_passes
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.lift._sketched_factors import SketchedFactors

LEAST_TOLD_SKETCHED = 1e-12  # Share of ‖B‖_F²/m: the least damping that so few iterations could tell from none.


@dataclass(frozen=True)
class SketchedLift(Lift):
    """`min ‖r + Bθ̇‖² + μ‖θ̇‖²` by a few iterations behind `SketchedFactors`.

    Steps are sought in the span of the layers' inputs (`Spanned`), where a wide layer has few parameters. A solve ends
    where a new step would gain more; it begins at zero, because the step before it belongs to other samples.

    Args:
        price: of a step, in iterations.
        max_iterations: a bound.
        products: dtype of the products with B and of the factors; None for the Jacobian's own. Vectors keep theirs.
    """

    price: float = 1.0
    max_iterations: int = 300
    products: torch.dtype | None = None
    name: str = field(default="sketched", init=False)

    def __post_init__(self) -> None:
        settle(self, price=POSITIVE, max_iterations=Whole(300, least=1), products=OrNone(SOLVES_IN))

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        return _PreparedSketch(MetricJacobian.of(jacobian, metric), self)

    @property
    def exact(self) -> bool:
        return False


@dataclass
class _PreparedSketch(Prepared):
    metric: MetricJacobian
    method: SketchedLift

    @cached_property
    def spanned(self) -> Spanned | None:
        return Spanned.of(self.metric.jacobian)

    @property
    def inner(self) -> Jacobian:
        """B, or its restriction, in the precision of products."""
        return self._with_factors[0]

    @property
    def factors(self) -> SketchedFactors:
        """Of these columns, in their precision."""
        return self._with_factors[1]

    @cached_property
    def _with_factors(self) -> tuple[Jacobian, SketchedFactors]:
        """Passes through a graph are in its own precision, and so is what has squares out of the range of another."""
        own = self.metric.jacobian if self.spanned is None else self.spanned.jacobian
        precision = self.method.products
        if precision is None or precision == own.dtype or goes_by_passes(own):
            return own, SketchedFactors.of(own)
        inner = own.to(precision)
        factors = SketchedFactors.of(inner)
        largest = torch.finfo(precision).max ** 0.5
        within = 1.0 / largest < factors.trace / own.n_residuals < largest
        return (inner, factors) if within else (own, SketchedFactors.of(own))

    @cached_property
    def mean_square(self) -> float:
        """`‖B‖_F²/m`, estimated."""
        return self.factors.trace / self.inner.n_residuals

    @property
    def least_damping(self) -> float:
        return LEAST_TOLD_SKETCHED * self.mean_square

    @property
    def exact(self) -> bool:
        return False

    def damped(self, damping: float) -> Damped:
        return _DampedSketch(self, damping)


@dataclass(frozen=True)
class _DampedSketch:
    prepared: _PreparedSketch
    damping: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        prepared, metric, inner = self.prepared, self.prepared.metric, self.prepared.inner
        r, factors = metric.rows(velocity).neg(), prepared.factors.damped(self.damping)
        solved = linalg.conjugate_least_squares(
            lambda x: inner.mv(x.to(inner.dtype)).to(r.dtype),
            lambda u: inner.rmv(u.to(inner.dtype)).to(r.dtype),
            r,
            damping=self.damping,
            preconditioner=lambda g: factors(g.to(inner.dtype)).to(r.dtype),
            enough=linalg.paced(price=prepared.method.price, enough=goal.fall),
            max_iterations=prepared.method.max_iterations,
        )
        z = solved.solution if prepared.spanned is None else prepared.spanned.widened(solved.solution)
        return Lifted(metric.leave(z), solved.left.to(velocity.dtype), None, solved.count, converged=False)
