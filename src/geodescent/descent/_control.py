"""The protocol of a control, which chooses the damping of a step and decides whether the step is taken."""

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch

from geodescent._types import Outputs, Theta
from geodescent.descent._linearised import Linearised
from geodescent.descent._walk import Walk
from geodescent.lift import Lifted

GUARD = 30.0  # Times the best cost: a step across a narrow valley may have this cost.
GUARD_AT_START = 0.1  # Share of the reference cost: a step may always have a cost below it.
STATIONARY = 1e-12  # Share of C: a predicted fall below it means ‖P(x − y)‖ ≤ 1e-6 ‖x − y‖, a critical point.


@dataclass(frozen=True)
class Damping:
    """A damping with the size of B where it was chosen.

    Attributes:
        value: μ, absolute, in the units of the Gram matrix.
        total_square: ‖B‖_F² there.
    """

    value: float
    total_square: float

    def at(self, here: Linearised) -> float:
        """μ for another point: rescaled by ‖B‖_F² of the new point over that of the old one."""
        if not 0.0 < self.total_square < math.inf:
            return self.value
        return self.value / self.total_square * here.total_square


@dataclass(frozen=True)
class CostLevels:
    """The costs with which a control compares others.

    Attributes:
        best: the least cost so far.
        reference: the scale of costs, `reference_cost`, or the least cost so far where that is higher.
        ceiling: above it no step leads; for formulas the reference, because beyond what constants give lie plateaus.
    """

    best: float
    reference: float
    ceiling: float = math.inf

    @property
    def highest(self) -> float:
        """The highest cost that a step may have, since crossing a narrow valley raises the cost."""
        return max(self.best, min(GUARD * self.best, self.ceiling), GUARD_AT_START * self.reference)


@dataclass(frozen=True)
class Trial:
    """A step that a control takes.

    Attributes:
        theta: the new point.
        cost: C there, of the step's own problem.
        predicted: C_lin.
        damping: μ of this step, absolute.
        next_damping: μ, absolute, with which the control of a next stage would begin; 0 where steps have none.
    """

    theta: Theta
    cost: float
    predicted: float
    damping: float
    next_damping: float

    def gain_ratio(self, cost: float) -> float:
        """`(C − C_new)/(C − C_lin)`."""
        fall = cost - self.predicted
        return (cost - self.cost) / fall if fall > 0.0 and math.isfinite(self.cost) else -math.inf


ControlState = TypeVar("ControlState")


@runtime_checkable
class Control(Protocol[ControlState]):
    """Chooses dampings and judges steps.

    Its state from step to step is a frozen dataclass of its own, whose fields no other class reads: numbers,
    `Damping`s and vectors like θ, so that it can be saved.
    """

    @property
    def state_type(self) -> type[ControlState]:
        """The class of its state."""
        ...

    def begin(self, here: Linearised, damping: Damping | None = None) -> ControlState:
        """The state before the first step.

        Args:
            here: where that step begins.
            damping: that an earlier control leaves; None where there was none.
        """
        ...

    def step(
        self, here: Linearised, walk: Walk, state: ControlState, levels: CostLevels
    ) -> tuple[Trial, ControlState] | None:
        """The step to take from here and the state after it, or None where no damping gives one."""
        ...

    def restart(self, here: Linearised, count: int) -> ControlState | None:
        """The state for another start from the best point, after `count` earlier ones; None for no other."""
        ...


def linear_residual(here: Linearised, lifted: Lifted, step_size: float) -> Outputs:
    """`r + hDv = (1 − h)r + h(r + Dv)`: what the linear model leaves of r after a step of h along a lifted −r."""
    return lifted.misfit if step_size == 1.0 else torch.lerp(here.residual, lifted.misfit, step_size)
