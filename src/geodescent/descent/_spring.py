"""Mini-batches: SPRING, a damped step on each batch that keeps what earlier batches determined."""

import math
from dataclasses import dataclass, field, replace

import torch

from geodescent._settings import BELOW_ONE, settle
from geodescent._types import Theta
from geodescent.descent._control import Control, CostLevels, Damping, Trial
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._parts import require_part
from geodescent.descent._walk import Walk


@dataclass(frozen=True)
class SpringState:
    """What SPRING remembers.

    Attributes:
        damping: the first that the next step tries.
        momentum: φ, (K,), or None before the first step.
        steps: taken so far.
    """

    damping: Damping
    momentum: Theta | None = None
    steps: int = 0


@dataclass(frozen=True)
class Spring(Control[SpringState]):
    """`ζ = −r − βDφ`, `φ ← βφ + D_μ ζ`, `θ ← θ + hφ/√(1 − β^{2k})`, r and D of the step's own batch.

    φ minimises `‖r + Dφ'‖² + μ‖φ' − βφ‖²`: the batch is fitted with a small change of βφ, so that what
    earlier batches determined is kept. The damping follows the gain ratio on the batch itself; a step that
    raises the batch's cost is taken again with more, and without the momentum.

    Attributes:
        momentum: β in [0, 1).
        rule: how the gain ratio sets the damping; its numbers are relative to `‖B‖_F²/m`.

    Source: arXiv:2505.12149, whose λ is our μ divided by the batch's size.
    """

    momentum: float = 0.5
    rule: GainRatio = field(default_factory=lambda: GainRatio(least_damping=1e-12, largest_damping=1e6))

    def __post_init__(self) -> None:
        settle(self, momentum=BELOW_ONE)
        require_part(self.rule, GainRatio, "rule", "gd.GainRatio()")

    @property
    def state_type(self) -> type[SpringState]:
        return SpringState

    def begin(self, here: Linearised, damping: Damping | None = None) -> SpringState:
        return SpringState(self.rule.begin(here, damping).damping)

    def step(
        self, here: Linearised, walk: Walk, state: SpringState, levels: CostLevels
    ) -> tuple[Trial, SpringState] | None:
        damping, phi, count = state.damping.at(here), state.momentum, state.steps + 1
        while damping <= self.rule.largest_damping * here.prepared.mean_square:
            trial, following = self._trial(here, walk, damping, phi, count)
            ratio = trial.gain_ratio(here.cost)
            if ratio > self.rule.accept:
                trial = replace(trial, next_damping=self.rule.after(here, ratio, damping))
                return trial, SpringState(Damping(trial.next_damping, here.total_square), following, count)
            here.tally["rejections"] += 1
            phi, damping = None, damping * self.rule.rise
        return None

    def restart(self, here: Linearised, count: int) -> SpringState | None:
        return None

    def _trial(
        self, here: Linearised, walk: Walk, damping: float, phi: Theta | None, count: int
    ) -> tuple[Trial, Theta]:
        """The step, and φ after it."""
        damped = here.damped(damping)
        kept = None if phi is None else self.momentum * phi.to(here.jacobian.dtype)
        velocity = -here.residual if kept is None else -here.residual - here.jacobian.mv(kept)
        lifted = here.lift(damped, velocity)
        phi = lifted.velocity if kept is None else lifted.velocity + kept
        size = 1.0 if kept is None else 1.0 / math.sqrt(1.0 - self.momentum ** (2 * count))
        moved = walk.displacement(here, damped, replace(lifted, velocity=size * phi))
        theta = here.theta + moved.theta.to(here.theta.dtype)
        bent = moved.bend is not None and moved.bend > self.rule.largest_bend
        known = not bent and bool(torch.isfinite(theta).all())
        cost = here.cost_of(here.residual_at(theta)) if known else math.inf
        predicted = here.cost_of(here.residual + here.jacobian.mv(walk.step_size * size * phi))
        return Trial(theta, cost, predicted, damping, damping), phi
