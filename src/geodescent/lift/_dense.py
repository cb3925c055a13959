"""The lifts that factorise: through the Gram matrix, through the normal matrix, and through D where these end."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from geodescent import linalg
from geodescent._budget import fits, require
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, rows_flops
from geodescent.lift._lift import DENSE_MATRICES, NO_HINTS, Damped, Hints, Lift, Lifted, Metrics, Prepared
from geodescent.lift._refined_factor import LEAST_FACTOR, Refined
from geodescent.lift._two_factors import TwiceFactored, TwiceSolver

NORMAL_PIVOTS = 1e-7  # a smaller pivot ratio of DᵀD loses too many digits: go through D itself
PRODUCT_DAMPING = 1e-13  # of the trace: what a Cholesky factor of G or DᵀD resolves with some digits to spare
LEAST_DAMPING = 5e-28  # of the trace: the same through D itself
LEAST_OF_PRODUCT = 1e-15  # where D itself is too large
SOLVES = 50.0  # passes over the matrix or its factor that the solves of a step make, in flops a number
REFINEMENTS = 2  # of an undamped solve; each leaves eps·cond(G) of the error
ROWS_BYTES = 1e9  # D and its whitened copy may come to this


@dataclass(frozen=True)
class GramLift(Lift):
    """`θ̇ = Bᵀ(BBᵀ + μ)⁻¹ v` through the m × m Gram matrix: for K ≥ m.

    Dampings below 1e-13·‖B‖_F² go through B itself: by a factor of G refined with B (`Refined`), and where modes of G
    lie below what that resolves by two factors (`TwiceFactored`), where B is small enough.

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

    def step_flops(self, jacobian: Jacobian) -> float:
        """Of the Gram matrix and what a descent does with it in a step."""
        gram = sum(min(rows_flops(r, b.n_rows), r.flops(b.n_rows)) for b in jacobian.blocks for r in b.records)
        return 0.5 * gram + _solving_flops(jacobian.n_residuals)


