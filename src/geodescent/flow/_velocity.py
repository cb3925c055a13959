"""The velocity of θ along a flow: the field's velocity of the outputs, lifted without damping."""

import time as clock

import torch

from geodescent._types import Outputs, Theta
from geodescent.flow._arrays import Velocity
from geodescent.flow._field import Field
from geodescent.jacobian import Jacobian
from geodescent.lift import Lift
from geodescent.problem import Problem


def lifted_velocity(problem: Problem, field: Field, lift: Lift, residual0: Outputs) -> Velocity:
    """`θ̇ = D⁺ v`, v the field's velocity at x[θ] − y: along the adapted field `−D⁺(x − y)`.

    It is NaN where x or D is not finite: the integrator then tries a shorter step.

    Args:
        residual0: the weighted x₀ − y, (m,), float64, which a field may use.
    """

    def velocity(time: float, theta: Theta) -> Theta:
        residual, jacobian = problem.linearise(theta, dtype=torch.float64)
        if not is_finite(residual, jacobian):
            return torch.full_like(theta, torch.nan)
        return lift.prepare(jacobian).lift(field.velocity(residual, residual0), damping=0.0).velocity

    return velocity


def is_finite(residual: Outputs, jacobian: Jacobian) -> bool:
    """Whether x − y and D are finite: an entry of D that is not makes Dᵀu NaN or infinite. Cost: a product."""
    if not bool(torch.isfinite(residual).all()):
        return False
    return bool(torch.isfinite(jacobian.rmv(torch.ones_like(residual, dtype=jacobian.dtype))).all())


class Counted:
    """A velocity that counts its evaluations, and raises TimeoutError past a deadline."""

    def __init__(self, velocity: Velocity, max_seconds: float) -> None:
        self._velocity, self._deadline = velocity, clock.perf_counter() + max_seconds
        self.evaluations = 0

    def __call__(self, time: float, theta: Theta) -> Theta:
        if clock.perf_counter() > self._deadline:
            raise TimeoutError
        self.evaluations += 1
        return self._velocity(time, theta)
