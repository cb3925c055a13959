"""Lifts: from a velocity of the outputs to the least-norm velocity of the parameters, exact or damped.

All routes answer one question, with S = diag(s²) the row metric, M the diagonal parameter metric and μ the damping:

    θ̇ = argmin ‖s(Dθ̇ − v)‖² + μ θ̇ᵀMθ̇,   and of those the one of least M-norm.

Both metrics enter once, as `B = diag(s) D M^{−½}`; then `θ̇ = M^{−½} Bᵀ(BBᵀ + μ)⁻¹ s v`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from geodescent import linalg
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian

DENSE_MATRICES = 5.0  # a matrix, its eigenvectors, their copy and the workspace: what the dense lifts may come to


@dataclass(frozen=True)
class Lifted:
    """A lifted velocity.

    Attributes:
        velocity: θ̇, (K,).
        misfit: `s(Dθ̇ − v)`, (m,): what the linear model leaves, for inexact solves taken from D θ̇ itself.
        rank: the rank kept, or None where nothing was asked for it.
        iterations: of an iterative solve, 0 for a direct one.
        converged: False where an iterative solve gained nothing in its iterations, or less than rounding took: then
            the misfit says nothing.
        fallback: whether the first choice of factor was not to be trusted, and another answered the same question.
    """

    velocity: Theta
    misfit: Outputs
    rank: int | None = None
    iterations: int = 0
    converged: bool = True
    fallback: bool = False


@dataclass(frozen=True)
class Hints:
    """What spares a solve some of its work.

    Attributes:
        rough: a few digits of θ̇ will do and its misfit is not read: a direct solve need not be refined. The attributes
            below are for iterative solves.
        within: it may stop at this residual.
        near: it may begin on the line of this parameter velocity, (K,).
        fall: it may stop where `ln φ`, φ = ‖Bv + r‖² + μ‖v‖² of a damped step, has fallen by this.
    """

    rough: bool = False
    within: float = 0.0
    near: Theta | None = None
    fall: float = math.inf


NO_HINTS = Hints()
ROUGH = Hints(rough=True)


class Damped(Protocol):
    """A lift at one point and one damping: the factor is there, solved for any velocity."""

    def lift(self, velocity: Outputs, hints: Hints = NO_HINTS) -> Lifted:
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
    def scale(self) -> float:
        """`‖B‖_F²/m`: what relative damping refers to, on every route (THEORY 1.8)."""
        ...

    @property
    def least_damping(self) -> float:
        """The absolute damping below which rounding decides, in float64."""
        ...

    @property
    def direct(self) -> bool:
        """Whether solves, unless rough ones are asked for, are exact to rounding, so that misfits can be compared."""
        ...

    @property
    def opening(self) -> "Opening | None":
        """Cheaper, inexact solves at the same point for the way in; None where there are none."""
        return None


@dataclass(frozen=True)
class Opening:
    """Inexact solves where exact ones are to be had too.

    Attributes:
        prepared: the inexact lift.
        worth: as many of its iterations as an exact step costs.
    """

    prepared: Prepared
    worth: float


class Lift(Protocol):
    """How D⁺ is applied."""

    name: str

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        """The lift at the point where the Jacobian was taken.

        Args:
            jacobian: D, rows not scaled.
            row_scale: s > 0, (m,); None for ones.
            metric: diagonal of M > 0, (K,); None for ones.
        """
        ...

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> "Lift":
        """The lift that is really used for m residuals and K parameters: itself, or what a plan picks."""
        return self

    def exact(self) -> "Lift":
        """The lift for a flow, whose steps nothing judges: itself, or a plan without inexact solves."""
        return self


@dataclass(frozen=True)
class Metrics:
    """`B = diag(s) D M^{−½}` and how velocities go in and out."""

    jacobian: Jacobian
    row_scale: Outputs | None
    column_scale: Theta | None

    @classmethod
    def of(cls, jacobian: Jacobian, row_scale: Outputs | None, metric: Theta | None) -> "Metrics":
        rows = None if row_scale is None else row_scale.to(jacobian.dtype)
        columns = None if metric is None else metric.to(jacobian.dtype).rsqrt()
        return cls(jacobian.scaled(rows=rows, columns=columns), rows, columns)

    def enter(self, velocity: Outputs) -> Outputs:
        velocity = velocity.reshape(-1).to(self.jacobian.dtype)
        return velocity if self.row_scale is None else velocity * self.row_scale

    def leave(self, velocity: Theta) -> Theta:
        return velocity if self.column_scale is None else velocity * self.column_scale

    def entered(self, velocity: Theta) -> Theta:
        """The inverse of `leave`."""
        velocity = velocity.to(self.jacobian.dtype)
        return velocity if self.column_scale is None else velocity / self.column_scale

    @cached_property
    def scale(self) -> float:
        return linalg.total(self.jacobian.row_squares()) / self.jacobian.n_residuals
