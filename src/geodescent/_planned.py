"""The plan of a descent: which control and walk go with which solves, and when inexact ones have done their part."""

from dataclasses import dataclass, field, replace

from geodescent._control import Control, Opened, Standing, Trial
from geodescent._gain_ratio import GainRatio
from geodescent._iterations import SEEN, STEP_ITERATIONS
from geodescent._lift import Damped, Lifted, Opening
from geodescent._linearised import Linearised
from geodescent._natural import NaturalControl
from geodescent._walk import Displacement, EulerWalk, GeodesicWalk, Walk

EXACT_FALL = 100.0  # of C: what an exact step is expected to bring
HIGH, SLOW = 1e-2, 10.0  # of the reference: above it exact steps are slow too, and so many of them are needed for that


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

    The natural test takes small differences of solves, which a conjugate gradient of two digits does not have. Where
    both kinds are to be had, a descent opens with inexact solves, which far from the minimum bring as much for a small
    part of the price; it goes over to exact ones, for good, when as many iterations as an exact step costs have not
    brought the tenth of the cost that such a step is expected to bring.
    """

    direct: Control = field(default_factory=NaturalControl)
    iterative: Control = field(default_factory=GainRatio)
    initial_damping: float = 1e-3

    def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
        opening = here.prepared.opening
        if opening is None or standing.opening is None:
            return self._chosen(here).step(here, walk, standing)
        return self._opened(here, walk, standing, opening, standing.opening)

    def restart(self, here: Linearised, count: int) -> float | None:
        return self._chosen(here).restart(here, count)

    def _chosen(self, here: Linearised) -> Control:
        return self.direct if here.prepared.direct else self.iterative

    def _opened(
        self, here: Linearised, walk: Walk, standing: Standing, opening: Opening, opened: Opened
    ) -> Trial | None:
        """An inexact step; an exact one where there is none to speak of."""
        spent = -_spent(here)
        trial = self.iterative.step(replace(here, prepared=opening.prepared), walk, standing)
        unit = float(len(here.residual))  # of the iterative control's dampings in the other's
        if trial is None or trial.predicted > (1.0 - SEEN) * here.cost:
            return self.direct.step(here, walk, replace(standing, damping=standing.damping / unit))
        spent += opened.iterations + _spent(here)
        if spent < opening.worth * (SLOW if trial.cost > HIGH * standing.reference_cost else 1.0):
            return replace(trial, opening=replace(opened, iterations=spent))
        if trial.cost <= opened.cost / EXACT_FALL:
            return replace(trial, opening=Opened(trial.cost))
        return replace(trial, next_damping=trial.next_damping / unit, momentum=None)


def _spent(here: Linearised) -> float:
    """All iterations so far, and what else their steps and trials cost."""
    return here.tally["iterations"] + STEP_ITERATIONS * here.tally["factors"]
