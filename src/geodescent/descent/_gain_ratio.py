"""The classical control: it compares the fall of the cost with that of the linear model."""

import math
from dataclasses import dataclass, replace

import torch

from geodescent._errors import InputError
from geodescent._settings import BELOW_ONE, POSITIVE, Number, settle
from geodescent._types import Outputs, Theta
from geodescent.descent._best_fraction import best_fraction
from geodescent.descent._control import STATIONARY, Control, CostLevels, Damping, Trial, linear_residual
from geodescent.descent._linearised import Linearised
from geodescent.descent._walk import Walk
from geodescent.lift import SolveGoal

WORTHWHILE = 0.1  # Share of a shortened step's expected fall: it is tried if the whole step misses more of it.
LESS, MORE = 0.5, 2.0
"""Times the fall of ln C of a shortened step, or of a whole one: the next solve may stop there (docs/decisions.md)."""
LOST_IN_ROUNDING = 1e-15  # Share of the cost: float64 does not resolve a smaller predicted fall.
FALL_FACTOR = Number("a factor above 0 and at most 1 is needed", lambda x: 0.0 < x <= 1.0, 0.1)
RISE_FACTOR = Number("a factor above 1 is needed, so that refusals come to an end", lambda x: 1.0 < x < math.inf, 4.0)
LONGEST_BEND = Number("a positive number is needed", lambda x: x > 0.0, 0.375)
RISE_AGAIN = 2.0  # Factor on `rise` after each refusal in a row: 4, 8, 16, … reach the right damping in a few solves.


@dataclass(frozen=True)
class GainRatioState:
    """What the gain ratio remembers.

    Attributes:
        damping: the first that the next step tries.
        near: the velocity of the last iterative solve, (K,), where the next one starts; None after a direct one.
        trust: the fall of ln C up to which the linear model is trusted: an iterative solve may stop there.
    """

    damping: Damping
    near: Theta | None = None
    trust: float = math.inf


