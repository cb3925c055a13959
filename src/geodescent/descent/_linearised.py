"""The problem linearised at one θ: all that a step uses before it chooses a damping."""

from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from geodescent._deadline import LINEARISATION, measuring, require_time
from geodescent._types import Outputs, Theta
from geodescent.descent._separated import Separated, settled
from geodescent.jacobian import Jacobian
from geodescent.lift import FULL, Damped, Lift, Lifted, Prepared, SolveGoal
from geodescent.linalg import row_dot
from geodescent.metric import EUCLIDEAN, Metric
from geodescent.problem import Problem

STEP = "a step"
"""What is cut where the time runs out between the parts of a step."""


@dataclass(frozen=True)
class Linearised:
    """Residual, cost and prepared lift at θ; rows weighted, so that the unweighted formulas hold.

    Attributes:
        problem: what is fitted.
        theta: where, (K,).
        residual: r = s(x − y), (m,), in the solve's dtype.
        cost: C = ‖r‖²/(2N).
        jacobian: B = s D, (m, K).
        metric: of the parameters, with what this point adds.
        prepared: the lift at θ, in the metric.
        tally: counts of solves and passes, shared by all steps of a run.
        separated: the parameters that enter linearly and are solved for; None where there are none.
    """

    problem: Problem
    theta: Theta
    residual: Outputs
    cost: float
    jacobian: Jacobian
    metric: Metric
    prepared: Prepared
    tally: Counter[str] = field(default_factory=Counter)
    separated: Separated | None = None

    @classmethod
    def at(
        cls,
        problem: Problem,
        theta: Theta,
        *,
        lift: Lift,
        dtype: torch.dtype,
        tally: Counter[str] | None = None,
        metric: Metric = EUCLIDEAN,
        linear: Tensor | None = None,
    ) -> "Linearised":
        """Linearises at θ: one forward pass, Q backward passes, and what the lift prepares.

        Args:
            metric: as it was on the path so far.
            linear: which entries of θ are solved for, a mask (K,).
        """
        require_time(STEP)
        with measuring(LINEARISATION, problem.device):
            residual, jacobian = problem.linearise(theta, dtype=dtype)
        tally = Counter[str]() if tally is None else tally
        tally["linearisations"] += 1
        separated = None if linear is None else Separated.of(jacobian, linear)
        moving = jacobian if separated is None else separated.reduced()
        metric = metric.following(moving)
        prepared = lift.prepare(moving, metric=metric.squares)
        cost = problem.cost_of(residual)
        return cls(problem, theta, residual, cost, jacobian, metric, prepared, tally, separated)

    def by(self, lift: Lift) -> "Linearised":
        """The same point with another lift."""
        return replace(self, prepared=lift.prepare(self.moving, metric=self.metric.squares))

    @property
    def moving(self) -> Jacobian:
        """B as steps see it: without what the parameters that are solved for make up for."""
        return self.jacobian if self.separated is None else self.separated.reduced()

    def settled(self, theta: Theta) -> Theta:
        """θ with the parameters solved for that enter linearly."""
        if self.separated is None:
            return theta
        self.tally["linear solves"] += 1
        return settled(self.problem, theta, self.separated.linear, self.residual.dtype)

    def length(self, velocity: Theta) -> float:
        """`‖v‖_M`."""
        return self.metric.length(velocity)

    @property
    def total_square(self) -> float:
        """`‖B M^{−½}‖_F²`, a bound of the largest eigenvalue of the Gram matrix in the metric, on every route."""
        return self.prepared.mean_square * len(self.residual)

    def residual_at(self, theta: Theta) -> Outputs:
        """r at another θ: one forward pass."""
        self.tally["forward passes"] += 1
        return self.problem.residual(theta, dtype=self.residual.dtype)

    def second_derivative(self, direction: Theta) -> Outputs:
        """`s d²x[θ + t·direction]/dt²` at t = 0, exact."""
        self.tally["second derivatives"] += 1
        direction = direction if self.separated is None else self.separated.completed(direction)
        direction = direction.to(self.theta.dtype)
        return self.problem.second_derivative(self.theta, direction, dtype=self.residual.dtype)

    def damped(self, damping: float) -> Damped:
        """The lift's factor at the absolute damping μ."""
        require_time(STEP)
        self.tally["factors"] += 1
        return self.prepared.damped(damping)

    def lift(self, damped: Damped, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        """One solve."""
        require_time(STEP)
        lifted = damped.lift(velocity, goal)
        self.tally["solves"] += 1
        self.tally["iterations"] += lifted.iterations
        self.tally["fallbacks"] += lifted.fallback
        return lifted

    def cost_of(self, residual: Outputs) -> float:
        """C of a weighted residual or misfit."""
        return self.problem.cost_of(residual)

    def predicted(self, lifted: Lifted) -> float:
        """C_lin of a lifted −r: the cost that the linear model leaves."""
        return row_dot(lifted.misfit, lifted.misfit) / (2.0 * self.problem.n_samples)
