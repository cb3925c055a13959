"""The plan of a descent: which control and walk go with which solves, and when inexact ones have done their part."""

import math
from dataclasses import dataclass, field, replace

from geodescent.descent._control import Control, Standing, Trial
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._natural import NaturalControl
from geodescent.descent._walk import Displacement, EulerWalk, GeodesicWalk, Walk
from geodescent.lift import Damped, Lifted, Opening
from geodescent.linalg import SEEN, STEP_ITERATIONS

VALLEY = 1e-3  # of the reference: below it exact steps converge fast (docs/decisions.md)
LONG = 10.0  # exact steps: what an opening may cost


@dataclass(frozen=True)
class PlannedWalk:
    """`GeodesicWalk` where solves are exact and the bend costs next to nothing, `EulerWalk` where it costs a solve."""

    step_size: float = 1.0

    def displacement(self, here: Linearised, damped: Damped, lifted: Lifted) -> Displacement:
        walk = GeodesicWalk(self.step_size) if here.prepared.direct else EulerWalk(self.step_size)
        return walk.displacement(here, damped, lifted)


@dataclass(frozen=True)
class PlannedControl:
    """Natural control where solves are exact to rounding, the gain ratio where they are iterative.

    The natural test lifts what a step missed of the linear model's residual, a small difference that an inexact solve
    does not know to a digit. Where both kinds are to be had, a descent opens with inexact solves, which far from the
    minimum bring as much for a small part of the price. It goes over to exact ones, for good, at `VALLEY` of the
    reference cost, from where these converge fast and inexact ones leave ever more of what is hard to reach; or when
    the opening has cost as much as `LONG` exact steps.
    """

    direct: Control = field(default_factory=NaturalControl)
    iterative: Control = field(default_factory=GainRatio)
    initial_damping: float = 1e-3

    def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
        opening = here.prepared.opening
        if opening is None and standing.opening and here.prepared.direct:  # a batch too small to open on
            standing = replace(standing, damping=standing.damping / len(here.residual))
        if opening is None or standing.opening is None:
            return self._chosen(here).step(here, walk, standing)
        return self._open(here, walk, standing, opening, standing.opening)

    def restart(self, here: Linearised, count: int) -> float | None:
        return self._chosen(here).restart(here, count)

    def _chosen(self, here: Linearised) -> Control:
        return self.direct if here.prepared.direct else self.iterative

    def _open(self, here: Linearised, walk: Walk, standing: Standing, opening: Opening, spent: float) -> Trial | None:
        """An inexact step; an exact one where there is none to speak of."""
        before = _spent(here)
        trial = self.iterative.step(replace(here, prepared=opening.prepared), walk, standing)
        unit = float(len(here.residual))  # of the iterative control's dampings in the other's
        if trial is None or trial.predicted > (1.0 - SEEN) * here.cost:
            return self.direct.step(here, walk, replace(standing, damping=standing.damping / unit))
        spent += _spent(here) - before
        if trial.cost > VALLEY * standing.reference_cost and spent < LONG * opening.worth:
            return replace(trial, opening=spent)
        return replace(trial, next_damping=trial.next_damping / unit, momentum=None, trust=math.inf)


def _spent(here: Linearised) -> float:
    """All iterations so far, and what else their steps and trials cost."""
    return here.tally["iterations"] + STEP_ITERATIONS * here.tally["factors"]