@dataclass(frozen=True)
class NormalLift(Lift):
    """`θ̇ = (BᵀB + μ)⁻¹ Bᵀ v` through the K × K normal matrix: for K < m.

    Dampings below 1e-13·‖B‖_F² go through B itself. Without damping, and where the pivots say that squaring the
    conditioning lost too many digits, the singular values of B answer instead (QR in chunks of rows, then the
    triangle's), with the cut max(m, K)·eps on σ.

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
        metrics = replace(metrics, jacobian=metrics.jacobian.compact())
        return _PreparedNormal(metrics, metrics.jacobian.normal(), self.rcond)

    def step_flops(self, jacobian: Jacobian) -> float:
        """Of the normal matrix and what a descent does with it in a step."""
        n, k = sum(block.n_samples for block in jacobian.blocks), jacobian.n_params
        return float(n * k**2) + _solving_flops(k)


DenseLift = GramLift | NormalLift


def _solving_flops(n: int) -> float:
    """Two factors and the solves of a step, with a matrix of order n."""
    return 2.0 * n**3 / 3.0 + SOLVES * n**2


@dataclass
class _PreparedDense(Prepared):
    """B, its product A (BBᵀ or BᵀB), and what is common to both."""

    metrics: Metrics
    product: Tensor
    rcond: float | None
    too_low: float = 0.0  # the largest damping at which a refined factor was not enough
    wide: ClassVar[bool]

    @cached_property
    def trace(self) -> float:
        return linalg.total(self.product.diagonal())

    @property
    def scale(self) -> float:
        return self.trace / self.metrics.jacobian.n_residuals

    @property
    def least_damping(self) -> float:
        return self.trace * (LEAST_DAMPING if self._rows_fit else LEAST_OF_PRODUCT)

    @property
    def direct(self) -> bool:
        return True

    @cached_property
    def _rows_fit(self) -> bool:
        jacobian = self.metrics.jacobian
        need = 2.0 * jacobian.n_residuals * jacobian.n_params * jacobian.dtype.itemsize
        return need <= ROWS_BYTES and fits(need, jacobian.device)

    @cached_property
    def _twice(self) -> TwiceFactored | None:
        return TwiceFactored.of(self.metrics.jacobian, self.product, wide=self.wide)

    def damped(self, damping: float) -> Damped:
        """Through B itself where this damping needs it."""
        if 0.0 < damping < PRODUCT_DAMPING * self.trace and self.rcond is None:
            return _ThroughRows(self, damping)
        return self.by_product(damping)

    def by_product(self, damping: float) -> Damped:
        """Through a factor of A alone."""
        raise NotImplementedError

    def refined(self, damping: float) -> Refined | None:
        """A factor of A refined with B, where that was enough so far."""
        if damping <= self.too_low:
            return None
        found = Refined.of(self.metrics.jacobian, self.product, damping=damping, trace=self.trace, wide=self.wide)
        if found is None and damping < LEAST_FACTOR * self.trace:  # nor for any other damping down there
            self.too_low = LEAST_FACTOR * self.trace
        return found

    def twice(self, damping: float) -> TwiceSolver | None:
        """Two factors, where B is small enough."""
        return self._twice.damped(damping) if self._rows_fit and self._twice is not None else None


@dataclass
class _PreparedGram(_PreparedDense):
    wide = True

    def by_product(self, damping: float) -> Damped:
        factor = linalg.factor(self.product, damping=damping, rcond=self.rcond)
        return _UndampedGram(self, factor) if damping == 0.0 else _DampedGram(self, factor, damping)


@dataclass
class _PreparedNormal(_PreparedDense):
    wide = False

    def by_product(self, damping: float) -> Damped:
        found = None if self.rcond is not None else linalg.cholesky(self.product, damping=damping)
        if found is not None and (found.pivot_ratio > NORMAL_PIVOTS or damping > 0.0):
            return _DampedNormal(self.metrics, found, damping)
        return _SingularValues(self.metrics, damping, self.rcond)


@dataclass(frozen=True)
class _ThroughRows:
    """By a refined factor of A; by two factors where it is too coarse; by A alone where B is too large for these."""

    prepared: _PreparedDense
    damping: float

    def lift(self, velocity: Outputs, hints: Hints = NO_HINTS) -> Lifted:
        prepared, metrics = self.prepared, self.prepared.metrics
        v = metrics.enter(velocity)
        refined = self._refined if prepared.too_low < self.damping else None
        found = None if refined is None else refined.lift(v, rough=hints.rough)
        if found is None:
            prepared.too_low = max(prepared.too_low, self.damping)
            found = None if self._twice is None else self._twice.lift(v)
        if found is None:
            return self._by_product.lift(velocity)
        return Lifted(metrics.leave(found[0]), found[1])

    @cached_property
    def _refined(self) -> Refined | None:
        return self.prepared.refined(self.damping)

    @cached_property
    def _twice(self) -> TwiceSolver | None:
        return self.prepared.twice(self.damping)

    @cached_property
    def _by_product(self) -> Damped:
        return self.prepared.by_product(self.damping)


@dataclass(frozen=True)
class _DampedGram:
    prepared: _PreparedGram
    factor: linalg.Factor
    damping: float

    def lift(self, velocity: Outputs, hints: Hints = NO_HINTS) -> Lifted:
        metrics, gram = self.prepared.metrics, self.prepared.product
        v = metrics.enter(velocity)
        z = self.factor.solve(v)
        if hints.rough:
            return Lifted(metrics.leave(metrics.jacobian.rmv(z)), z.mul(-self.damping))
        missing = torch.addmv(v, gram, z, alpha=-1.0).sub_(z, alpha=self.damping)
        z += self.factor.solve(missing)  # one refinement: what the factor lost to conditioning
        fallback = self.prepared.rcond is None and isinstance(self.factor, linalg.EighFactor)
        misfit = torch.addmv(v, gram, z, beta=-1.0)
        rank = None if self.prepared.rcond is None else self.factor.rank
        return Lifted(metrics.leave(metrics.jacobian.rmv(z)), misfit, rank, fallback=fallback)


@dataclass(frozen=True)
class _UndampedGram:
    """`D⁺v` by a factor of G, refined with B itself: G has lost eps·cond(B)² of it, B only eps·cond(B)."""

    prepared: _PreparedGram
    factor: linalg.Factor

    def lift(self, velocity: Outputs, hints: Hints = NO_HINTS) -> Lifted:
        metrics, jacobian = self.prepared.metrics, self.prepared.metrics.jacobian
        v = metrics.enter(velocity)
        solution = jacobian.rmv(self.factor.solve(v))
        for _ in range(REFINEMENTS):
            solution += jacobian.rmv(self.factor.solve(v - jacobian.mv(solution)))
        fallback = self.prepared.rcond is None and isinstance(self.factor, linalg.EighFactor)
        return Lifted(metrics.leave(solution), jacobian.mv(solution) - v, self.factor.rank, fallback=fallback)


@dataclass(frozen=True)
class _DampedNormal:
    metrics: Metrics
    factor: linalg.CholeskyFactor
    damping: float

    def lift(self, velocity: Outputs, hints: Hints = NO_HINTS) -> Lifted:
        v, jacobian = self.metrics.enter(velocity), self.metrics.jacobian
        solution = self.factor.solve(jacobian.rmv(v))
        misfit = jacobian.mv(solution) - v
        # one refinement, in rough solves too: DᵀD squares the conditioning (docs/decisions.md)
        solution -= self.factor.solve(torch.add(jacobian.rmv(misfit), solution, alpha=self.damping))
        misfit = jacobian.mv(solution) - v
        return Lifted(self.metrics.leave(solution), misfit, self.factor.rank if self.damping == 0.0 else None)


@dataclass(frozen=True)
class _SingularValues:
    """From the singular values of B itself, by the triangle R of `[B v] = QR`, in chunks of rows."""

    metrics: Metrics
    damping: float
    rcond: float | None

    def lift(self, velocity: Outputs, hints: Hints = NO_HINTS) -> Lifted:
        jacobian, v = self.metrics.jacobian, self.metrics.enter(velocity)
        k, start = jacobian.n_params, 0
        triangle = v.new_zeros(0, k + 1)
        for rows in jacobian.row_chunks():
            joined = torch.cat([rows, v[start : start + len(rows), None]], 1)
            triangle = torch.linalg.qr(torch.cat([triangle, joined]), mode="r").R
            start += len(rows)
        left, values, right = torch.linalg.svd(triangle[:, :k], full_matrices=False)
        rcond = max(jacobian.shape) * torch.finfo(values.dtype).eps if self.rcond is None else self.rcond
        keep = values > rcond * values[0]
        s = values[keep]
        solution = right[keep].T @ ((s / (s * s + self.damping)) * (left[:, keep].T @ triangle[:, k]))
        rank = int(keep.sum()) if self.damping == 0.0 or self.rcond is not None else None
        misfit = jacobian.mv(solution) - v
        return Lifted(self.metrics.leave(solution), misfit, rank, fallback=self.rcond is None)
