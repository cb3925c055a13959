"""The adapted flow with a vertical part: a second objective falls, the cost's law stays as it is (THEORY 5.6)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.flow import AdaptedField, Array, Field, path_of
from geodescent.geometry._refine import Asked, Objective, squared_norm
from geodescent.lift import Lift, PlannedLift
from geodescent.outputs import Inputs
from geodescent.problem import Problem
from geodescent.theory import predicted_cost


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
    model: nn.Module,
    X: Inputs,
    y: Tensor,
    *,
    objective: Objective = squared_norm,
    strength: float = 1.0,
    until: float,
    tol: float = 1e-9,
    max_seconds: float = math.inf,
    weights: Tensor | None = None,
) -> CombinedPath:
    """Integrates `dθ/dτ = −D⁺(x − y) − η(1 − D⁺D)∇R`: x(τ) is that of the adapted flow, θ goes where R is smaller.

    Args:
        model, X, y, weights: as in `gd.fit`.
        objective: R, of the module alone; `½‖θ‖²` by default.
        strength: η ≥ 0.
        until: τ > 0.
        tol: as in `gd.flow`.
        max_seconds: bound of the run; the path then ends at the time it came to.

    Raises: ArithmeticError, where no step size keeps the tolerance; the model is then as it was.
    Cost: as of a flow, with a gradient of R and a product with D more an evaluation.
    """
    if not strength >= 0.0:
        raise InputError(f"strength = {strength}: η must not be negative.")
    problem = Problem.of(model, X, y, weights=weights)
    asked = Asked(problem, objective)
    start = problem.theta
    velocity = _Velocity(problem, AdaptedField(), asked, strength, PlannedLift().exact())
    end = start
    try:
        times, points = path_of(velocity, until, tol=tol, max_seconds=max_seconds)
        values = np.array([asked(theta)[0] for theta in points])
        end = points[-1]
    finally:
        problem.write(end)
    costs = np.array([problem.cost(problem.outputs(theta)) for theta in points])
    return CombinedPath(times, costs, predicted_cost(float(costs[0]), times), values)


@dataclass(frozen=True)
class _Velocity:
    problem: Problem
    field: Field
    asked: Asked
    strength: float
    lift: Lift

    def __call__(self, time: float, theta: Array) -> Array:
        """`−D⁺(r − ηD∇R) − η∇R`: both parts by one lift."""
        point = torch.from_numpy(theta).to(self.problem.theta)
        outputs, jacobian = self.problem.linearise(point)
        slope = self.strength * self.asked(point)[1]
        rows = jacobian.to(torch.float64)
        prepared = self.lift.prepare(rows, row_scale=self.problem.row_scale)
        wanted = rows.mv(slope) - self.problem.residual(outputs).double()
        return (prepared.lift(wanted, damping=0.0).velocity - slope).cpu().numpy()
