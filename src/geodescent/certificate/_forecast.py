"""The rounding floor where a fit is likely to end."""

import math

import torch

from geodescent._errors import MemoryPlanError
from geodescent._types import Theta
from geodescent.descent import Linearised, chosen_lift, planned_lift
from geodescent.problem import Problem, rounding_floor

FORECAST_DAMPING = 1e-5  # Share of ‖B‖_F²: the modes that a fit moves along on its way, not those it only ends in.


def forecast_floor(problem: Problem, theta: Theta) -> float:
    """The floor to expect where a fit from θ ends: the larger of that at θ and at `θ + D_μ(y − x)`, μ = 1e-5·‖B‖_F².

    Parameters and sensitivities grow on the way; the linear model's damped step says roughly how far. A forecast:
    within a factor of ten on the cases measured. Where D is too large for a dense lift, or is streamed, the floor at θ.

    Cost: one linearisation, one factor and ten forward passes.
    """
    here = rounding_floor(problem, theta)
    lift = chosen_lift(planned_lift(problem), problem, torch.float64)
    if not lift.exact:
        return here
    try:
        point = Linearised.at(problem, theta, lift=lift, dtype=torch.float64)
    except MemoryPlanError:
        return here
    step = point.lift(point.damped(FORECAST_DAMPING * point.total_square), -point.residual).velocity
    there = rounding_floor(problem, theta + step.to(theta.dtype))
    return max(here, there) if math.isfinite(there) else here
