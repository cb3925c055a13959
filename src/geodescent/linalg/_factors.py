"""Factor once, solve many. Tensors only, no networks."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._deadline import require_time
from geodescent.linalg._sums import total

EIGH_FLOPS = 9.0  # Times n³: flops of eigenvalues and eigenvectors.

# --- the orthogonal factor of a tall matrix --------------------------------------------------------------------------


@dataclass(frozen=True)
class Reflectors:
    """Q of `A = QR`, (N, n), kept as its Householder reflections, which costs half as much as forming Q.

    Attributes:
        vectors: (N, n), the vectors of the reflections below the diagonal, R on and above it.
        scales: τ, (n,).
    """

    vectors: Tensor
    scales: Tensor

    @property
    def triangle(self) -> Tensor:
        """R, (n, n), upper triangular."""
        return self.vectors[: len(self.scales)].triu()

    def apply(self, v: Tensor) -> Tensor:
        """`Q v`, v (n,)."""
        column = v.new_zeros(len(self.vectors), 1)
        column[: len(v), 0] = v
        return torch.ormqr(self.vectors, self.scales, column)[:, 0]

    def adjoint(self, v: Tensor) -> Tensor:
        """`Qᵀ v`, v (N,)."""
        return torch.ormqr(self.vectors, self.scales, v[:, None], transpose=True)[: len(self.scales), 0]


def reflected(matrix: Tensor) -> Reflectors:
    """The QR decomposition of A, (N, n), N ≥ n.

    Cost: 2Nn² flops; a product with Q 4Nn.
    """
    return Reflectors(*torch.geqrf(matrix))


# --- factors of a symmetric positive semidefinite matrix -----------------------------------------------------------


@dataclass(frozen=True)
class CholeskyFactor:
    """`A + μI = L Lᵀ`.

    Attributes:
        lower: L, lower triangular.
        rank: the order of A, because a Cholesky factor is only used where the rank is full.
        pivot_ratio: smallest pivot of A + μI over the largest.
    """

    lower: Tensor
    rank: int
    pivot_ratio: float

    def to(self, dtype: torch.dtype) -> "CholeskyFactor":
        """The same factor in another precision, in the memory order that a triangular solve works on in place."""
        return replace(self, lower=self.lower.mT.to(dtype).contiguous().mT)

    def solve(self, b: Tensor) -> Tensor:
        """`(A + μI)⁻¹ b`, b of shape (n,) or (n, k)."""
        columns = b.reshape(len(b), -1)
        half = torch.linalg.solve_triangular(self.lower, columns, upper=False)
        solution: Tensor = torch.linalg.solve_triangular(self.lower.mT, half, upper=True).reshape(b.shape)
        return solution


@dataclass(frozen=True)
class EighFactor:
    """`A ≈ V diag(λ) Vᵀ` with the eigenvalues below the cut left out.

    Attributes:
        values: the eigenvalues kept, ascending.
        vectors: their eigenvectors, (n, rank).
        damping: μ.
        resolution: σ below which nothing can be distinguished from zero, √(n·eps·λ_max).
    """

    values: Tensor
    vectors: Tensor
    damping: float
    resolution: float

    @property
    def rank(self) -> int:
        return len(self.values)

    def to(self, dtype: torch.dtype) -> "EighFactor":
        """The same factor in another precision."""
        return replace(self, values=self.values.to(dtype), vectors=self.vectors.to(dtype))

    def solve(self, b: Tensor) -> Tensor:
        """`Σ vᵢ (λᵢ + μ)⁻¹ ⟨vᵢ, b⟩` over the eigenvalues kept: the Penrose inverse at μ = 0."""
        columns = b.reshape(len(b), -1)
        coefficients = (self.vectors.T @ columns) / (self.values + self.damping)[:, None]
        return (self.vectors @ coefficients).reshape(b.shape)

    def project(self, b: Tensor) -> Tensor:
        """`P b`: the part of b in the range kept."""
        return self.vectors @ (self.vectors.T @ b)


Factor = CholeskyFactor | EighFactor


def cholesky(matrix: Tensor, *, damping: float = 0.0) -> CholeskyFactor | None:
    """The Cholesky factor of A + μI, or None where it cannot be trusted.

    It is trusted only if the smallest pivot is above n·eps times the largest: that the factorisation succeeds does not
    prove full rank.

    Args:
        matrix: A, symmetric positive semidefinite, (n, n); only the upper triangle is read.
        damping: μ ≥ 0.

    Cost: n³/3 flops, one n × n buffer.
    """
    n = len(matrix)
    lower = matrix.mT.clone()  # column-major, so that LAPACK works in place
    lower.diagonal().add_(damping)
    info = torch.zeros((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(lower, out=(lower, info))
    pivots = lower.diagonal().square()
    smallest, largest = float(pivots.min()), float(pivots.max())
    eps = torch.finfo(matrix.dtype).eps
    if int(info) or not smallest > n * eps * largest or not math.isfinite(largest):
        return None
    return CholeskyFactor(lower, n, smallest / largest)


def eigh(matrix: Tensor, *, damping: float = 0.0, rcond: float | None = None) -> EighFactor:
    """The eigendecomposition of A with the eigenvalues below `max(rcond², n·eps)·λ_max` cut.

    Args:
        matrix: A, symmetric positive semidefinite, (n, n).
        damping: μ ≥ 0, added to the eigenvalues kept.
        rcond: relative cut on σ = √λ; through a Gram matrix nothing below √(n·eps) can be resolved.

    Cost: about 9 n³ flops, two n × n buffers.
    """
    values, vectors = _decomposed(matrix)
    largest = float(values[-1].clamp(min=0.0))
    level = len(matrix) * torch.finfo(matrix.dtype).eps
    cut = max(level, (rcond or 0.0) ** 2) * largest
    keep = values > cut
    if not bool(keep.all()):  # a copy only where something is cut
        values, vectors = values[keep], vectors[:, keep]
    return EighFactor(values, vectors, damping, math.sqrt(level * largest))


def definite(matrix: Tensor, *, damping: float) -> Factor:
    """A positive definite factor of A + μI for preconditioning; μ is raised where A + μI is singular to rounding."""
    lower = cholesky(matrix, damping=damping)
    if lower is None and damping > 0.0:
        unresolved = len(matrix) * torch.finfo(matrix.dtype).eps * total(matrix.diagonal())
        lower = cholesky(matrix, damping=damping + 2.0 * unresolved)
    if lower is not None:
        return lower
    values, vectors = _decomposed(matrix)
    precision = torch.finfo(matrix.dtype)
    level = max(len(matrix) * precision.eps * float(values[-1]), precision.tiny)
    return EighFactor(values.clamp(min=0.0), vectors, max(damping, level), math.sqrt(level))


def _decomposed(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors: begun only where there is time for them."""
    require_time("an eigendecomposition", flops=EIGH_FLOPS * len(matrix) ** 3)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def factor(matrix: Tensor, *, damping: float = 0.0, rcond: float | None = None) -> Factor:
    """The Cholesky factor; the eigendecomposition, which shows the rank, if that is not trusted or `rcond` is given."""
    if rcond is None:
        lower = cholesky(matrix, damping=damping)
        if lower is not None:
            return lower
    return eigh(matrix, damping=damping, rcond=rcond)
