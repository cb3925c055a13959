"""Natural control: corrections are compared, not costs."""

import math
from dataclasses import dataclass, field

import torch

from geodescent._types import Outputs, Theta
from geodescent.descent._control import Control, CostLevels, Damping, Trial, linear_residual
from geodescent.descent._gain_ratio import GainRatio, GainRatioState
from geodescent.descent._linearised import Linearised
from geodescent.descent._walk import Walk
from geodescent.lift import ROUGH, Damped, Lifted
from geodescent.linalg import norm

BOLD_TO_TIMID = tuple(10.0**power for power in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0))
"""Factors on the damping, in the order in which they are tried."""
RETREAT = 100.0  # Factor on the damping after a round in which none was taken: the next begins where this one ended.
RESTARTS = (1e-3, 1e-6, 1e-9, 1e-12)
"""Shares of ‖B‖_F²: dampings of the returns to the best point. Each sees another valley (docs/decisions.md)."""
LARGEST_BEND = 1.0  # ‖a‖/‖v‖: beyond it the second-order path means nothing.
GUARD = 30.0  # Times the best cost: a step may raise the cost to this, for it crosses a valley's wall and comes back.
GUARD_AT_START = 0.1  # Share of the reference cost that a step may always raise the cost to.
RESOLVED_BENDS = 2.0  # Times ‖a‖/‖v‖: a longer correction is noise, for the path's own error is of higher order.
UNSEEN = 0.03  # Share of ‖v‖: a correction shorter than this is never called noise.
HIGH = 1e-4  # Share of the reference cost: above it the cost is high, and steps may be treated as in noise.
HOPEFUL = 0.99  # Share of C: where even the boldest linear model leaves more, there is no valley to cross.
CLEARLY_LOWER = 0.25  # Share of C: a step that brings the cost below this is taken, whatever its correction says.
EASY = 0.1  # Share of ‖v‖: a correction below it lowers the next damping by as much …
BOLDEST = 0.01  # … down to this factor at most.
LARGEST_DAMPING = 1e2  # Times ‖B‖_F²: more leaves nothing of a step.
CONTRACTION = 0.8  # Share of the last correction that the next chord correction must stay below.
NEGLIGIBLE = 1e-3  # Share of ‖v‖: corrections below it end the chord steps.
RESOLUTION = 1e4  # Times eps²‖B‖_F²: D is known to eps of σ_max at best, with some digits to spare.


@dataclass(frozen=True)
class NaturalState:
    """What natural control remembers: where the next step begins to try."""

    damping: Damping


