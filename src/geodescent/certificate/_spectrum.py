"""The spectrum of D at three levels: in full from D, through a Gram matrix, or bounded by Lanczos."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from geodescent._budget import budget, fits
from geodescent._deadline import PRODUCT, has_deadline, in_time, is_affordable, measuring
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, ProductColumns, is_by_rows, order_of, square_of
from geodescent.linalg import PARAMETERS, ROWS, eigh, lanczos_extremes, reflected, singular_values, svd

Level = Literal["spectrum", "bounds", "not computed"]

NEAR_RESOLUTION = 10.0  # Times the resolution: a smallest σ below it is only a bound.
LANCZOS_STEPS = 40  # Products with DDᵀ or DᵀD, and vectors held, where only bounds can be had.
WORKING_MATRICES = 4  # Matrices of D's size that its decomposition takes beside it.
NOT_FINITE = "D holds NaN or infinite values at this point."


@dataclass(frozen=True)
class Spectrum:
    """What is known of the singular values of D, rows weighted.

    Attributes:
        level: how much is known.
        rcond: the relative cut on σ that was used.
        resolution: σ below which nothing can be distinguished from zero, absolute.
        rank: number of σ above the cut, or None.
        sigma_max: the largest σ; at level `bounds` a lower bound of it, from Lanczos (close to it as a rule).
        sigma_min: the smallest σ kept, or an upper bound of the smallest σ.
        sigma_min_is_bound: whether sigma_min is only an upper bound.
        reachable: P r, the part of the residual that an infinitesimal motion can remove, or None.
        velocity: −D⁺r, or None.
        reason: why something is None.
    """

    level: Level
    rcond: float | None = None
    resolution: float | None = None
    rank: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    sigma_min_is_bound: bool = False
    reachable: Outputs | None = None
    velocity: Theta | None = None
    reason: str | None = None

    @property
    def condition(self) -> float | None:
        """σ_max over the smallest σ kept."""
        return self.sigma_max / self.sigma_min if self.sigma_max is not None and self.sigma_min else None


def spectrum_of(
    jacobian: Jacobian,
    residual: Outputs,
    *,
    columns: Theta | None = None,
    rcond: float | None = None,
    counted: Tensor | None = None,
) -> Spectrum:
    """The spectrum of D at the highest level that its size allows.

    Args:
        jacobian: D, rows weighted, in the model's dtype; everything after the capture is done in float64.
        residual: r, weighted, (m,), float64.
        columns: M^{−½}, (K,), float64: the spectrum is that of `D M^{−½}`; None for ones.
        rcond: relative cut on σ; by default max(m, K)·eps of the model's dtype.
        counted: which rows have a positive weight, (m,); None for all.

    Cost: from D a QR of its longer side, 2·m·K·n flops, n = min(m, K), and 3n³ for the singular values of the triangle,
        some 20n³ for its vectors too where rank is lost; 9n³ through DDᵀ or DᵀD; 80 products by Lanczos.
    """
    m, k = jacobian.shape
    cut = max(m, k) * torch.finfo(jacobian.dtype).eps if rcond is None else rcond
    doubled = cache(lambda: jacobian.to(torch.float64).scaled(columns=columns))
    small, order, limits = min(m, k), order_of(jacobian), budget()
    if has_deadline() and is_affordable(jacobian.product_flops()):
        with measuring(PRODUCT, jacobian.device):
            doubled().mv(doubled().rmv(residual))
    passes = calls_to_form(jacobian)
    dense = m * k <= limits.spectrum_numbers and m * k * small <= limits.spectrum_flops
    dense = dense and fits(8.0 * WORKING_MATRICES * m * k, jacobian.device)
    if dense and in_time(2.0 * m * k * small + 20.0 * small**3, "the spectrum of D itself", products=passes):
        return _from_dense(doubled(), residual, cut)
    why = f"a matrix of order {order} is too large to be diagonalised here"
    square = order <= limits.spectrum_order and fits(8.0 * WORKING_MATRICES * order**2, jacobian.device)
    if square:
        why = "there was no time for it"
        flops = _square_flops(jacobian) + 9.0 * order**3
        if in_time(flops, "the spectrum through a Gram matrix", products=passes):
            matrix = square_of(doubled())
            if matrix is not None:
                return _from_square(doubled(), matrix, residual, cut, counted)
            why = "the rows of D do not fit into memory, and are needed for it"
    if in_time(2.0 * LANCZOS_STEPS * jacobian.product_flops(), "bounds of the spectrum", products=LANCZOS_STEPS):
        return _from_lanczos(doubled(), counted, why)
    return Spectrum("not computed")


def calls_to_form(jacobian: Jacobian) -> int:
    """How many products the rows of D take, about: of a D by products, one a row or column; else a pass over them."""
    pieces = [piece for block in jacobian.blocks for piece in block.columns]
    by_products = any(isinstance(piece, ProductColumns) for piece in pieces)
    return min(jacobian.shape) if by_products else 1


def _square_flops(jacobian: Jacobian) -> float:
    """Flops of DDᵀ, or of DᵀD where that is the one to form."""
    m, k = jacobian.shape
    return jacobian.gram_flops() if is_by_rows(jacobian) else float(m) * k**2


def _from_dense(jacobian: Jacobian, residual: Outputs, rcond: float) -> Spectrum:
    """`D = RᵀQᵀ`, wide, or `D = QR`: in the basis Q only the triangle is left to decompose."""
    dense = jacobian.dense()
    if not bool(torch.isfinite(dense).all()):
        return Spectrum("not computed", reason=NOT_FINITE)
    wide = dense.shape[0] <= dense.shape[1]
    q = reflected(dense.T if wide else dense)
    triangle, r = (q.triangle.T, residual) if wide else (q.triangle, q.adjoint(residual))
    sigma, reachable, velocity = _from_triangle(triangle, r, rcond, upper=not wide)
    largest, kept = float(sigma[0]), sigma[sigma > rcond * sigma[0]]
    return Spectrum(
        "spectrum",
        rcond=rcond,
        resolution=max(rcond, max(dense.shape) * torch.finfo(torch.float64).eps) * largest,
        rank=len(kept),
        sigma_max=largest,
        sigma_min=float(kept[-1]) if len(kept) else None,
        reachable=reachable if wide else q.apply(reachable),
        velocity=q.apply(velocity) if wide else velocity,
    )


def _from_triangle(triangle: Tensor, r: Outputs, rcond: float, *, upper: bool) -> tuple[Tensor, Outputs, Theta]:
    """σ of a triangle T, (n, n), with `P r` and `−T⁺r`; singular vectors only where a σ is cut.

    No pivot is below σ_min and no row longer than σ_max: where these show that a σ is cut, σ alone is not asked for.
    """
    if triangle.diagonal().abs().min() > rcond * triangle.norm(dim=1).max():
        sigma = singular_values(triangle)
        if sigma[-1] > rcond * sigma[0]:
            return sigma, r, -torch.linalg.solve_triangular(triangle, r[:, None], upper=upper)[:, 0]
    u, sigma, vh = svd(triangle, full_matrices=True)
    keep = sigma > rcond * sigma[0]
    u, kept, vh = u[:, keep], sigma[keep], vh[keep]
    coefficients = u.T @ r
    return sigma, u @ coefficients, -(vh.T @ (coefficients / kept))


def _from_square(
    jacobian: Jacobian, matrix: Tensor, residual: Outputs, rcond: float, counted: Tensor | None
) -> Spectrum:
    """Through DDᵀ or DᵀD: nothing below √(n·eps)·σ_max can be distinguished from zero."""
    if not bool(torch.isfinite(matrix).all()):
        return Spectrum("not computed", reason=NOT_FINITE)
    factor = eigh(matrix, rcond=rcond)
    if is_by_rows(jacobian):
        reachable, velocity = factor.project(residual), -jacobian.rmv(factor.solve(residual))
    else:
        velocity = -factor.solve(jacobian.rmv(residual))
        reachable = -jacobian.mv(velocity)
    largest = math.sqrt(float(factor.values[-1])) if factor.rank else 0.0
    smallest = math.sqrt(float(factor.values[0])) if factor.rank else None
    near = smallest is not None and smallest <= NEAR_RESOLUTION * factor.resolution
    return Spectrum(
        "spectrum",
        rcond=max(rcond, math.sqrt(len(matrix) * torch.finfo(matrix.dtype).eps)),
        resolution=max(factor.resolution, rcond * largest),
        rank=factor.rank,
        sigma_max=largest,
        sigma_min=smallest,
        sigma_min_is_bound=near or factor.rank < min(_n_counted(jacobian, counted), jacobian.n_params),
        reachable=reachable,
        velocity=velocity,
    )


def _from_lanczos(jacobian: Jacobian, counted: Tensor | None, why: str) -> Spectrum:
    """Bounds of σ_max and σ_min, the latter over the rows that count; `why` the rank is not known."""
    m, k = jacobian.shape
    by_rows = _n_counted(jacobian, counted) <= k
    n = m if by_rows else k
    if not fits(8.0 * (LANCZOS_STEPS + 4) * n, jacobian.device):
        return Spectrum("not computed", reason=f"{LANCZOS_STEPS} vectors of {n} numbers do not fit into memory.")
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(n, generator=generator, dtype=torch.float64, device="cpu").to(jacobian.device)
    if by_rows and counted is not None:
        start = start * counted  # a row of zeros has σ = 0, and says nothing of the others
    space = ROWS if by_rows else PARAMETERS

    def operator(v: Tensor) -> Tensor:
        return jacobian.mv(jacobian.rmv(v)) if by_rows else jacobian.rmv(jacobian.mv(v))

    first = space.norm(operator(start))
    if not math.isfinite(first):
        return Spectrum("not computed", reason=NOT_FINITE)
    if first == 0.0:
        return Spectrum("bounds", sigma_max=0.0, sigma_min=0.0, sigma_min_is_bound=True, rank=0)
    largest, smallest = lanczos_extremes(operator, start, iterations=LANCZOS_STEPS, space=space)
    return Spectrum(
        "bounds",
        sigma_max=math.sqrt(max(largest, 0.0)),
        sigma_min=math.sqrt(max(smallest, 0.0)),
        sigma_min_is_bound=True,
        reason=f"how many residuals can be moved on their own, the rank, is not known: {why} (m = {m}, K = {k}).",
    )


def _n_counted(jacobian: Jacobian, counted: Tensor | None) -> int:
    """The number of rows of positive weight."""
    return jacobian.n_residuals if counted is None else int(counted.sum())
