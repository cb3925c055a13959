"""Natural control: corrections are compared, not costs."""

import math
from dataclasses import dataclass, field, replace

import torch

from geodescent._types import Outputs, Theta
from geodescent.descent._control import Standing, Trial, aim
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._walk import Walk
from geodescent.lift import ROUGH, Damped, Lifted
from geodescent.linalg import norm

BOLD_TO_TIMID = tuple(10.0**power for power in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0))
RETREAT = 100.0
RESTARTS = (1e-3, 1e-6, 1e-9, 1e-12)  # dampings of the returns to the best point; a later one sees another valley
LARGEST_BEND = 1.0  # ‖a‖/‖v‖: beyond it the second-order path means nothing
RESOLVED_BENDS, UNSEEN = 2.0, 0.03  # a correction longer than both is noise: the path's own error is of higher order
HIGH, HOPEFUL = 1e-4, 0.99  # of the reference; of C: what the linear model leaves where there is no valley to cross
CLEARLY_LOWER = 0.25
EASY, BOLDEST = 0.1, 0.01  # a correction below this share of ‖v‖ lowers the next damping by as much, to 1/100 at most
LARGEST_DAMPING = 1e2  # of the trace: more leaves nothing of a step
CONTRACTION, NEGLIGIBLE = 0.8, 1e-3
ROUNDING = 1e4  # times eps²: D is known to eps of σ_max at best, with some digits to spare


@dataclass(frozen=True)
class NaturalControl:
    """Compares corrections, not costs: a step is taken where `‖D_μ(r_new − r_lin)‖ ≤ ϑ‖v‖`, v = −D_μ r.

    Smooth problems are narrow curved valleys; a step that is excellent in θ leaves the floor by a second-order amount
    and raises the cost by orders of magnitude, which the next step takes back. Tests on the cost refuse such steps and
    creep; this one does not see the walls' steepness. Dampings are tried from bold to timid; a step taken is pulled
    back towards r_lin by chord corrections with the same factor. The path is not monotone: the best point is kept.

    The less correction a step asked for, the bolder the next one begins.

    Two things keep it honest. What the correction asks for beyond the path's own bend is rounding, so a correction
    much longer than ‖a‖ is refused. And while the cost is above `patience` of the reference, the damping stays above
    `share·C/C_ref`: bolder steps wander (docs/decisions.md).

    Dampings are relative to `‖B‖_F²`.

    Attributes:
        initial_damping: of the first step.
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

    def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
        damping, least = standing.damping, self._least(here, standing)
        boldest = _Solved.at(here, max(least, damping * BOLD_TO_TIMID[0]))
        if self._is_noise(here, boldest, standing):
            return self._descend(here, walk, damping)
        for _ in range(self.attempts):
            for relative in dict.fromkeys(max(least, damping * factor) for factor in BOLD_TO_TIMID):
                solved = boldest if relative == boldest.relative else _Solved.at(here, relative)
                trial = self._trial(here, walk, solved, standing)
                if trial is not None:
                    return trial
                here.tally["rejections"] += 1
            damping *= RETREAT
            if damping > LARGEST_DAMPING:
                break
        return self._descend(here, walk, standing.damping) if self._is_high(here, standing) else None

    def restart(self, here: Linearised, count: int) -> float | None:
        return RESTARTS[count] if count < len(RESTARTS) else None

    def _least(self, here: Linearised, standing: Standing) -> float:
        eps = torch.finfo(here.theta.dtype).eps
        resolved = max(here.prepared.least_damping / here.trace, ROUNDING * eps**2)
        early = standing.best_cost > self.patience * standing.reference_cost
        return max(resolved, self.share * here.cost / standing.reference_cost if early else 0.0)

    def _trial(self, here: Linearised, walk: Walk, solved: "_Solved", standing: Standing) -> Trial | None:
        damped, lifted = solved.damped, solved.lifted
        wanted, length = aim(here, lifted, walk.step_size), walk.step_size * norm(lifted.velocity)
        predicted = here.cost_of(wanted)
        moved = walk.displacement(here, damped, lifted)
        if not (math.isfinite(length) and (moved.bend is None or moved.bend <= LARGEST_BEND)):
            return None
        theta = here.theta + moved.theta.to(here.theta.dtype)
        residual = here.residual_at(theta)
        if not here.cost_of(residual) <= max(30.0 * standing.best_cost, 0.1 * standing.reference_cost):
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
        return None if idle else Trial(theta, cost, predicted, solved.relative * here.trace, solved.relative * bolder)

    def _is_high(self, here: Linearised, standing: Standing) -> bool:
        return here.cost > HIGH * standing.reference_cost

    def _is_noise(self, here: Linearised, boldest: "_Solved", standing: Standing) -> bool:
        """Whether C is high and even the boldest linear model leaves almost all of it: no valley to cross."""
        return self._is_high(here, standing) and here.predicted(boldest.lifted) > HOPEFUL * here.cost

    def _descend(self, here: Linearised, walk: Walk, damping: float) -> Trial | None:
        """A step that lowers the cost, by the classical control at the same absolute damping."""
        unit = float(len(here.residual))  # of this control's dampings in the other's
        trial = self.descent.step(here, walk, Standing(damping * unit, here.cost, here.cost))
        return None if trial is None else replace(trial, next_damping=trial.next_damping / unit)

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
    """The factor at one damping, relative to `‖B‖_F²`, and the lifted −r."""

    relative: float
    damped: Damped
    lifted: Lifted

    @classmethod
    def at(cls, here: Linearised, relative: float) -> "_Solved":
        damped = here.damped(relative * here.trace)
        return cls(relative, damped, here.lift(damped, -here.residual))
