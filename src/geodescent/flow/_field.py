"""Velocities of the outputs, and their time variables."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from geodescent._types import Outputs


@runtime_checkable
class Field(Protocol):
    """A velocity of the outputs, and the time variable (clock) in which it is integrated."""

    def velocity(self, residual: Outputs, residual0: Outputs) -> Outputs:
        """The velocity at residual x − y, given the one at the start."""
        ...

    def clock(self, time: float) -> float:
        """The field's own time at τ."""
        ...

    def time(self, own: float) -> float:
        """τ at the field's own time: the inverse of `clock`."""
        ...


@dataclass(frozen=True)
class AdaptedField:
    """`dx/dτ = −(x − y)`: the Euclidean gradient flow of C in output space; its clock is τ."""

    def velocity(self, residual: Outputs, residual0: Outputs) -> Outputs:
        return -residual

    def clock(self, time: float) -> float:
        return time

    def time(self, own: float) -> float:
        return own


@dataclass(frozen=True)
class StraightLineField:
    """`dx/dt = y − x₀` with t = 1 − e^{−τ}: the same path walked at constant speed in finite time.

    The velocity stays y − x₀, so that errors of the integration are not corrected.
    """

    def velocity(self, residual: Outputs, residual0: Outputs) -> Outputs:
        return -residual0

    def clock(self, time: float) -> float:
        return -math.expm1(-time)

    def time(self, own: float) -> float:
        return -math.log1p(-own)
