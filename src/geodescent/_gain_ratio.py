"""The classical control: the cost's fall against the linear model's."""

import math
from dataclasses import dataclass, replace

import torch

from geodescent._control import STATIONARY, Control, Standing, Trial, aim
from geodescent._linearised import Linearised
from geodescent._types import Theta
from geodescent._walk import Walk

LOST = 1e-15  # a promised fall below this share of the cost is lost in rounding


@dataclass(frozen=True)
class GainRatio(Control):
    """Levenberg–Marquardt's control: the cost's fall against the linear model's, `ρ = (C − C_new)/(C − C_lin)`.

    A step is taken where ρ > `accept`. The damping is multiplied by `max(fall, 1 − (2ρ − 1)³)` after it, and by
    `rise`, 2·`rise`, 4·`rise`, … after refusals in a row. Dampings are relative to `‖B‖_F²/m`. Iterative solves begin
    where the last one, of this step or of the one before, ended.

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
            trial, converged, bent = self._trial(here, walk, damping, near)
            promised = here.cost - trial.predicted
            if converged and promised <= STATIONARY * here.cost and self._is_over(here, promised):
                return None
            ratio = trial.gain_ratio(here.cost)
            if ratio > self.accept and not bent:
                return replace(trial, next_damping=self.after(ratio, damping))
            damping, rise, near = damping * rise, 2.0 * rise, trial.momentum
            here.tally["rejections"] += 1
        return None

    def restart(self, here: Linearised, count: int) -> float | None:
        return None

    def after(self, ratio: float, damping: float) -> float:
        """The damping after a step of this gain ratio."""
        return max(self.least_damping, damping * max(self.fall, 1.0 - (2.0 * min(ratio, 1.0) - 1.0) ** 3))

    def _trial(self, here: Linearised, walk: Walk, damping: float, near: Theta | None) -> tuple[Trial, bool, bool]:
        absolute = damping * here.prepared.scale
        damped = here.damped(absolute)
        lifted = here.lift(damped, -here.residual, near=near)
        moved = walk.displacement(here, damped, lifted)
        theta = here.theta + moved.theta.to(here.theta.dtype)
        cost = here.cost_of(here.residual_at(theta)) if bool(torch.isfinite(theta).all()) else math.inf
        bent = moved.bend is not None and moved.bend > self.largest_bend
        predicted = here.cost_of(aim(here, lifted, walk.step_size))
        following = None if here.prepared.direct else lifted.velocity
        return Trial(theta, cost, predicted, absolute, damping, following), lifted.converged, bent

    def _is_over(self, here: Linearised, promised: float) -> bool:
        """Whether less damping would promise no more."""
        if promised <= LOST * here.cost:
            return True
        lifted = here.lift(here.damped(self.least_damping * here.prepared.scale), -here.residual)
        return lifted.converged and here.cost - here.predicted(lifted) <= STATIONARY * here.cost
