"""The lift by few products: conjugate gradients without a preconditioner, for a D known by its products alone."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from geodescent import linalg
from geodescent._deadline import SMALL_SHARE
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.linalg import norm, row_dot

SQUARES = 2  # Products with random signs, of whose squares ‖B‖_F² is the mean.
LEAST_TOLD = 1e-12  # Share of ‖B‖_F²/m: the least damping that so few iterations could tell from none.


@dataclass(frozen=True)
class PacedLift(Lift):
    """`(BᵀB + μ) θ̇ = Bᵀv` by conjugate gradients, ended where a new step would gain more (`linalg.Pace`).

    Nothing but products with B is computed: no factor, no column. Each iteration takes two of them; a solve begins at
    `SolveGoal.start`. For steps that are judged by their cost.

    Args:
        max_iterations: a bound.
    """

    max_iterations: int = 300
    name: str = field(default="paced", init=False)

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        return _PreparedPaced(MetricJacobian.of(jacobian, metric), self.max_iterations)

    @property
    def exact(self) -> bool:
        return False


@dataclass
class _PreparedPaced(Prepared):
    metric: MetricJacobian
    max_iterations: int

    @cached_property
    def mean_square(self) -> float:
        """`‖B‖_F²/m`, estimated."""
        jacobian, generator = self.metric.jacobian, torch.Generator().manual_seed(0)
        total = 0.0
        for _ in range(SQUARES):
            signs = 2 * torch.randint(0, 2, (jacobian.n_residuals,), generator=generator, device="cpu") - 1
            total += norm(jacobian.rmv(signs.to(jacobian.device, jacobian.dtype))) ** 2 / SQUARES
        return total / jacobian.n_residuals

    @property
    def least_damping(self) -> float:
        return LEAST_TOLD * self.mean_square

    @property
    def exact(self) -> bool:
        return False

    def damped(self, damping: float) -> Damped:
        return _DampedPaced(self.metric, damping, self.max_iterations)


@dataclass(frozen=True)
class _DampedPaced:
    metric: MetricJacobian
    damping: float
    max_iterations: int

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        metric, damping = self.metric, self.damping
        jacobian, v = metric.jacobian, metric.rows(velocity)
        b = jacobian.rmv(v)
        solved = linalg.conjugate_gradients(
            lambda x: torch.add(jacobian.rmv(jacobian.mv(x)), x, alpha=damping),
            b,
            preconditioner=torch.clone,
            enough=linalg.Pace(b, row_dot(v, v), enough=goal.fall),
            max_iterations=self.max_iterations,
            near=None if goal.start is None else metric.enter(goal.start),
            share=SMALL_SHARE,
        )
        solved = replace(solved, converged=solved.converged and not solved.cut)
        misfit = jacobian.mv(solved.solution) - v
        return Lifted(metric.leave(solved.solution), misfit, None, solved.count, solved.converged)
