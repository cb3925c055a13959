"""From ordinary gradient flow to the adapted flow, with α falling on the way."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geodescent._settings import UP_TO_ONE
from geodescent._types import Theta
from geodescent.flow import Array, Velocity, is_finite, path_of
from geodescent.lift import HomotopyLift, PlannedLift
from geodescent.outputs import Inputs
from geodescent.problem import Model, Problem, problem_of


@dataclass(frozen=True)
class HomotopyPath:
    """The path of a homotopy flow, at every accepted step; the model is left at its end.

    Attributes:
        time: τ.
        alpha: α there.
        cost: C, by a forward pass.
        scale: s, the unit of D all along: ‖D‖_F/√m at the start.
    """

    time: Array
    alpha: Array
    cost: Array
    scale: float


def homotopy(
    model: Model,
    X: Inputs | None = None,
    y: Tensor | None = None,
    *,
    alpha: float | Callable[[float], float],
    until: float,
    tol: float = 1e-9,
    max_seconds: float = math.inf,
    weights: Tensor | None = None,
) -> HomotopyPath:
    """Integrates `dθ/dτ = −(α + (1 − α)D̃ᵀD̃)⁺D̃ᵀ(x − y)/s` up to τ = until.

    Args:
        model: as in `gd.fit`, or a whole problem.
        X: its samples.
        y: targets in the outputs' shape.
        weights: w ≥ 0, (N,), of single samples.
        alpha: α, or a schedule τ ↦ α(τ) such as `lambda time: math.exp(-time)`: from the gradient flow to the adapted
            one, whose rate is then that of the end.
        until: τ > 0.
        tol: as in `gd.flow`.
        max_seconds: bound of the run; the path then ends at the time it came to.

    Raises:
        InputError: where α leaves [0, 1].
        ArithmeticError: where no step size keeps the tolerance; the model is then as it was.

    Cost: as of a flow; large α are stiff: a mode of σ relative to s falls at the rate σ²/(α + (1 − α)σ²).
    """
    alpha = alpha if callable(alpha) else UP_TO_ONE.of("alpha", alpha)
    problem = problem_of(model, X, y, weights, call="geometry.homotopy")
    _, rows = problem.linearise(problem.theta, dtype=torch.float64)
    scale = float(rows.row_squares().mean()) ** 0.5
    schedule = alpha if callable(alpha) else lambda time: alpha
    velocity = _velocity(problem, schedule, scale)
    times, points = path_of(problem, velocity, until, tol=tol, max_seconds=max_seconds)
    problem.write(points[-1])
    costs = np.array([problem.cost(theta) for theta in points])
    return HomotopyPath(times, np.array([schedule(time) for time in times]), costs, scale)


def _velocity(problem: Problem, alpha: Callable[[float], float], scale: float) -> Velocity:
    dense = PlannedLift().for_flow()

    def velocity(time: float, theta: Theta) -> Theta:
        residual, jacobian = problem.linearise(theta, dtype=torch.float64)
        if not is_finite(residual, jacobian):
            return torch.full_like(theta, torch.nan)
        lift = HomotopyLift(alpha(time), scale, dense)
        return lift.prepare(jacobian).lift(-residual, damping=0.0).velocity

    return velocity
