"""The lifts that factorise: through the Gram matrix, or through the normal matrix and the singular values of D."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodescent import _linalg as linalg
from geodescent._jacobian import Jacobian
from geodescent._lift import DENSE_MATRICES, Lift, Lifted, Metrics, Prepared
from geodescent._memory import require
from geodescent._types import Outputs, Theta

NORMAL_PIVOTS = 1e-7  # a smaller pivot ratio of DᵀD loses too many digits: go through D itself


@dataclass(frozen=True)
class GramLift(Lift):
    """`θ̇ = Bᵀ(BBᵀ + μ)⁻¹ v` through the m × m Gram matrix: for K ≥ m.

    Args:
        rcond: relative cut on σ where the rank is wanted; None: Cholesky where it can be trusted.

    Cost: the Gram matrix, m³/3 a damping; two m × m matrices.
    """

    rcond: float | None = None
    name: str = field(default="gram", init=False)

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        m = jacobian.n_residuals
        need = DENSE_MATRICES * m * m * jacobian.dtype.itemsize
        require(need, jacobian.device, what=f"the Gram lift of {m} residuals", instead="Use KrylovLift().")
        metrics = Metrics.of(jacobian, row_scale, metric)
        return _PreparedGram(metrics, metrics.jacobian.gram(), self.rcond)


@dataclass(frozen=True)
class _PreparedGram:
    metrics: Metrics
    gram: Tensor
    rcond: float | None

    @property
    def scale(self) -> float:
        return linalg.total(self.gram.diagonal()) / len(self.gram)

    def lift(self, velocity: Outputs, *, damping: float) -> Lifted:
        factor = linalg.factor(self.gram, damping=damping, rcond=self.rcond)
        v = self.metrics.enter(velocity)
        z = factor.solve(v)
        z = z + factor.solve(v - self._damped(z, damping))  # one refinement: what the factor lost to conditioning
        theta_velocity = self.metrics.leave(self.metrics.jacobian.rmv(z))
        rank = factor.rank if damping == 0.0 or self.rcond is not None else None
        fallback = self.rcond is None and isinstance(factor, linalg.EighFactor)
        return Lifted(theta_velocity, self.gram @ z - v, rank, fallback=fallback)

    def _damped(self, z: Outputs, damping: float) -> Outputs:
        return torch.add(self.gram @ z, z, alpha=damping)


@dataclass(frozen=True)
class NormalLift(Lift):
    """`θ̇ = (BᵀB + μ)⁻¹ Bᵀ v` through the K × K normal matrix: for K < m.

    Where the pivots say that squaring the conditioning lost too many digits, the singular values of B itself answer
    instead (QR in chunks of rows, then the triangle's), with the cut max(m, K)·eps on σ.

    Args:
        rcond: relative cut on σ where the rank is wanted; None as above.

    Cost: mK² for the matrix, in chunks of rows; K³/3 a damping, 2mK² through B itself.
    """

    rcond: float | None = None
    name: str = field(default="normal", init=False)

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        k = jacobian.n_params
        need = DENSE_MATRICES * k * k * jacobian.dtype.itemsize
        require(need, jacobian.device, what=f"the normal lift of {k} parameters", instead="Use KrylovLift().")
        metrics = Metrics.of(jacobian, row_scale, metric)
        return _PreparedNormal(metrics, metrics.jacobian.normal(), self.rcond)


@dataclass(frozen=True)
class _PreparedNormal:
    metrics: Metrics
    normal: Tensor
    rcond: float | None

    @property
    def scale(self) -> float:
        return linalg.total(self.normal.diagonal()) / self.metrics.jacobian.n_residuals

    def lift(self, velocity: Outputs, *, damping: float) -> Lifted:
        v = self.metrics.enter(velocity)
        found = None if self.rcond is not None else linalg.cholesky(self.normal, damping=damping)
        trusted = found is not None and found.pivot_ratio > NORMAL_PIVOTS
        if found is not None and trusted:
            solution, rank = found.solve(self.metrics.jacobian.rmv(v)), found.rank
        else:
            solution, rank = self._through_d(v, damping)
        misfit = self.metrics.jacobian.mv(solution) - v
        rank_kept = rank if damping == 0.0 or self.rcond is not None else None
        fallback = self.rcond is None and not trusted
        return Lifted(self.metrics.leave(solution), misfit, rank_kept, fallback=fallback)

    def _through_d(self, v: Outputs, damping: float) -> tuple[Theta, int]:
        """The same from the singular values of B itself, by the triangle R of `[B v] = QR`, in chunks of rows."""
        k, start = self.metrics.jacobian.n_params, 0
        triangle = v.new_zeros(0, k + 1)
        for rows in self.metrics.jacobian.row_chunks():
            joined = torch.cat([rows, v[start : start + len(rows), None]], 1)
            triangle = torch.linalg.qr(torch.cat([triangle, joined]), mode="r").R
            start += len(rows)
        left, values, right = torch.linalg.svd(triangle[:, :k], full_matrices=False)
        rcond = max(self.metrics.jacobian.shape) * torch.finfo(values.dtype).eps if self.rcond is None else self.rcond
        keep = values > rcond * values[0]
        s = values[keep]
        return right[keep].T @ ((s / (s * s + damping)) * (left[:, keep].T @ triangle[:, k])), int(keep.sum())
