"""The error left out, in closed form: tensors only, no networks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Gram, Outputs
from geodescent.linalg import row_norm, svd

RIDGES_PER_DECADE = 2  # Ridges tried: the error left out changes slowly with the ridge.
LARGEST_RIDGE = 10.0  # Times λ_max: at this ridge everything is damped.
RESOLVED_SIGMA = 4.0  # Times eps·σ_max: a singular value below it is rounding alone.


@dataclass(frozen=True)
class Modes:
    """`G = U diag(σ²) Uᵀ`: the spectrum of D's rows, from D or from G.

    Attributes:
        vectors: U, (m, k) with k = min(m, K): of G all of them, of D the left singular vectors.
        squares: σ², (k,), not negative.
        rank: number of σ that can be distinguished from zero.
        least_ridge: the smallest λ/λ_max that still means something: below it lies rounding.
    """

    vectors: Tensor
    squares: Tensor
    rank: int
    least_ridge: float

    @property
    def largest(self) -> float:
        """λ_max."""
        return float(self.squares.max())


@dataclass(frozen=True)
class LeaveOneOut:
    """The error left out at its best ridge.

    Attributes:
        error: `Σ‖loo_i‖²/(2N)`, in the units of C; infinite where nothing finite was found.
        ridge: λ/λ_max at which it is least.
        rank: of D's rows.
    """

    error: float
    ridge: float
    rank: int


def modes_of_rows(rows: Tensor, *, eps: float = torch.finfo(torch.float64).eps) -> Modes:
    """From D itself, (m, K): σ is resolved down to eps·σ_max, so that λ may go down to its square.

    Args:
        rows: D, rows scaled, (m, K).
        eps: relative accuracy of the rows.

    Cost: 2·m·K·k flops for a QR of the longer side and some 20 k³ for the decomposition, k = min(m, K).
    """
    m, k = rows.shape
    if m <= k:
        u, sigma, _ = svd(torch.linalg.qr(rows.T, mode="r")[1].T)
    else:
        q, r = torch.linalg.qr(rows)
        u, sigma, _ = svd(r)
        u = q @ u
    rank = int((sigma > max(m, k) * eps * sigma.max()).sum())
    return Modes(u, sigma.square(), rank, (RESOLVED_SIGMA * eps) ** 2)


def modes_of_gram(gram: Gram, *, eps: float = torch.finfo(torch.float64).eps) -> Modes:
    """From G, (m, m): nothing below √(m·eps)·σ_max can be distinguished from zero.

    Args:
        gram: G, rows scaled, (m, m), float64.
        eps: relative accuracy of the rows that made it.

    Cost: about 9 m³ flops.
    """
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0.0)
    level = torch.finfo(gram.dtype).eps
    rank = int((values > max(len(gram) * level, (len(gram) * eps) ** 2) * values.max()).sum())
    return Modes(vectors, values, rank, max(level, (RESOLVED_SIGMA * eps) ** 2))


def leave_one_out(modes: Modes, residual: Outputs, *, n_samples: float, block: int) -> LeaveOneOut:
    """The least error left out over all ridges, `min_λ Σ_i ‖loo_i(λ)‖²/(2N)`.

    Args:
        modes: of the rows, scaled; (m, k) vectors.
        residual: x − y, rows scaled, (m, c); c = 1 but for `K̄ ⊗ I`, where the Q outputs are columns.
        n_samples: N = Σw.
        block: rows of one sample: Q, or 1 for `K̄ ⊗ I`.

    Cost: m·block·k multiply-adds a ridge, two for each decade of λ.
    """
    if not modes.largest > 0.0:
        return LeaveOneOut(row_norm(residual) ** 2 / (2.0 * n_samples), LARGEST_RIDGE, 0)
    count = 1 + math.ceil(RIDGES_PER_DECADE * math.log10(LARGEST_RIDGE / modes.least_ridge))
    ridges = LARGEST_RIDGE * 10.0 ** (-torch.arange(count, dtype=torch.float64, device="cpu") / RIDGES_PER_DECADE)
    left = left_out(modes, residual, modes.largest * ridges.to(residual), block=block)
    errors = left.square().sum((1, 2)) / (2.0 * n_samples)
    errors = torch.where(torch.isfinite(errors), errors, math.inf)
    best = int(errors.argmin())
    return LeaveOneOut(float(errors[best]), float(ridges[best]), modes.rank)


def left_out(modes: Modes, residual: Outputs, ridges: Tensor, *, block: int) -> Tensor:
    """`loo_i = B_ii⁻¹ [(G + λ)⁻¹ r]_i`, B_ii the sample's diagonal block of (G + λ)⁻¹; (n_ridges, m, c).

    What the ridge solution without sample i misses at i. Both factors are taken times λ,
    `λ(G + λ)⁻¹ = (I − UUᵀ) + U diag(λ/(σ² + λ)) Uᵀ`: sums of what is not negative, so that nothing cancels at small λ,
    and for K < m the dual route at the same time. There `I − UUᵀ` is a difference: where a sample alone decides a
    direction, both factors are rounding at small λ, and the answer is NaN.

    Args:
        ridges: λ > 0, absolute, (n_ridges,).
        modes, residual, block: as in `leave_one_out`.
    """
    m, k = modes.vectors.shape
    shrunk = ridges / (modes.squares[:, None] + ridges)  # (k, n_ridges)
    coefficients = modes.vectors.T @ residual
    outside = residual - modes.vectors @ coefficients if k < m else torch.zeros_like(residual)
    weighted = torch.einsum("kc,kl->klc", coefficients, shrunk).reshape(k, -1)
    solved = outside + (modes.vectors @ weighted).reshape(m, len(ridges), -1).movedim(1, 0)
    blocks = _diagonal_blocks(modes.vectors, shrunk, block)
    lost = m * torch.finfo(solved.dtype).eps if k < m else 0.0
    if block == 1:
        diagonal = blocks.reshape(len(ridges), m, 1)
        return torch.where(diagonal > lost, solved / diagonal, math.nan)
    residuals: Tensor = torch.linalg.solve_ex(blocks, solved.reshape(len(ridges), -1, block, residual.shape[1])).result
    if lost:
        _, info = torch.linalg.cholesky_ex(blocks - lost * torch.eye(block, device="cpu").to(blocks))
        residuals = torch.where((info == 0)[:, :, None, None], residuals, math.nan)
    return residuals.reshape(solved.shape)


def _diagonal_blocks(vectors: Tensor, shrunk: Tensor, block: int) -> Tensor:
    """The diagonal blocks of `λ(G + λ)⁻¹`, (n_ridges, n, block, block)."""
    m, k = vectors.shape
    by_sample = vectors.contiguous().view(-1, block, k)  # LAPACK's are stored by columns: slow in the products
    rows = []
    for q in range(block):
        products = by_sample[:, q : q + 1] * by_sample
        row = products @ shrunk  # (n, block, n_ridges)
        if k < m:
            rest = -products.sum(2)
            rest[:, q] += 1.0
            row += rest[:, :, None]
        rows.append(row)
    return torch.stack(rows, 1).movedim(3, 0)
