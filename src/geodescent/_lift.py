"""Lifts: from a velocity of the outputs to the least-norm velocity of the parameters, exact or damped.

All routes answer one question, with S = diag(s²) the row metric, M the diagonal parameter metric and μ the damping:

    θ̇ = argmin ‖s(Dθ̇ − v)‖² + μ θ̇ᵀMθ̇,   and of those the one of least M-norm.

Both metrics enter once, as `B = diag(s) D M^{−½}`; then `θ̇ = M^{−½} Bᵀ(BBᵀ + μ)⁻¹ s v`.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from geodescent import _linalg as linalg
from geodescent._jacobian import Jacobian
from geodescent._memory import fits, require
from geodescent._types import Outputs, Theta

DENSE_MATRICES = 5.0  # a matrix, its eigenvectors, their copy and the workspace: what the dense lifts may come to
DENSE_LIMIT = 6000  # the largest Gram or normal matrix that is factorised where a cheaper lift exists
NORMAL_PIVOTS = 1e-7  # a smaller pivot ratio of DᵀD loses too many digits: go through D itself


@dataclass(frozen=True)
class Lifted:
    """A lifted velocity.

    Attributes:
        velocity: θ̇, (K,).
        misfit: `s(Dθ̇ − v)`, (m,): what the linear model leaves, for inexact solves taken from D θ̇ itself.
        rank: the rank kept, or None where nothing was asked for it.
        iterations: of an iterative solve, 0 for a direct one.
        converged: False where an iterative solve ran out of iterations, so that the misfit bounds nothing.
        fallback: whether the first choice of factor was not to be trusted, and another answered the same question.
    """

    velocity: Theta
    misfit: Outputs
    rank: int | None = None
    iterations: int = 0
    converged: bool = True
    fallback: bool = False


class Prepared(Protocol):
    """A lift at one point: factorised for each damping, solved for any velocity."""

    def lift(self, velocity: Outputs, *, damping: float) -> Lifted: ...

    @property
    def scale(self) -> float:
        """`‖B‖_F²/m`: what relative damping refers to, on every route (THEORY 1.8)."""
        ...


class Lift(Protocol):
    """How D⁺ is applied."""

    name: str

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        """The lift at the point where the Jacobian was taken.

        Args:
            jacobian: D, rows not scaled.
            row_scale: s > 0, (m,); None for ones.
            metric: diagonal of M > 0, (K,); None for ones.
        """
        ...

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> "Lift":
        """The lift that is really used for m residuals and K parameters: itself, or what a plan picks."""
        return self

    def exact(self) -> "Lift":
        """The lift for a flow, whose steps nothing judges: itself, or a plan without inexact solves."""
        return self


@dataclass(frozen=True)
class Metrics:
    """`B = diag(s) D M^{−½}` and how velocities go in and out."""

    jacobian: Jacobian
    row_scale: Outputs | None
    column_scale: Theta | None

    @classmethod
    def of(cls, jacobian: Jacobian, row_scale: Outputs | None, metric: Theta | None) -> "Metrics":
        rows = None if row_scale is None else row_scale.to(jacobian.dtype)
        columns = None if metric is None else metric.to(jacobian.dtype).rsqrt()
        return cls(jacobian.scaled(rows=rows, columns=columns), rows, columns)

    def enter(self, velocity: Outputs) -> Outputs:
        velocity = velocity.reshape(-1).to(self.jacobian.dtype)
        return velocity if self.row_scale is None else velocity * self.row_scale

    def leave(self, velocity: Theta) -> Theta:
        return velocity if self.column_scale is None else velocity * self.column_scale

    @cached_property
    def scale(self) -> float:
        return linalg.total(self.jacobian.row_squares()) / self.jacobian.n_residuals


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


@dataclass(frozen=True)
class KrylovLift(Lift):
    """`(BBᵀ + μ) z = v` by conjugate gradients through products with B, preconditioned by `K̄ ⊗ I_Q` (THEORY 5.3).

    Without damping, and where the iteration shows that BBᵀ is singular, LSMR on B gives the least-norm solution.

    Args:
        tol: relative residual at which to stop.
        max_iterations: a bound on the products.
        slack: stop also where the residual is below this share of the damping's own misfit μ‖z‖: a step that is
            damped that much gains nothing from a better solve. 0 for the exact lift.
        products: dtype of the products with B on the way; None for the Jacobian's own. The misfit, and with it C_lin,
            is always taken in the Jacobian's own.

    Cost: K̄ and its factor, N³/3 a damping; two passes over the records an iteration.
    """

    tol: float = 1e-12
    max_iterations: int = 2000
    slack: float = 0.0
    products: torch.dtype | None = None
    name: str = field(default="krylov", init=False)

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        metrics = Metrics.of(jacobian, row_scale, metric)
        inner = metrics.jacobian if self.products is None else metrics.jacobian.to(self.products)
        return _PreparedKrylov(metrics, inner, _averaged(metrics.jacobian), self)


@dataclass(frozen=True)
class _PreparedKrylov:
    metrics: Metrics
    inner: Jacobian
    averaged: Tensor | None
    method: KrylovLift

    @property
    def scale(self) -> float:
        return self.metrics.scale

    def lift(self, velocity: Outputs, *, damping: float) -> Lifted:
        jacobian, v = self.metrics.jacobian, self.metrics.enter(velocity)
        solved = self._conjugate_gradients(v, damping)
        fallback = solved is None
        if solved is None:
            solved = linalg.lsmr(
                jacobian.mv, jacobian.rmv, v, tol=self.method.tol, max_iterations=4 * self.method.max_iterations
            )
            solution = solved.solution
        else:
            solution = jacobian.rmv(solved.solution)
        misfit = jacobian.mv(solution) - v
        return Lifted(self.metrics.leave(solution), misfit, None, solved.count, solved.converged, fallback)

    def _conjugate_gradients(self, v: Outputs, damping: float) -> linalg.Iterations | None:
        """The solution z, or None where there is no damping and G is (or turns out) singular."""
        jacobian = self.metrics.jacobian
        if damping == 0.0 and jacobian.n_params < jacobian.n_residuals:
            return None
        preconditioner = self._preconditioner(damping)
        if preconditioner is None:
            return None
        inner = self.inner
        solved = linalg.conjugate_gradients(
            lambda z: torch.add(inner.mv(inner.rmv(z.to(inner.dtype))).to(z.dtype), z, alpha=damping),
            v,
            preconditioner=preconditioner,
            tol=self.method.tol,
            max_iterations=self.method.max_iterations,
            slack=self.method.slack * damping,
        )
        return solved if solved.converged or damping > 0.0 else None

    def _preconditioner(self, damping: float) -> linalg.Operator | None:
        if self.averaged is None:
            diagonal = self.metrics.jacobian.row_squares() + damping
            return lambda z: z / diagonal
        factor = linalg.definite(self.averaged, damping=damping)
        if damping == 0.0 and isinstance(factor, linalg.EighFactor):
            return None
        n = len(self.averaged)
        return lambda z: factor.solve(z.reshape(n, -1)).reshape(-1)


def _averaged(jacobian: Jacobian) -> Tensor | None:
    """K̄, or None where there are several blocks of rows or K̄ does not fit."""
    n = jacobian.blocks[0].n_samples
    if len(jacobian.blocks) > 1 or not fits(2.0 * n * n * jacobian.dtype.itemsize, jacobian.device):
        return None
    return jacobian.mean_gram()


INEXACT = KrylovLift(tol=1e-2, slack=0.5, products=torch.float32)  # for damped steps (docs/decisions.md)


@dataclass(frozen=True)
class PlannedLift(Lift):
    """The lift that m, K and memory ask for: Gram for m ≤ K, normal for K < m, Krylov where neither is affordable.

    Args:
        krylov: the Krylov lift to use; inexact for a descent that judges each step, exact for the flow.
    """

    krylov: KrylovLift = INEXACT
    name: str = field(default="auto", init=False)

    def prepare(self, jacobian: Jacobian, *, row_scale: Outputs | None = None, metric: Theta | None = None) -> Prepared:
        m, k = jacobian.shape
        chosen = self.choice(m, k, dtype=jacobian.dtype, device=jacobian.device)
        return chosen.prepare(jacobian, row_scale=row_scale, metric=metric)

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> Lift:
        """The lift for m residuals and K parameters on this device."""
        smaller = min(m, k)
        if smaller > DENSE_LIMIT or not fits(DENSE_MATRICES * smaller**2 * dtype.itemsize, device):
            return self.krylov
        return GramLift() if m <= k else NormalLift()

    def exact(self) -> Lift:
        return PlannedLift(krylov=KrylovLift())
