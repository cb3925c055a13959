"""The lift of short solves on batches: conjugate gradients behind factors of the layers that cost next to nothing."""

from dataclasses import dataclass, field
from functools import cached_property

from geodescent import linalg
from geodescent._settings import POSITIVE, Whole, settle
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, Spanned
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.lift._sketched_factors import SketchedFactors

LEAST_TOLD_SKETCHED = 1e-12  # Share of ‖B‖_F²/m: the least damping that so few iterations could tell from none.


@dataclass(frozen=True)
class SketchedLift(Lift):
    """`min ‖r + Bθ̇‖² + μ‖θ̇‖²` by a few iterations, in the precision of B, behind `SketchedFactors`.

    Steps are sought in the span of the layers' inputs (`Spanned`), where a wide layer has few parameters. A solve ends
    where a new step would gain more; it begins at zero, because the step before it belongs to other samples.

    Args:
        price: of a step, in iterations.
        max_iterations: a bound.
    """

    price: float = 1.0
    max_iterations: int = 300
    name: str = field(default="sketched", init=False)

    def __post_init__(self) -> None:
        settle(self, price=POSITIVE, max_iterations=Whole(300, least=1))

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
        return self.metric.jacobian if self.spanned is None else self.spanned.jacobian

    @cached_property
    def factors(self) -> SketchedFactors:
        return SketchedFactors.of(self.inner)

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
        solved = linalg.conjugate_least_squares(
            inner.mv,
            inner.rmv,
            metric.rows(velocity).neg(),
            damping=self.damping,
            preconditioner=prepared.factors.damped(self.damping),
            enough=linalg.paced(price=prepared.method.price, enough=goal.fall),
            max_iterations=prepared.method.max_iterations,
        )
        z = solved.solution if prepared.spanned is None else prepared.spanned.widened(solved.solution)
        return Lifted(metric.leave(z), solved.left.to(velocity.dtype), None, solved.count, converged=False)
