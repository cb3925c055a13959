"""The problem linearised at one θ: all that a step uses before it chooses a damping."""

from collections import Counter
from dataclasses import dataclass, field, replace

import torch

from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.lift import FULL, Damped, Lift, Lifted, Prepared, SolveGoal
from geodescent.linalg import row_dot
from geodescent.problem import Problem


@dataclass(frozen=True)
class Linearised:
    """Residual, cost and prepared lift at θ; rows weighted, so that the unweighted formulas hold.

    Attributes:
        problem: what is fitted.
        theta: where, (K,).
        residual: r = s(x − y), (m,), in the solve's dtype.
        cost: C = ‖r‖²/(2N).
        jacobian: B = s D, (m, K).
        prepared: the lift at θ.
        tally: counts of solves and passes, shared by all steps of a run.
    """

    problem: Problem
    theta: Theta
    residual: Outputs
    cost: float
    jacobian: Jacobian
    prepared: Prepared
    tally: Counter[str] = field(default_factory=Counter)

    @classmethod
    def at(
        cls, problem: Problem, theta: Theta, *, lift: Lift, dtype: torch.dtype, tally: Counter[str] | None = None
    ) -> "Linearised":
        """Linearises at θ: one forward pass, Q backward passes, and what the lift prepares."""
        residual, jacobian = problem.linearise(theta, dtype=dtype)
        tally = Counter[str]() if tally is None else tally
        tally["linearisations"] += 1
        return cls(problem, theta, residual, problem.cost_of(residual), jacobian, lift.prepare(jacobian), tally)

    def by(self, lift: Lift) -> "Linearised":
        """The same point with another lift."""
        return replace(self, prepared=lift.prepare(self.jacobian))

    @property
    def total_square(self) -> float:
        """`‖B‖_F²`, a bound of λ_max(G) on every route."""
        return self.prepared.mean_square * len(self.residual)

    def residual_at(self, theta: Theta) -> Outputs:
        """r at another θ: one forward pass."""
        self.tally["forward passes"] += 1
        return self.problem.residual(theta, dtype=self.residual.dtype)

    def second_derivative(self, direction: Theta) -> Outputs:
        """`s d²x[θ + t·direction]/dt²` at t = 0, exact."""
        self.tally["second derivatives"] += 1
        direction = direction.to(self.theta.dtype)
        return self.problem.second_derivative(self.theta, direction, dtype=self.residual.dtype)

    def damped(self, damping: float) -> Damped:
        """The lift's factor at the absolute damping μ."""
        self.tally["factors"] += 1
        return self.prepared.damped(damping)

    def lift(self, damped: Damped, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        """One solve."""
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
