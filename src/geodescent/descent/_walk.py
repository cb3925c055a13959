"""Walks: from a lifted velocity to a displacement of θ."""

from dataclasses import dataclass
from typing import Protocol

from geodescent._types import Theta
from geodescent.descent._linearised import Linearised
from geodescent.lift import Damped, Hints, Lifted
from geodescent.linalg import norm

BEND_SLACK = 0.5  # of ‖r + Dv‖: what the velocity itself leaves, the bend need not resolve


@dataclass(frozen=True)
class Displacement:
    """A step in θ.

    Attributes:
        theta: the displacement, (K,).
        bend: ‖a‖/‖v‖, how far the path turns on this step; None for a walk that does not know.
    """

    theta: Theta
    bend: float | None = None


class Walk(Protocol):
    """One step along a lifted velocity."""

    @property
    def step_size(self) -> float: ...

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        """The step from `here` along a velocity that `damped` lifted."""
        ...


@dataclass(frozen=True)
class EulerWalk:
    """`h θ̇`. A step of h = 1 along the adapted field is the full (damped) Gauss–Newton step (THEORY 1.8)."""

    step_size: float = 1.0

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        return Displacement(self.step_size * lifted.velocity)


@dataclass(frozen=True)
class GeodesicWalk:
    """`h v + h² a` with `a = −½ D_μ d²x[θ + tv]/dt²`: the path's second-order term, by the factor at hand.

    Cost: one pass of second derivatives and one solve more than Euler's.
    Source: Transtrum & Sethna, arXiv:1201.5885 (their a has no ½), with the exact second derivative.
    """

    step_size: float = 1.0

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        velocity, hints = lifted.velocity, Hints(rough=True, within=BEND_SLACK * norm(lifted.misfit))
        bend = here.lift(damped, here.second_derivative(velocity), hints).velocity
        length, turned, h = norm(velocity), 0.5 * norm(bend), self.step_size
        return Displacement(h * velocity - (0.5 * h * h) * bend, h * turned / length if length > 0.0 else 0.0)
