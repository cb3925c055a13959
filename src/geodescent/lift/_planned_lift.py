"""The choice of a lift by m, K and memory."""

from dataclasses import dataclass, field

import torch

from geodescent._budget import budget, fits
from geodescent._types import Theta
from geodescent.jacobian import Jacobian, is_by_rows
from geodescent.lift._gram_lift import GramLift
from geodescent.lift._krylov_lift import KrylovLift
from geodescent.lift._normal_lift import NormalLift
from geodescent.lift._product_lift import DENSE_MATRICES
from geodescent.lift._protocols import Lift, Prepared

DenseLift = GramLift | NormalLift

INEXACT = KrylovLift(tol=1e-2, max_iterations=300, slack=0.5, products=torch.float32)
"""For damped steps that are judged by their cost; the numbers are measured in docs/decisions.md."""


def known_by_products(jacobian: Jacobian) -> bool:
    """Whether D has products alone: its rows cannot be formed, and are no sums over batches either."""
    return bool(jacobian.blocks) and not jacobian.holds_rows


@dataclass(frozen=True)
class PlannedLift(Lift):
    """The lift chosen by m, K and memory: Gram for m ≤ K, normal for K < m, Krylov where neither is affordable.

    Where D is known by its products alone, and has too many rows to form them, solves are exact Krylov solves.

    Args:
        krylov: the Krylov lift to use; inexact for a descent that judges each step, exact for the flow.
        for_exact: whether larger matrices are factorised: for a flow, and for equations.
    """

    krylov: KrylovLift = INEXACT
    for_exact: bool = False
    name: str = field(default="auto", init=False)

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        return self.chosen(jacobian).prepare(jacobian, metric=metric)

    def chosen(self, jacobian: Jacobian) -> DenseLift | KrylovLift:
        """The lift for this Jacobian, which may have less to offer than its size says."""
        if known_by_products(jacobian):
            return KrylovLift()
        m, k = jacobian.shape
        if not is_by_rows(jacobian):  # also where D is streamed and has DᵀD alone
            m = max(m, k + 1)
        return self.choice(m, k, dtype=jacobian.dtype, device=jacobian.device)

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> DenseLift | KrylovLift:
        """The lift for m residuals and K parameters on this device."""
        smaller = min(m, k)
        if smaller > self.largest_order or not fits(DENSE_MATRICES * smaller**2 * dtype.itemsize, device):
            return self.krylov
        return GramLift() if m <= k else NormalLift()

    @property
    def largest_order(self) -> int:
        """Of a matrix that is factorised."""
        return budget().exact_order if self.for_exact else budget().factor_order

    def for_flow(self) -> Lift:
        return PlannedLift(KrylovLift(), for_exact=True)
