"""Walks: from a lifted velocity to a displacement of θ."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from geodescent._settings import POSITIVE, settle
from geodescent._types import Theta
from geodescent.descent._linearised import Linearised
from geodescent.lift import Damped, Lifted, SolveGoal
from geodescent.linalg import row_norm

BEND_SLACK = 0.5
"""Share of ‖r + Dv‖: an iterative solve for the bend may leave this residual, as that of v leaves ‖r + Dv‖ itself."""


@dataclass(frozen=True)
class Displacement:
    """A step in θ.

    Attributes:
        theta: the displacement, (K,).
        bend: ‖a‖/‖v‖ in the metric, how much the path bends on this step; None for a walk without this term.
    """

    theta: Theta
    bend: float | None = None


@runtime_checkable
class Walk(Protocol):
    """One step along a lifted velocity."""

    @property
    def step_size(self) -> float:
        """h: 1 is the full step."""
        ...

    def sized(self, step_size: float) -> "Walk":
        """The same walk with steps of another size."""
        ...

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        """The step from `here` along a velocity that `damped` lifted."""
        ...


@dataclass(frozen=True)
class EulerWalk:
    """`h θ̇`. A step of h = 1 along the adapted field is the full (damped) Gauss–Newton step."""

    step_size: float = 1.0

    def __post_init__(self) -> None:
        settle(self, step_size=POSITIVE)

    def sized(self, step_size: float) -> "EulerWalk":
        return replace(self, step_size=step_size)

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        return Displacement(self.step_size * lifted.velocity)


@dataclass(frozen=True)
class GeodesicWalk:
    """`h v + h² a` with `a = −½ D_μ d²x[θ + sv]/ds²`: the path's second-order term, solved with the factor of v.

    Cost: one pass of second derivatives and one solve more than Euler's.
    Source: Transtrum & Sethna, arXiv:1201.5885 (their a has no ½), with the exact second derivative.
    """

    step_size: float = 1.0

    def __post_init__(self) -> None:
        settle(self, step_size=POSITIVE)

    def sized(self, step_size: float) -> "GeodesicWalk":
        return replace(self, step_size=step_size)

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        velocity, goal = lifted.velocity, SolveGoal(rough=True, residual=BEND_SLACK * row_norm(lifted.misfit))
        bend = here.lift(damped, here.second_derivative(velocity), goal).velocity
        length, turned, h = here.length(velocity), 0.5 * here.length(bend), self.step_size
        return Displacement(h * velocity - (0.5 * h * h) * bend, h * turned / length if length > 0.0 else 0.0)
