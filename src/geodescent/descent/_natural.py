"""Natural control: it compares corrections, lengths in θ, instead of costs."""

import math
from dataclasses import dataclass, field, replace

import torch

from geodescent._deadline import SOLVE_SHARE, Allowance
from geodescent._settings import NOT_NEGATIVE, POSITIVE, Whole, settle
from geodescent._types import Outputs, Theta
from geodescent.descent._control import Control, CostLevels, Damping, Trial, linear_residual
from geodescent.descent._gain_ratio import GainRatio, GainRatioState
from geodescent.descent._linearised import Linearised
from geodescent.descent._parts import require_part
from geodescent.descent._walk import Walk
from geodescent.lift import ROUGH, Damped, Lifted

FIRST_TRIED = 0.1  # Factor on the damping that the last step advises: the first one that is tried.
FACTORS = tuple(10.0**power for power in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0))
"""Factors on the first damping, in the order in which they are tried: from long steps to short ones."""
RETREAT = 10.0**3.5  # Factor on the dampings after a round without a step: the next ones follow on the largest tried.
AMBITION = 1e-6  # Share of C: away from the best point, a step need not aim below it.
RAISES = 4  # The largest number of solves with more damping, until the linear model leaves about `AMBITION·C`.
LEAST_RAISE = 3.0  # Factor on the damping: a smaller one is not worth a factorisation.
RESTARTS = (1e-3, 1e-6, 1e-9, 1e-12)
"""Shares of ‖B‖_F²: dampings of restarts from the best point, which lead to different valleys (docs/decisions.md)."""
LARGEST_BEND = 1.0  # ‖a‖/‖v‖: above it the second-order path is no approximation.
RESOLVED_BENDS = 2.0  # Times ‖a‖/‖v‖: a longer correction is rounding, as the error of the path is of higher order.
NEVER_NOISE = 0.03  # Share of ‖v‖: a correction shorter than this is never considered rounding.
HIGH = 1e-4  # Share of the reference cost: above it the residual may be noise in the data.
NO_GAIN = 0.99  # Share of C: where the linear model with the least damping leaves more, the residual looks like noise.
CLEARLY_LOWER = 0.25  # Share of C: a step that brings the cost below this is not refused as rounding.
SHORT_CORRECTION = 0.1  # Share of ‖v‖: a shorter correction lowers the next damping in proportion to its length.
LEAST_FACTOR_ON = 0.01  # Factor: the smallest by which a short correction lowers the next damping.
LARGEST_DAMPING = 1e2  # Times ‖B‖_F²: a step with more damping hardly moves θ.
CONTRACTION = 0.8  # Share of the last correction that the next chord correction must stay below.
NEGLIGIBLE = 1e-3  # Share of ‖v‖: corrections below it end the chord steps.
RESOLUTION = 1e4  # Times eps²‖B‖_F²: the least damping, with a margin, as D is known to eps·σ_max at best.


@dataclass(frozen=True)
class NaturalState:
    """What natural control remembers: the damping to which the next step applies `FACTORS`."""

    damping: Damping


