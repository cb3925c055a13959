"""What a control is: it chooses how much damping a step gets, and whether the step is taken."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from geodescent._types import Outputs, Theta
from geodescent.descent._linearised import Linearised
from geodescent.descent._walk import Walk
from geodescent.lift import Lifted

STATIONARY = 1e-12  # relative fall of the cost that the undamped linear model still promises: ‖P(x−y)‖ ≤ 1e-6 ‖x−y‖


@dataclass(frozen=True)
class Standing:
    """What a control knows of the run so far.

    Attributes:
        damping: relative to the control's own unit; where the next step begins to try.
        best_cost: the least cost so far.
        reference_cost: the larger of the cost at the start and that of the outputs 0: what "small" is measured by.
        steps: taken so far.
        momentum: what the last step left for this one, (K,): of a control that has momentum, or where an iterative
            solve may begin.
        opening: iterations that the opening has taken; None where it is over.
        trust: the fall of ln C up to which the linear model is believed: where an iterative solve may stop.
    """

    damping: float
    best_cost: float
    reference_cost: float
    steps: int = 0
    momentum: Theta | None = None
    opening: float | None = None
    trust: float = math.inf


@dataclass(frozen=True)
class Trial:
    """A step that a control takes.

    Attributes:
        theta: the new point.
        cost: C there.
        predicted: C_lin.
        damping: μ, absolute.
        next_damping: relative, for the next step.
        momentum: for the next step, (K,), or None.
        opening, trust: as in `Standing`, after this step.
    """

    theta: Theta
    cost: float
    predicted: float
    damping: float
    next_damping: float
    momentum: Theta | None = None
    opening: float | None = None
    trust: float = math.inf

    def gain_ratio(self, cost: float) -> float:
        """`(C − C_new)/(C − C_lin)`."""
        fall = cost - self.predicted
        return (cost - self.cost) / fall if fall > 0.0 and math.isfinite(self.cost) else -math.inf


class Control(Protocol):
    """Chooses dampings and judges steps."""

    @property
    def initial_damping(self) -> float: ...

    def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
        """The step to take from here, or None where no damping gives one."""
        ...

    def restart(self, here: Linearised, count: int) -> float | None:
        """The relative damping with which to set out from the best point for the count-th time, None to give up."""
        ...


def aim(here: Linearised, lifted: Lifted, step_size: float) -> Outputs:
    """`r + hDv = (1 − h)r + h(r + Dv)`: what the linear model leaves of r after a step of h along a lifted −r."""
    return lifted.misfit if step_size == 1.0 else torch.lerp(here.residual, lifted.misfit, step_size)
