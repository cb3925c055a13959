"""Steps that keep bounds: the damped linear problem is solved inside the box, and the gain ratio judges."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.descent import Control, CostLevels, Damping, Linearised, Trial, Walk
from geodescent.problem import Problem

FIRST_IN_BOX = 1e-3  # Share of the square of each column's norm, which is its unit.
LEAST_IN_BOX = 1e-16  # Share of the same: eps, below which damping is lost in rounding.
LARGEST_IN_BOX = 1e20  # Share of the same: a step with more damping does not change θ.
LEAST_GAIN = 1e-3  # Gain ratio: a step below it is refused.
REFUSED_FACTOR = 5.0  # Factor on the damping after a step that was refused.
LEAST_ON = 0.1  # Factor: the smallest on the damping after a step; Nielsen's 1 − (2ϱ − 1)³ above it.

MOST_POLISHING = 60  # Steps after the descent, each clearly shorter than the last.
UNDETERMINED = 1e-12
"""Share of the squares of column norms: of a direction whose σ² is below it the derivative by differences is noise."""
CLEARLY_SHORTER = 0.9  # Share of the length of the last polishing step that the next must stay below.
COST_ROUNDING = 1e-9  # Share of the cost by which a polishing step may raise it: rounding of the cost.


@dataclass(frozen=True)
class BoxState:
    """What the control remembers from step to step.

    Attributes:
        damping: relative to the squares of `scale`.
        scale: the largest norm of each column of B so far, (K,): the units of θ.
    """

    damping: float
    scale: Theta


@dataclass(frozen=True, eq=False)
class BoxControl(Control[BoxState]):
    """`min ‖r + Dv‖² + μ‖Sv‖²` over `lower ≤ θ + v ≤ upper`, S the largest column norms so far.

    The bounded linear problem is solved exactly, by an active-set method (SciPy's `lsq_linear`, "bvls"), so that θ lies
    on a bound to the last digit, or inside of it. No walk bends these steps.

    Attributes:
        lower, upper: bounds of θ, (K,); infinite where there is none.

    Source: Moré (1978) for S, Nielsen (1999) for the damping; Stark & Parker (1995) for the bounded problem.
    """

    lower: Tensor
    upper: Tensor
    attempts: int = field(default=60)

    @property
    def state_type(self) -> type[BoxState]:
        return BoxState

    def begin(self, here: Linearised, damping: Damping | None = None) -> BoxState:
        return BoxState(FIRST_IN_BOX, torch.zeros_like(here.theta))

    def step(self, here: Linearised, walk: Walk, state: BoxState, levels: CostLevels) -> tuple[Trial, BoxState] | None:
        matrix = here.jacobian.dense()
        scale = torch.maximum(state.scale, matrix.norm(dim=0))
        damping = state.damping
        for _ in range(self.attempts):
            theta, predicted = self._inside(here, matrix, scale, damping)
            fall = here.cost - predicted
            if not fall > 0.0 or damping > LARGEST_IN_BOX:
                return None
            cost = here.cost_of(here.residual_at(theta))
            gain = (here.cost - cost) / fall if math.isfinite(cost) else -math.inf
            if gain > LEAST_GAIN:
                following = max(LEAST_IN_BOX, damping * max(LEAST_ON, 1.0 - (2.0 * min(gain, 1.0) - 1.0) ** 3))
                absolute = damping * here.total_square
                return Trial(theta, cost, predicted, absolute, absolute), BoxState(following, scale)
            here.tally["rejections"] += 1
            damping *= REFUSED_FACTOR
        return None

    def restart(self, here: Linearised, count: int) -> BoxState | None:
        return None

    def _inside(self, here: Linearised, matrix: Tensor, scale: Tensor, damping: float) -> tuple[Theta, float]:
        """The point that the bounded linear problem leads to, and the linear model's cost there."""
        step = box_step(matrix, here.residual, (self.lower - here.theta, self.upper - here.theta), scale, damping)
        theta = torch.clamp(here.theta + step, self.lower, self.upper)
        return theta, here.cost_of(here.residual + matrix @ (theta - here.theta))


def box_step(matrix: Tensor, residual: Tensor, room: tuple[Tensor, Tensor], scale: Tensor, damping: float) -> Theta:
    """The v of least `‖r + Dv‖² + μ‖Sv‖²` with `room[0] ≤ v ≤ room[1]`.

    Cost: some active sets, each a least-squares solve of (m + K) × K.
    """
    units = torch.where(scale > 0.0, scale, torch.ones_like(scale)).cpu().numpy()
    low, high = (side.cpu().numpy() * units for side in room)
    movable = high > low
    rows = matrix.cpu().numpy()[:, movable] / units[movable]
    stacked = np.vstack([rows, math.sqrt(damping) * np.eye(rows.shape[1])])
    wanted = np.concatenate([-residual.cpu().numpy(), np.zeros(rows.shape[1])])
    step = np.zeros(len(units))
    step[movable] = _bounded(stacked, wanted, low[movable], high[movable]) / units[movable]
    return torch.from_numpy(step).to(matrix)


def _bounded(matrix: np.ndarray, wanted: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The v of least `‖Av − b‖` with low ≤ v ≤ high: that without bounds, where it keeps them."""
    free: np.ndarray = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    if ((low <= free) & (free <= high)).all():
        return free
    from scipy.optimize import lsq_linear

    inside: np.ndarray = lsq_linear(matrix, wanted, (low, high), method="bvls").x
    return inside


def polished(problem: Problem, theta: Theta, box: tuple[Tensor, Tensor]) -> Theta:
    """θ after undamped steps inside the box, while each is clearly shorter than the last: a cost has as many digits as
    the precision, so any test on it leaves half of θ's undecided.
    """
    lower, upper = box
    best, before = problem.cost(theta), math.inf
    for _ in range(MOST_POLISHING):
        residual, jacobian = problem.linearise(theta)
        matrix = jacobian.dense()
        scale = matrix.norm(dim=0)
        step = box_step(matrix, residual, (lower - theta, upper - theta), scale, UNDETERMINED)
        length = float((scale * step).norm())
        moved = torch.clamp(theta + step, lower, upper)
        if not (length < CLEARLY_SHORTER * before and problem.cost(moved) <= best * (1.0 + COST_ROUNDING)):
            break
        theta, before = moved, length
    return theta