@dataclass(frozen=True)
class NaturalControl(Control[NaturalState]):
    """Compares corrections, not costs: a step is taken where `‖D_μ(r_new − r_lin)‖ ≤ ϑ‖v‖`, v = −D_μ r.

    The cost of a smooth problem has narrow curved valleys. A long step that ends near the valley's floor, but not on
    it, can raise the cost by orders of magnitude, and the next step takes that back; a test on the cost would refuse it
    and take many short steps instead. The correction, a length in θ, does not depend on how steep the valley is.
    Dampings are tried from small to large. A step that is taken is pulled back towards r_lin by chord corrections with
    the same factor. The cost can rise: the best point is kept. The shorter the correction of a step, the less
    damping the next one tries first. Where the cost stands above the best one, the next step returns to the floor of
    the valley before it goes on along it: it takes the largest damping whose linear model leaves no more than a small
    share of C.

    Two safeguards: a correction much longer than the bend ‖a‖ of the path is rounding, and refused; and while the best
    cost is above `patience` times the reference cost C_ref, the damping stays above `share·C/C_ref·‖B‖_F²`, because
    steps with less make no lasting progress (docs/decisions.md).

    Attributes:
        initial_damping: of the first step, relative to `‖B‖_F²`.
        allowance: ϑ.
        share, patience: factors of the second safeguard.
        corrections: the largest number of chord corrections.
        attempts: the largest number of rounds of dampings, each of which follows on the last.
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

    def __post_init__(self) -> None:
        settle(self, initial_damping=POSITIVE.such_as(1e-3), allowance=POSITIVE.such_as(0.5))
        settle(self, share=NOT_NEGATIVE, patience=NOT_NEGATIVE)
        settle(self, corrections=Whole(10), attempts=Whole(6, least=1))
        require_part(self.descent, GainRatio, "descent", "gd.GainRatio()")

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
        least = self._least(here, levels)
        lowest = _Solved.at(here, max(least, damping * FIRST_TRIED))
        if self._is_noise(here, lowest, levels):
            return self._descend(here, walk, damping)
        longest = lowest if here.cost <= levels.best else self._modest(here, lowest)
        first = longest.damping
        for _ in range(self.attempts):
            for tried in dict.fromkeys(max(least, first * factor) for factor in FACTORS):
                solved = longest if tried == longest.damping else _Solved.at(here, tried)
                trial = self._trial(here, walk, solved, levels)
                if trial is not None:
                    between = math.sqrt(trial.next_damping * damping) if longest is not lowest else math.inf
                    return replace(trial, next_damping=min(trial.next_damping, between))
                here.tally["rejections"] += 1
            first *= RETREAT
            if first > LARGEST_DAMPING * here.total_square:
                break
        return self._descend(here, walk, damping) if self._is_high(here, levels) else None

    def _modest(self, here: Linearised, solved: "_Solved") -> "_Solved":
        """The solve with so much more damping that the linear model leaves up to `AMBITION·C`.

        With damping ν > μ it leaves at most (ν/μ)² times what it leaves with μ.
        """
        for _ in range(RAISES):
            predicted = max(here.predicted(solved.lifted), torch.finfo(torch.float64).tiny)
            factor = math.sqrt(AMBITION * here.cost / predicted)
            raised = min(solved.damping * factor, self.initial_damping * here.total_square)
            if not raised >= LEAST_RAISE * solved.damping:
                break
            solved = _Solved.at(here, raised)
        return solved

    def _least(self, here: Linearised, levels: CostLevels) -> float:
        eps = torch.finfo(here.theta.dtype).eps
        resolved = max(here.prepared.least_damping, RESOLUTION * eps**2 * here.total_square)
        early = levels.best > self.patience * levels.reference
        return max(resolved, self.share * here.cost / levels.reference * here.total_square if early else 0.0)

    def _trial(self, here: Linearised, walk: Walk, solved: "_Solved", levels: CostLevels) -> Trial | None:
        damped, lifted = solved.damped, solved.lifted
        linear = linear_residual(here, lifted, walk.step_size)
        length = walk.step_size * here.length(lifted.velocity)
        predicted = here.cost_of(linear)
        moved = walk.displacement(here, damped, lifted)
        if not (math.isfinite(length) and (moved.bend is None or moved.bend <= LARGEST_BEND)):
            return None
        theta = here.settled(here.theta + moved.theta.to(here.theta.dtype))
        residual = here.residual_at(theta)
        if not here.cost_of(residual) <= levels.highest:
            return None
        correction = here.lift(damped, linear - residual, ROUGH).velocity
        relative = here.length(correction) / length if length > 0.0 else 0.0
        noise = moved.bend is not None and relative > max(RESOLVED_BENDS * moved.bend, NEVER_NOISE)
        lower = here.cost_of(residual) <= CLEARLY_LOWER * here.cost
        if not relative <= self.allowance or (noise and not lower):
            return None
        theta, residual = self._corrected(here, damped, theta, residual, correction, (linear, length))
        cost = here.cost_of(residual)
        idle = predicted > NO_GAIN * here.cost and not cost < here.cost  # for example at the rounding floor
        fall = min(1.0, max(LEAST_FACTOR_ON, relative / SHORT_CORRECTION))
        return None if idle else Trial(theta, cost, predicted, solved.damping, solved.damping * fall)

    def _is_high(self, here: Linearised, levels: CostLevels) -> bool:
        return here.cost > HIGH * levels.reference

    def _is_noise(self, here: Linearised, longest: "_Solved", levels: CostLevels) -> bool:
        """Whether C is high and the linear model with the least damping leaves almost all of it."""
        return self._is_high(here, levels) and here.predicted(longest.lifted) > NO_GAIN * here.cost

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
        (linear, length), allowed = goal, Allowance(SOLVE_SHARE)
        for _ in range(self.corrections):
            if here.length(correction) < NEGLIGIBLE * length or allowed.is_spent:
                break
            nearer = here.settled(theta + correction.to(theta.dtype))
            residual_nearer = here.residual_at(nearer)
            following = here.lift(damped, linear - residual_nearer, ROUGH).velocity
            if not here.length(following) <= CONTRACTION * here.length(correction):
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
