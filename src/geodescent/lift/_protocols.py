"""Lifts: from a velocity of the outputs to the least-norm velocity of the parameters, exact or damped.

All lifts solve the same problem, with M the diagonal parameter metric and μ the damping, absolute, in the units of the
Gram matrix in that metric:

    θ̇ = argmin ‖Dθ̇ − v‖² + μ θ̇ᵀMθ̇,   and of those the one of least M-norm.

The metric enters once, as `B = D M^{−½}`; then `θ̇ = M^{−½} Bᵀ(BBᵀ + μ)⁻¹ v`. The rows of D are weighted already.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch

from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.linalg import row_total


@dataclass(frozen=True)
class Lifted:
    """A lifted velocity.

    Attributes:
        velocity: θ̇, (K,).
        misfit: `Dθ̇ − v`, (m,), the residual of the linear model; for inexact solves by a product with D.
        rank: the numerical rank, or None where it was not determined.
        iterations: of an iterative solve, 0 for a direct one.
        converged: False where an iterative solve failed, or where rounding made the misfit longer than v: the misfit is
            then no estimate of the exact one.
        fallback: whether the first choice of factor could not be trusted, and another one was used.
    """

    velocity: Theta
    misfit: Outputs
    rank: int | None = None
    iterations: int = 0
    converged: bool = True
    fallback: bool = False


@dataclass(frozen=True)
class SolveGoal:
    """What a solve is needed for, which may save some of its work.

    Attributes:
        rough: a few digits of θ̇ suffice and its misfit is not used: a direct solve need not be refined. The attributes
            below are for iterative solves.
        residual: it may stop at a residual of this norm.
        start: it may start at a multiple of this parameter velocity, (K,).
        fall: it may stop where `ln φ`, φ = ‖Bv + r‖² + μ‖v‖² of a damped step, has fallen by this.
    """

    rough: bool = False
    residual: float = 0.0
    start: Theta | None = None
    fall: float = math.inf


FULL = SolveGoal()
ROUGH = SolveGoal(rough=True)


class Damped(Protocol):
    """A lift at one point and one damping: one factor, which is solved for any velocity."""

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        """The parameter velocity of this output velocity, v (m,)."""
        ...


class Prepared(Protocol):
    """A lift at one point: factorised for each damping."""

    def damped(self, damping: float) -> Damped:
        """The factor at the absolute damping μ ≥ 0."""
        ...

    def lift(self, velocity: Outputs, *, damping: float) -> Lifted:
        """One velocity at one damping."""
        return self.damped(damping).lift(velocity)

    @property
    def mean_square(self) -> float:
        """`‖B‖_F²/m`, the mean of the diagonal of the Gram matrix, on every route."""
        ...

    @property
    def least_damping(self) -> float:
        """The absolute damping below which rounding errors dominate, in float64."""
        ...

    @property
    def exact(self) -> bool:
        """Whether all solves but rough ones are exact to rounding, so that misfits can be compared."""
        ...


@runtime_checkable
class Lift(Protocol):
    """How D⁺ is applied."""

    name: str

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        """The lift at the point where the Jacobian was taken.

        Args:
            jacobian: D, rows weighted.
            metric: diagonal of M > 0, (K,); None for ones.
        """
        ...

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> "Lift":
        """The lift that is used for m residuals and K parameters: itself, or what a plan picks."""
        return self

    def for_flow(self) -> "Lift":
        """The lift for a flow, whose steps are not judged by their cost: itself, or a plan without inexact solves."""
        return self

    @property
    def exact(self) -> bool:
        """Whether its solves are exact to rounding, so that corrections can be compared."""
        return True

    @property
    def adds_over_batches(self) -> bool:
        """Whether it needs only sums over the rows of D, so that D can be computed batch by batch."""
        return False


@dataclass(frozen=True)
class MetricJacobian:
    """`B = D M^{−½}`, and the change of variables for velocities of θ.

    Attributes:
        jacobian: B.
        column_scale: M^{−½}, (K,), or None for ones.
    """

    jacobian: Jacobian
    column_scale: Theta | None

    @classmethod
    def of(cls, jacobian: Jacobian, metric: Theta | None) -> "MetricJacobian":
        """From D and the diagonal of M."""
        columns = None if metric is None else metric.to(jacobian.dtype).rsqrt()
        return cls(jacobian.scaled(columns=columns), columns)

    def rows(self, velocity: Outputs) -> Outputs:
        """A velocity of the outputs, stacked and in the precision of B."""
        return velocity.reshape(-1).to(self.jacobian.dtype)

    def leave(self, velocity: Theta) -> Theta:
        """θ̇ from the velocity that B multiplies."""
        return velocity if self.column_scale is None else velocity * self.column_scale

    def enter(self, velocity: Theta) -> Theta:
        """The inverse of `leave`."""
        velocity = velocity.to(self.jacobian.dtype)
        return velocity if self.column_scale is None else velocity / self.column_scale

    @cached_property
    def mean_square(self) -> float:
        """`‖B‖_F²/m`."""
        return row_total(self.jacobian.row_squares()) / self.jacobian.n_residuals