@dataclass(frozen=True)
class GainRatio(Control[GainRatioState]):
    """Levenberg–Marquardt's control: the fall of the cost over that of the linear model, `ρ = (C − C_new)/(C − C_lin)`.

    A step is taken where ρ > `accept`. The damping is multiplied by `max(fall, 1 − (2ρ − 1)³)` after it, and by
    `rise`, 2·`rise`, 4·`rise`, … after refusals in a row. A straight step is shortened to the fraction with the least
    expected cost (`best_fraction`) where that is clearly lower: one more forward pass, where a refusal takes another
    solve. After a shortened step the damping is multiplied by `rise`.

    Iterative solves start from the velocity of the last one, of this step or of the one before. After a shortened step
    the next solve stops at half of the fall of that step, `trust = ½ ln C/C_new`, and after later whole steps at twice
    the fall predicted: where the linear model does not hold, solving it more exactly gains nothing.

    Attributes:
        initial_damping, least_damping, largest_damping: relative to `‖B‖_F²/m`.
        accept: the least ρ of a step that is taken.
        fall, rise: of the damping.
        largest_bend: ‖a‖/‖v‖ above which a step along the geodesic is refused.

    Source: Nielsen, *Damping parameter in Marquardt's method* (1999), with `fall` = 1/10 for his 1/3
    (docs/decisions.md). The bound on the bend is Transtrum & Sethna's.
    """

    initial_damping: float = 1e-3
    least_damping: float = 1e-16
    largest_damping: float = 1e12
    accept: float = 1e-4
    fall: float = 0.1
    rise: float = 4.0
    largest_bend: float = 0.375

    def __post_init__(self) -> None:
        settle(self, initial_damping=POSITIVE.such_as(1e-3), least_damping=POSITIVE.such_as(1e-16))
        settle(self, largest_damping=POSITIVE.such_as(1e12), accept=BELOW_ONE.such_as(1e-4))
        settle(self, fall=FALL_FACTOR, rise=RISE_FACTOR, largest_bend=LONGEST_BEND)
        if not self.least_damping <= self.initial_damping <= self.largest_damping:
            raise InputError(
                f"initial_damping = {self.initial_damping} does not lie between least_damping = {self.least_damping} "
                f"and largest_damping = {self.largest_damping}: pass three numbers in this order, for example "
                "gd.GainRatio(initial_damping=1e-3, least_damping=1e-16, largest_damping=1e12)."
            )

    @property
    def state_type(self) -> type[GainRatioState]:
        return GainRatioState

    def begin(self, here: Linearised, damping: Damping | None = None) -> GainRatioState:
        first = Damping(self.initial_damping * here.prepared.mean_square, here.total_square)
        return GainRatioState(first if damping is None else damping)

    def step(
        self, here: Linearised, walk: Walk, state: GainRatioState, levels: CostLevels
    ) -> tuple[Trial, GainRatioState] | None:
        damping, rise, near = state.damping.at(here), self.rise, state.near
        while damping <= self.largest_damping * here.prepared.mean_square:
            tried = self._try(here, walk, damping, SolveGoal(start=near, fall=state.trust))
            fall = here.cost - tried.whole.predicted
            if tried.converged and fall <= STATIONARY * here.cost and self._is_over(here, fall):
                return None
            if not tried.bent and tried.best.gain_ratio(here.cost) > self.accept:
                return self._taken(here, tried, state.trust)
            damping, rise, near = damping * rise, RISE_AGAIN * rise, tried.following
            here.tally["rejections"] += 1
        return None

    def restart(self, here: Linearised, count: int) -> GainRatioState | None:
        return None

    def after(self, here: Linearised, ratio: float, damping: float) -> float:
        """The damping after a step of this gain ratio."""
        least = self.least_damping * here.prepared.mean_square
        return max(least, damping * max(self.fall, 1.0 - (2.0 * min(ratio, 1.0) - 1.0) ** 3))

    def _taken(self, here: Linearised, tried: "_Tried", trust: float) -> tuple[Trial, GainRatioState]:
        """The step, and the state for the next one."""
        best, whole = tried.best, tried.whole
        if best is whole:
            following = self.after(here, best.gain_ratio(here.cost), best.damping)
            trust = trust if math.isinf(trust) else MORE * _fall(here.cost, whole.predicted)
        else:
            following, trust = best.damping * self.rise, LESS * _fall(here.cost, best.cost)
        state = GainRatioState(Damping(following, here.total_square), tried.following, trust)
        return replace(best, next_damping=following), state

    def _try(self, here: Linearised, walk: Walk, damping: float, goal: SolveGoal) -> "_Tried":
        damped = here.damped(damping)
        lifted = here.lift(damped, -here.residual, goal)
        moved = walk.displacement(here, damped, lifted)
        wanted = linear_residual(here, lifted, walk.step_size)
        following = None if here.prepared.exact else lifted.velocity

        def trial(t: float) -> tuple[Trial, Outputs]:
            theta = here.settled(here.theta + (t * moved.theta).to(here.theta.dtype))
            residual = here.residual_at(theta)
            predicted = here.cost_of(torch.lerp(here.residual, wanted, t))
            return Trial(theta, here.cost_of(residual), predicted, damping, damping), residual

        whole, residual = trial(1.0)
        if moved.bend is not None:
            return _Tried(whole, whole, following, lifted.converged, bent=moved.bend > self.largest_bend)
        t, left = best_fraction(here.residual, wanted - here.residual, residual)
        expected = left / (2.0 * here.problem.n_samples)
        worth = whole.cost - expected > WORTHWHILE * (here.cost - expected)
        best = min(whole, trial(t)[0], key=lambda trial: trial.cost) if worth else whole
        return _Tried(whole, best, following, lifted.converged, bent=False)

    def _is_over(self, here: Linearised, fall: float) -> bool:
        """Whether the least damping predicts no larger fall either."""
        if fall <= LOST_IN_ROUNDING * here.cost:
            return True
        lifted = here.lift(here.damped(self.least_damping * here.prepared.mean_square), -here.residual)
        return lifted.converged and here.cost - here.predicted(lifted) <= STATIONARY * here.cost


@dataclass(frozen=True)
class _Tried:
    """A step, the part of it to take, where the next solve may begin, whether the solve converged, and whether the
    path bends too much."""

    whole: Trial
    best: Trial
    following: Theta | None
    converged: bool
    bent: bool


def _fall(before: float, after: float) -> float:
    """The fall of ln C."""
    return math.log(before / after) if after > 0.0 else math.inf
