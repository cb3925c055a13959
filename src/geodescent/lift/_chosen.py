"""Which lift: from m, K and memory."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from geodescent._budget import fits
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.lift._dense import DenseLift, GramLift, NormalLift
from geodescent.lift._krylov import KrylovLift
from geodescent.lift._lift import DENSE_MATRICES, Damped, Lift, Opening, Prepared
from geodescent.linalg import STEP_ITERATIONS

DENSE_LIMIT = 3000  # the largest Gram or normal matrix that a descent factorises (docs/decisions.md)
EXACT_LIMIT = 6000  # the same where solves must be exact, as in a flow
INEXACT = KrylovLift(
    tol=1e-2, max_iterations=300, slack=0.5, products=torch.float32
)  # for damped steps (docs/decisions.md)


@dataclass(frozen=True)
class PlannedLift(Lift):
    """The lift that m, K and memory ask for: Gram for m ≤ K, normal for K < m, Krylov where neither is affordable.

    Args:
        krylov: the Krylov lift to use; inexact for a descent that judges each step, exact for the flow.
        limit: the largest matrix to factorise.
    """

    krylov: KrylovLift = INEXACT
    limit: int = DENSE_LIMIT
    name: str = field(default="auto", init=False)

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        m, k = jacobian.shape
        chosen = self.choice(m, k, dtype=jacobian.dtype, device=jacobian.device)
        if isinstance(chosen, KrylovLift):
            return chosen.prepare(jacobian, row_scale=row_scale, metric=metric)
        return _InTurns(chosen, replace(self.krylov, products=None), jacobian, row_scale, metric)

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> "DenseLift | KrylovLift":
        """The lift for m residuals and K parameters on this device."""
        smaller = min(m, k)
        if smaller > self.limit or not fits(DENSE_MATRICES * smaller**2 * dtype.itemsize, device):
            return self.krylov
        return GramLift() if m <= k else NormalLift()

    def exact(self) -> Lift:
        return PlannedLift(KrylovLift(), EXACT_LIMIT)


@dataclass(frozen=True)
class _InTurns(Prepared):
    """A dense lift, formed only where it is asked for, and the inexact one that opens a descent."""

    dense: DenseLift
    krylov: KrylovLift
    jacobian: Jacobian
    row_scale: Outputs | None
    metric: Theta | None

    @cached_property
    def exact(self) -> Prepared:
        return self.dense.prepare(self.jacobian, row_scale=self.row_scale, metric=self.metric)

    @cached_property
    def inexact(self) -> Prepared:
        return self.krylov.prepare(self.jacobian, row_scale=self.row_scale, metric=self.metric)

    @property
    def opening(self) -> Opening | None:
        worth = self.dense.step_flops(self.jacobian) / self.jacobian.product_flops()
        return Opening(self.inexact, worth) if worth > STEP_ITERATIONS else None

    def damped(self, damping: float) -> Damped:
        return self.exact.damped(damping)

    @property
    def scale(self) -> float:
        return self.inexact.scale

    @property
    def least_damping(self) -> float:
        return self.exact.least_damping

    @property
    def direct(self) -> bool:
        return True
