"""The adapted flow with a vertical part: a second objective falls, the cost's law stays as it is."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geodescent._settings import Number
from geodescent._types import Theta
from geodescent.flow import Array, Velocity, is_finite, path_of
from geodescent.geometry._objective import Objective, ObjectiveAt, squared_norm
from geodescent.lift import PlannedLift
from geodescent.outputs import Inputs
from geodescent.problem import Model, Problem, problem_of
from geodescent.theory import predicted_cost

STRENGTH = Number("η must not be negative, and must be finite", lambda eta: 0.0 <= eta < math.inf, 1.0)


@dataclass(frozen=True)
class CombinedPath:
    """The path of a combined flow, at every accepted step; the model is left at its end.

    Attributes:
        time: τ.
        cost: C, by a forward pass.
        predicted_cost: `C₀e^{−2τ}`, whatever the objective, while D keeps full row rank.
        objective: R.
    """

    time: Array
    cost: Array
    predicted_cost: Array
    objective: Array


def combined_flow(
    model: Model,
    X: Inputs | None = None,
    y: Tensor | None = None,
    *,
    objective: Objective = squared_norm,
    strength: float = 1.0,
    until: float,
    tol: float = 1e-9,
    max_seconds: float = math.inf,
) -> CombinedPath:
    """Integrates `dθ/dτ = −D⁺(x − y) − η(1 − D⁺D)∇R`: x(τ) is that of the adapted flow, θ goes where R is smaller.

    Args:
        model: as in `gd.fit`, or a whole problem.
        X: its samples.
        y: targets in the outputs' shape.
        objective: R, of the module alone; `½‖θ‖²` by default.
        strength: η ≥ 0.
        until: τ > 0.
        tol: as in `gd.flow`.
        max_seconds: bound of the run; the path then ends at the time it came to.

    Raises: ArithmeticError, where no step size keeps the tolerance; the model is then as it was.
    Cost: as of a flow, with a gradient of R and a product with D more an evaluation.
    """
    strength = STRENGTH.of("strength", strength)
    problem = problem_of(model, X, y, call="geometry.combined_flow")
    objective_at = ObjectiveAt(problem, objective)
    end = problem.theta
    try:
        velocity = _velocity(problem, objective_at, strength)
        times, points = path_of(problem, velocity, until, tol=tol, max_seconds=max_seconds)
        values = np.array([objective_at(theta)[0] for theta in points])
        end = points[-1]
    finally:
        problem.write(end)
    costs = np.array([problem.cost(theta) for theta in points])
    return CombinedPath(times, costs, predicted_cost(float(costs[0]), times), values)


def _velocity(problem: Problem, objective_at: ObjectiveAt, strength: float) -> Velocity:
    """`−D⁺(r − ηD∇R) − η∇R`: both parts by one lift."""
    lift = PlannedLift().for_flow()

    def velocity(time: float, theta: Theta) -> Theta:
        residual, jacobian = problem.linearise(theta, dtype=torch.float64)
        if not is_finite(residual, jacobian):
            return torch.full_like(theta, torch.nan)
        slope = strength * objective_at(theta)[1]
        return lift.prepare(jacobian).lift(jacobian.mv(slope) - residual, damping=0.0).velocity - slope

    return velocity
