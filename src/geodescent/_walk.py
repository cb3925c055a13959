"""Walks: from a lifted velocity to the next point."""

from dataclasses import dataclass
from typing import Protocol

from geodescent._types import Theta


class Walk(Protocol):
    """One step along a lifted velocity."""

    @property
    def step_size(self) -> float: ...

    def step(self, theta: Theta, velocity: Theta) -> Theta: ...


@dataclass(frozen=True)
class EulerWalk:
    """`θ + h θ̇`. A step of h = 1 along the adapted field is the full (damped) Gauss–Newton step (THEORY 1.8)."""

    step_size: float = 1.0

    def step(self, theta: Theta, velocity: Theta) -> Theta:
        return theta + self.step_size * velocity.to(theta.dtype)
