"""The velocity of θ along a flow: the field's velocity of the outputs, lifted without damping."""

import time as clock

import torch

from geodescent._types import Outputs, Theta
from geodescent.flow._arrays import Velocity
from geodescent.flow._field import Field
from geodescent.lift import Lift
from geodescent.problem import Problem


def lifted_velocity(problem: Problem, field: Field, lift: Lift, residual0: Outputs) -> Velocity:
    """`θ̇ = D⁺ v`, v the field's velocity at x[θ] − y: along the adapted field `−D⁺(x − y)`.

    Args:
        residual0: the weighted x₀ − y, (m,), float64, which a field may use.
    """

    def velocity(time: float, theta: Theta) -> Theta:
        residual, jacobian = problem.linearise(theta, dtype=torch.float64)
        return lift.prepare(jacobian).lift(field.velocity(residual, residual0), damping=0.0).velocity

    return velocity


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
