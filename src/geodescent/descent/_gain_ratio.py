"""The classical control: the cost's fall against the linear model's."""

import math
from dataclasses import dataclass, replace

import torch

from geodescent._types import Outputs
from geodescent.descent._control import STATIONARY, Control, Standing, Trial, aim
from geodescent.descent._linearised import Linearised
from geodescent.descent._ray import least_on_ray
from geodescent.descent._walk import Walk
from geodescent.lift import Hints

WORTHWHILE = 0.1  # of the fall: what another point on the ray must promise to be worth a forward pass
LESS, MORE = 0.5, 2.0  # of what a step brought, or promised: where the next solve may stop (docs/decisions.md)
LOST = 1e-15  # a promised fall below this share of the cost is lost in rounding


@dataclass(frozen=True)
class GainRatio(Control):
    """Levenberg–Marquardt's control: the cost's fall against the linear model's, `ρ = (C − C_new)/(C − C_lin)`.

    A step is taken where ρ > `accept`. The damping is multiplied by `max(fall, 1 − (2ρ − 1)³)` after it, and by
    `rise`, 2·`rise`, 4·`rise`, … after refusals in a row. Of a straight step the part is taken where the cost is least,
    by its slope and its end (`least_on_ray`), a forward pass more where a refusal costs another solve; after it the
    damping is multiplied by `rise`. Dampings are relative to `‖B‖_F²/m`.

    Iterative solves begin where the last one, of this step or of the one before, ended. After a shortened step the
    next solve is content with half of what that one brought, `trust = ½ ln C/C_new`, and after a whole one with twice
    what it promised: a model that does not hold is not worth solving further.

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

    def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
        damping, rise, near = standing.damping, self.rise, standing.momentum
        while damping <= self.largest_damping:
            tried = self._try(here, walk, damping, Hints(near=near, fall=standing.trust))
            promised = here.cost - tried.whole.predicted
            if tried.converged and promised <= STATIONARY * here.cost and self._is_over(here, promised):
                return None
            if not tried.bent and tried.best.gain_ratio(here.cost) > self.accept:
                return self._taken(tried, here.cost, damping, standing.trust)
            damping, rise, near = damping * rise, 2.0 * rise, tried.whole.momentum
            here.tally["rejections"] += 1
        return None

    def restart(self, here: Linearised, count: int) -> float | None:
        return None

    def after(self, ratio: float, damping: float) -> float:
        """The damping after a step of this gain ratio."""
        return max(self.least_damping, damping * max(self.fall, 1.0 - (2.0 * min(ratio, 1.0) - 1.0) ** 3))

    def _taken(self, tried: "_Tried", cost: float, damping: float, trust: float) -> Trial:
        """The step, with what it leaves for the next."""
        best, whole = tried.best, tried.whole
        if best is not whole:
            return replace(best, next_damping=damping * self.rise, trust=LESS * _fall(cost, best.cost))
        trust = trust if math.isinf(trust) else MORE * _fall(cost, whole.predicted)
        return replace(best, next_damping=self.after(best.gain_ratio(cost), damping), trust=trust)

    def _try(self, here: Linearised, walk: Walk, damping: float, hints: Hints) -> "_Tried":
        absolute = damping * here.prepared.scale
        damped = here.damped(absolute)
        lifted = here.lift(damped, -here.residual, hints)
        moved = walk.displacement(here, damped, lifted)
        wanted = aim(here, lifted, walk.step_size)
        following = None if here.prepared.direct else lifted.velocity

        def trial(t: float) -> tuple[Trial, Outputs]:
            theta = here.theta + (t * moved.theta).to(here.theta.dtype)
            residual = here.residual_at(theta)
            predicted = here.cost_of(torch.lerp(here.residual, wanted, t))
            return Trial(theta, here.cost_of(residual), predicted, absolute, damping, following), residual

        whole, residual = trial(1.0)
        if moved.bend is not None:
            return _Tried(whole, whole, lifted.converged, bent=moved.bend > self.largest_bend)
        t, left = least_on_ray(here.residual, wanted - here.residual, residual)
        expected = left / (2.0 * here.problem.n_samples)
        worth = whole.cost - expected > WORTHWHILE * (here.cost - expected)
        best = min(whole, trial(t)[0], key=lambda trial: trial.cost) if worth else whole
        return _Tried(whole, best, lifted.converged, bent=False)

    def _is_over(self, here: Linearised, promised: float) -> bool:
        """Whether less damping would promise no more."""
        if promised <= LOST * here.cost:
            return True
        lifted = here.lift(here.damped(self.least_damping * here.prepared.scale), -here.residual)
        return lifted.converged and here.cost - here.predicted(lifted) <= STATIONARY * here.cost


@dataclass(frozen=True)
class _Tried:
    """A step, the part of it to take, whether the solve converged, and whether the path bends too much."""

    whole: Trial
    best: Trial
    converged: bool
    bent: bool


def _fall(before: float, after: float) -> float:
    """Of ln C."""
    return math.log(before / after) if after > 0.0 else math.inf