@dataclass(frozen=True)
class NaturalControl(Control[NaturalState]):
    """Compares corrections, not costs: a step is taken where `‖D_μ(r_new − r_lin)‖ ≤ ϑ‖v‖`, v = −D_μ r.

    Smooth problems are narrow curved valleys; a step that is excellent in θ leaves the floor by a second-order amount
    and raises the cost by orders of magnitude, which the next step takes back. Tests on the cost refuse such steps and
    creep; this one does not see the walls' steepness. Dampings are tried from bold to timid; a step taken is pulled
    back towards r_lin by chord corrections with the same factor. The path is not monotone: the best point is kept.

    The less correction a step asked for, the bolder the next one begins.

    Two things keep it honest. What the correction asks for beyond the path's own bend is rounding, so a correction
    much longer than ‖a‖ is refused. And while the cost is above `patience` of the reference, the damping stays above
    `share·C/C_ref·‖B‖_F²`: bolder steps wander (docs/decisions.md).

    Attributes:
        initial_damping: of the first step, relative to `‖B‖_F²`.
        allowance: ϑ.
        share, patience: of the floor under the damping.
        corrections: at most this many chord steps.
        attempts: rounds of dampings, each a hundred times the last, before giving up.
        descent: takes the step where C is high and the linear model leaves almost all of it, as with noisy data.

    Source: the test is Deuflhard's, *Newton Methods for Nonlinear Problems* (2011), section 3.
    """

    initial_damping: float = 1e-3
    allowance: float = 0.5
    share: float = 1e-7
    patience: float = 1e-13
    corrections: int = 10
    attempts: int = 6
    descent: GainRatio = field(default_factory=GainRatio)

    @property
    def state_type(self) -> type[NaturalState]:
        return NaturalState

    def begin(self, here: Linearised, damping: Damping | None = None) -> NaturalState:
        first = Damping(self.initial_damping * here.total_square, here.total_square)
        return NaturalState(first if damping is None else damping)

    def step(
        self, here: Linearised, walk: Walk, state: NaturalState, levels: CostLevels
    ) -> tuple[Trial, NaturalState] | None:
        trial = self._step(here, walk, state.damping.at(here), levels)
        return None if trial is None else (trial, NaturalState(Damping(trial.next_damping, here.total_square)))

    def restart(self, here: Linearised, count: int) -> NaturalState | None:
        if count >= len(RESTARTS):
            return None
        return NaturalState(Damping(RESTARTS[count] * here.total_square, here.total_square))

    def _step(self, here: Linearised, walk: Walk, damping: float, levels: CostLevels) -> Trial | None:
        first, least = damping, self._least(here, levels)
        boldest = _Solved.at(here, max(least, damping * BOLD_TO_TIMID[0]))
        if self._is_noise(here, boldest, levels):
            return self._descend(here, walk, first)
        for _ in range(self.attempts):
            for tried in dict.fromkeys(max(least, damping * factor) for factor in BOLD_TO_TIMID):
                solved = boldest if tried == boldest.damping else _Solved.at(here, tried)
                trial = self._trial(here, walk, solved, levels)
                if trial is not None:
                    return trial
                here.tally["rejections"] += 1
            damping *= RETREAT
            if damping > LARGEST_DAMPING * here.total_square:
                break
        return self._descend(here, walk, first) if self._is_high(here, levels) else None

    def _least(self, here: Linearised, levels: CostLevels) -> float:
        eps = torch.finfo(here.theta.dtype).eps
        resolved = max(here.prepared.least_damping, RESOLUTION * eps**2 * here.total_square)
        early = levels.best > self.patience * levels.reference
        return max(resolved, self.share * here.cost / levels.reference * here.total_square if early else 0.0)

    def _trial(self, here: Linearised, walk: Walk, solved: "_Solved", levels: CostLevels) -> Trial | None:
        damped, lifted = solved.damped, solved.lifted
        wanted, length = linear_residual(here, lifted, walk.step_size), walk.step_size * norm(lifted.velocity)
        predicted = here.cost_of(wanted)
        moved = walk.displacement(here, damped, lifted)
        if not (math.isfinite(length) and (moved.bend is None or moved.bend <= LARGEST_BEND)):
            return None
        theta = here.theta + moved.theta.to(here.theta.dtype)
        residual = here.residual_at(theta)
        if not here.cost_of(residual) <= max(GUARD * levels.best, GUARD_AT_START * levels.reference):
            return None
        correction = here.lift(damped, wanted - residual, ROUGH).velocity
        asked = norm(correction) / length if length > 0.0 else 0.0
        noise = moved.bend is not None and asked > max(RESOLVED_BENDS * moved.bend, UNSEEN)
        lower = here.cost_of(residual) <= CLEARLY_LOWER * here.cost  # then noise or not, the step is a good one
        if not asked <= self.allowance or (noise and not lower):
            return None
        theta, residual = self._corrected(here, damped, theta, residual, correction, (wanted, length))
        cost = here.cost_of(residual)
        idle = predicted > HOPEFUL * here.cost and not cost < here.cost  # as at the rounding floor, with much damping
        bolder = min(1.0, max(BOLDEST, asked / EASY))
        return None if idle else Trial(theta, cost, predicted, solved.damping, solved.damping * bolder)

    def _is_high(self, here: Linearised, levels: CostLevels) -> bool:
        return here.cost > HIGH * levels.reference

    def _is_noise(self, here: Linearised, boldest: "_Solved", levels: CostLevels) -> bool:
        """Whether C is high and even the boldest linear model leaves almost all of it: no valley to cross."""
        return self._is_high(here, levels) and here.predicted(boldest.lifted) > HOPEFUL * here.cost

    def _descend(self, here: Linearised, walk: Walk, damping: float) -> Trial | None:
        """A step that lowers the cost, by the classical control at the same damping."""
        state = GainRatioState(Damping(damping, here.total_square))
        taken = self.descent.step(here, walk, state, CostLevels(here.cost, here.cost))
        return None if taken is None else taken[0]

    def _corrected(
        self,
        here: Linearised,
        damped: Damped,
        theta: Theta,
        residual: Outputs,
        correction: Theta,
        goal: tuple[Outputs, float],
    ) -> tuple[Theta, Outputs]:
        """Chord steps towards r_lin while each is clearly shorter than the last and not yet negligible."""
        wanted, length = goal
        for _ in range(self.corrections):
            if norm(correction) < NEGLIGIBLE * length:
                break
            nearer = theta + correction.to(theta.dtype)
            residual_nearer = here.residual_at(nearer)
            following = here.lift(damped, wanted - residual_nearer, ROUGH).velocity
            if not norm(following) <= CONTRACTION * norm(correction):
                break
            theta, residual, correction = nearer, residual_nearer, following
            here.tally["corrections"] += 1
        return theta, residual


@dataclass(frozen=True)
class _Solved:
    """The factor at one damping μ, and the lifted −r."""

    damping: float
    damped: Damped
    lifted: Lifted

    @classmethod
    def at(cls, here: Linearised, damping: float) -> "_Solved":
        damped = here.damped(damping)
        return cls(damping, damped, here.lift(damped, -here.residual))
