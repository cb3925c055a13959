"""The lift between ordinary gradient descent and the adapted flow."""

import math
from dataclasses import dataclass, field, replace

import torch

from geodescent._errors import InputError
from geodescent._settings import Number, OrNone, settle
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.lift._planned_lift import PlannedLift
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal

HOMOTOPY = Number("0, the adapted flow, to 1, the gradient flow, is needed", lambda a: 0.0 <= a <= 1.0, 0.5)
"""α."""
UNIT = Number("the unit of D must be positive and finite, and None takes ‖D‖_F/√m", lambda s: 0.0 < s < math.inf, 1.0)


@dataclass(frozen=True)
class HomotopyLift(Lift):
    """`θ̇ = (α + (1 − α)D̃ᵀD̃)⁺D̃ᵀ v/s`, D̃ = D/s: at α = 1 ordinary gradient flow, at α = 0 the adapted flow.

    A mode with singular value σ of D̃ decays at the rate `σ²/(α + (1 − α)σ²)`; the zeros are those of ∇C for every α.
    It is `D_μ/(1 − α)` with the damping `μ = s²α/(1 − α)`; at α = 1 its limit, `Dᵀv/s²`.

    Args:
        alpha: α in [0, 1].
        scale: s > 0, the unit of D, which makes α comparable across problems. None for ‖D‖_F/√m at each point.
        lift: the lift of the damped solves.

    Source: arXiv:2408.01517, whose V_α in the time s is this over N.
    """

    alpha: float
    scale: float | None = None
    lift: Lift = field(default_factory=PlannedLift)
    name: str = field(default="homotopy", init=False)

    def __post_init__(self) -> None:
        settle(self, alpha=HOMOTOPY, scale=OrNone(UNIT))
        if isinstance(self.lift, type) or not isinstance(self.lift, Lift):
            raise InputError(f"lift is {self.lift!r}, which is no lift: pass for example lift=gd.GramLift().")

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        prepared = self.lift.prepare(jacobian, metric=metric)
        unit = prepared.mean_square if self.scale is None else self.scale**2
        return _PreparedHomotopy(prepared, MetricJacobian.of(jacobian, metric), self.alpha, unit)

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> Lift:
        return replace(self, lift=self.lift.choice(m, k, dtype=dtype, device=device))

    def for_flow(self) -> Lift:
        return replace(self, lift=self.lift.for_flow())

    @property
    def exact(self) -> bool:
        return self.lift.exact


@dataclass(frozen=True)
class _PreparedHomotopy(Prepared):
    """Attributes: unit is s², in the units of G."""

    prepared: Prepared
    metric: MetricJacobian
    alpha: float
    unit: float

    def damped(self, damping: float) -> Damped:
        if self.alpha == 1.0:
            return _Gradient(self.metric, self.unit + damping)
        damped = self.prepared.damped((self.alpha * self.unit + damping) / (1.0 - self.alpha))
        return _Between(self.metric, damped, 1.0 / (1.0 - self.alpha))

    @property
    def mean_square(self) -> float:
        return self.prepared.mean_square

    @property
    def least_damping(self) -> float:
        return self.prepared.least_damping

    @property
    def exact(self) -> bool:
        return self.prepared.exact


@dataclass(frozen=True)
class _Gradient:
    """`Dᵀv/s²`."""

    metric: MetricJacobian
    unit: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        v, jacobian = self.metric.rows(velocity), self.metric.jacobian
        solution = jacobian.rmv(v) / self.unit
        return Lifted(self.metric.leave(solution), jacobian.mv(solution) - v)


@dataclass(frozen=True)
class _Between:
    """`D_μv/(1 − α)`; `Bθ̇ − v` follows from the misfit of the damped solve."""

    metric: MetricJacobian
    damped: Damped
    factor: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        v, lifted = self.metric.rows(velocity), self.damped.lift(velocity, goal)
        misfit = self.factor * (lifted.misfit + v) - v
        return replace(lifted, velocity=self.factor * lifted.velocity, misfit=misfit)
