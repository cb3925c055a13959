"""The lift through the normal matrix `BᵀB`, K × K: for K < m."""

from dataclasses import dataclass, field, replace

import torch

from geodescent._budget import require
from geodescent._settings import RCOND, OrNone, settle
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, require_room
from geodescent.lift._product_lift import DENSE_MATRICES, PreparedProduct, solving_flops
from geodescent.lift._protocols import FULL, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.linalg import CholeskyFactor, cholesky, svd

NORMAL_PIVOTS = 1e-7
"""Smallest over largest pivot of BᵀB: below it squaring lost too many digits, and B itself is decomposed."""


@dataclass(frozen=True)
class NormalLift(Lift):
    """`θ̇ = (BᵀB + μ)⁻¹ Bᵀ v` through the K × K normal matrix: for K < m.

    Solves with a damping below 1e-13·‖B‖_F² use B itself. Without damping, if the pivots show that squaring lost too
    many digits, the singular value decomposition of B is used (of the triangle of a QR in chunks of rows), with the cut
    max(m, K)·eps on σ.

    Args:
        rcond: relative cut on σ, for the rank, by these singular values; None as above.

    Cost: mK² for the matrix, in chunks of rows; K³/3 a damping, 2mK² through B itself.
    """

    rcond: float | None = None
    name: str = field(default="normal", init=False)

    def __post_init__(self) -> None:
        settle(self, rcond=OrNone(RCOND))

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        k = jacobian.n_params
        need = DENSE_MATRICES * k * k * jacobian.dtype.itemsize
        require(need, jacobian.device, what=f"the normal lift of {k} parameters", instead="Use gd.KrylovLift().")
        inside = MetricJacobian.of(jacobian, metric)
        inside = replace(inside, jacobian=inside.jacobian.compact())
        return PreparedProduct(inside, inside.jacobian.normal(), self.rcond, False, _by_normal)

    @property
    def adds_over_batches(self) -> bool:
        return True

    def step_flops(self, jacobian: Jacobian) -> float:
        """Flops of the normal matrix and of its solves in one step of a descent."""
        n, k = sum(block.n_samples for block in jacobian.blocks), jacobian.n_params
        return float(n * k**2) + solving_flops(k)


def _by_normal(prepared: PreparedProduct, damping: float) -> Damped:
    lower = None if prepared.rcond is not None else cholesky(prepared.product, damping=damping)
    if lower is not None and (lower.pivot_ratio > NORMAL_PIVOTS or damping > 0.0):
        return _DampedNormal(prepared.metric, lower, damping)
    return _SingularValues(prepared.metric, damping, prepared.rcond)


@dataclass(frozen=True)
class _DampedNormal:
    metric: MetricJacobian
    factor: CholeskyFactor
    damping: float

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        v, jacobian = self.metric.rows(velocity), self.metric.jacobian
        solution = self.factor.solve(jacobian.rmv(v))
        misfit = jacobian.mv(solution) - v
        # one refinement, in rough solves too: DᵀD squares the conditioning (docs/decisions.md)
        solution -= self.factor.solve(torch.add(jacobian.rmv(misfit), solution, alpha=self.damping))
        misfit = jacobian.mv(solution) - v
        return Lifted(self.metric.leave(solution), misfit, self.factor.rank if self.damping == 0.0 else None)


@dataclass(frozen=True)
class _SingularValues:
    """From the singular values of B itself, by the triangle R of `[B v] = QR`, in chunks of rows."""

    metric: MetricJacobian
    damping: float
    rcond: float | None

    def lift(self, velocity: Outputs, goal: SolveGoal = FULL) -> Lifted:
        jacobian, v = self.metric.jacobian, self.metric.rows(velocity)
        k, start = jacobian.n_params, 0
        triangle = v.new_zeros(0, k + 1)
        for rows in jacobian.row_chunks():
            require_room(2.0 * rows.numel(), rows, "a QR decomposition of rows of D")
            joined = torch.cat([rows, v[start : start + len(rows), None]], 1)
            triangle = torch.linalg.qr(torch.cat([triangle, joined]), mode="r").R
            start += len(rows)
            del rows, joined  # the next ones need the memory
        left, values, right = svd(triangle[:, :k])
        rcond = max(jacobian.shape) * torch.finfo(values.dtype).eps if self.rcond is None else self.rcond
        keep = values > rcond * values[0]
        s = values[keep]
        solution = right[keep].T @ ((s / (s * s + self.damping)) * (left[:, keep].T @ triangle[:, k]))
        rank = int(keep.sum()) if self.damping == 0.0 or self.rcond is not None else None
        misfit = jacobian.mv(solution) - v
        return Lifted(self.metric.leave(solution), misfit, rank, fallback=self.rcond is None)
