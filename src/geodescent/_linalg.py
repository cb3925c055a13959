"""Factor once, solve many: dense factors, conjugate gradients, LSMR, Lanczos. Tensors only, no networks."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


def dot(a: Tensor, b: Tensor) -> float:
    """`⟨a, b⟩` over rows. This, `norm` and `total` are the only sums over rows."""
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def norm(a: Tensor) -> float:
    """`‖a‖₂`."""
    return float(torch.linalg.vector_norm(a))


def total(a: Tensor) -> float:
    """`Σ aᵢ`."""
    return float(a.sum())


# --- dense factors of a symmetric positive semidefinite matrix ------------------------------------------------------


@dataclass(frozen=True)
class CholeskyFactor:
    """`A + μI = L Lᵀ`.

    Attributes:
        lower: L, lower triangular.
        rank: the order of A: a Cholesky is only trusted where nothing was cut.
        pivot_ratio: smallest pivot of A + μI over the largest.
    """

    lower: Tensor
    rank: int
    pivot_ratio: float

    def solve(self, b: Tensor) -> Tensor:
        """`(A + μI)⁻¹ b`, b of shape (n,) or (n, k)."""
        columns = b.reshape(len(b), -1)
        return torch.cholesky_solve(columns, self.lower).reshape(b.shape)


@dataclass(frozen=True)
class EighFactor:
    """`A ≈ V diag(λ) Vᵀ` with the eigenvalues below the cut left out.

    Attributes:
        values: the eigenvalues kept, ascending.
        vectors: their eigenvectors, (n, rank).
        damping: μ.
        resolution: σ below which nothing can be told from zero, √(n·eps·λ_max) (THEORY 1.7).
    """

    values: Tensor
    vectors: Tensor
    damping: float
    resolution: float

    @property
    def rank(self) -> int:
        return len(self.values)

    def solve(self, b: Tensor) -> Tensor:
        """`Σ vᵢ (λᵢ + μ)⁻¹ ⟨vᵢ, b⟩` over the eigenvalues kept: the Penrose inverse at μ = 0."""
        columns = b.reshape(len(b), -1)
        coefficients = (self.vectors.T @ columns) / (self.values + self.damping)[:, None]
        return (self.vectors @ coefficients).reshape(b.shape)

    def project(self, b: Tensor) -> Tensor:
        """`P b`: the part of b in the range kept."""
        return self.vectors @ (self.vectors.T @ b)


Factor = CholeskyFactor | EighFactor


def cholesky(matrix: Tensor, *, damping: float = 0.0, overwrite: bool = False) -> CholeskyFactor | None:
    """The Cholesky factor of A + μI, or None where it cannot be trusted.

    Trusted only if the smallest pivot is above n·eps of the largest: a Cholesky that merely succeeds is no proof of
    rank (THEORY 1.7).

    Args:
        matrix: A, symmetric positive semidefinite, (n, n); only the lower triangle is read.
        damping: μ ≥ 0.
        overwrite: A's memory may be used up; for one matrix of the largest size.

    Cost: n³/3 flops, one n × n buffer (none with `overwrite`).
    """
    n = len(matrix)
    lower = matrix if overwrite else matrix.clone()
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
    values, vectors = torch.linalg.eigh(matrix)
    largest = float(values[-1].clamp(min=0.0))
    level = len(matrix) * torch.finfo(matrix.dtype).eps
    cut = max(level, (rcond or 0.0) ** 2) * largest
    keep = values > cut
    if not bool(keep.all()):  # a copy only where something is cut
        values, vectors = values[keep], vectors[:, keep]
    return EighFactor(values, vectors, damping, math.sqrt(level * largest))


def definite(matrix: Tensor, *, damping: float) -> Factor:
    """A factor that is positive definite whatever the rank, for a preconditioner: A + μI, μ raised to n·eps·λ_max."""
    found = cholesky(matrix, damping=damping)
    if found is not None:
        return found
    values, vectors = torch.linalg.eigh(matrix)
    level = len(matrix) * torch.finfo(matrix.dtype).eps * float(values[-1].clamp(min=torch.finfo(matrix.dtype).tiny))
    return EighFactor(values.clamp(min=0.0), vectors, max(damping, level), math.sqrt(level))


def factor(matrix: Tensor, *, damping: float = 0.0, rcond: float | None = None) -> Factor:
    """Cholesky first; the rank-revealing eigendecomposition where that is not to be trusted or `rcond` is given."""
    if rcond is None:
        found = cholesky(matrix, damping=damping)
        if found is not None:
            return found
    return eigh(matrix, damping=damping, rcond=rcond)


# --- iterations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Iterations:
    """What an iterative solve returns: the solution, its count, the relative residual, and whether it got there."""

    solution: Tensor
    count: int
    relative_residual: float
    converged: bool


def conjugate_gradients(
    operator: Operator,
    b: Tensor,
    *,
    preconditioner: Operator,
    tol: float,
    max_iterations: int,
    start: Tensor | None = None,
    slack: float = 0.0,
) -> Iterations:
    """Solves `A z = b`, A symmetric positive definite, by preconditioned conjugate gradients until ‖b − Az‖ ≤ tol·‖b‖.

    Source: Golub & Van Loan, *Matrix Computations*, algorithm 11.5.1, with the Polak–Ribière quotient, which keeps
    its footing where the preconditioner is inexact.
    """
    scale = norm(b)
    z = torch.zeros_like(b) if start is None else start.clone()
    r = b.clone() if start is None else b - operator(z)
    if scale == 0.0:
        return Iterations(torch.zeros_like(b), 0, 0.0, True)
    s = preconditioner(r)
    p, rho = s.clone(), dot(r, s)
    best, best_norm, count = z, norm(r), 0
    while best_norm > max(tol * scale, slack * norm(best)) and count < max_iterations:
        q = operator(p)
        curvature = dot(p, q)
        if not (curvature > 0.0 and rho > 0.0 and math.isfinite(rho)):
            break
        step = rho / curvature
        z = torch.add(z, p, alpha=step)
        previous = r
        r = torch.sub(r, q, alpha=step)
        s = preconditioner(r)
        rho, rho_previous = dot(r, s), rho
        p.mul_((rho - dot(previous, s)) / rho_previous).add_(s)
        count += 1
        if norm(r) < best_norm:
            best, best_norm = z, norm(r)
    return Iterations(best, count, best_norm / scale, best_norm <= max(tol * scale, slack * norm(best)))


def lsmr(mv: Operator, rmv: Operator, b: Tensor, *, tol: float, max_iterations: int) -> Iterations:
    """The least-norm least-squares solution `D⁺ b`, of any rank, by LSMR; no damping.

    Stops at ‖Dᵀr‖ ≤ tol·‖D‖·‖r‖ or ‖r‖ ≤ tol·‖b‖, with the norms estimated on the way.

    Cost: one product with D and one with Dᵀ an iteration; four vectors.
    Source: Fong & Saunders, SIAM J. Sci. Comput. 33 (2011), section 2.
    """
    beta = norm(b)
    u = b / beta if beta > 0.0 else b.clone()
    v = rmv(u)
    alpha = norm(v)
    x = torch.zeros_like(v)
    if alpha * beta == 0.0:
        return Iterations(x, 0, 1.0 if beta > 0.0 else 0.0, True)
    v = v / alpha
    h, h_bar = v.clone(), torch.zeros_like(v)
    zeta_bar, alpha_bar, rho, rho_bar, c_bar, s_bar = alpha * beta, alpha, 1.0, 1.0, 1.0, 0.0
    beta_dd, beta_d, rho_d_old, tau_tilde_old, theta_tilde, zeta, d = beta, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
    square, count, residual, converged = alpha**2, 0, beta, False
    while count < max_iterations and not converged:
        count += 1
        u = mv(v).sub_(u, alpha=alpha)
        beta_next = norm(u)
        if beta_next > 0.0:
            u = u / beta_next
            v = rmv(u).sub_(v, alpha=beta_next)
            alpha = norm(v)
            v = v / alpha if alpha > 0.0 else v
        else:
            alpha = 0.0
        rho_old, rho = rho, math.hypot(alpha_bar, beta_next)
        c, s = alpha_bar / rho, beta_next / rho
        theta_new, alpha_bar = s * alpha, c * alpha
        rho_bar_old, zeta_old = rho_bar, zeta
        theta_bar, rho_temp = s_bar * rho, c_bar * rho
        rho_bar = math.hypot(rho_temp, theta_new)
        if rho_bar == 0.0:
            break
        c_bar, s_bar = rho_temp / rho_bar, theta_new / rho_bar
        zeta, zeta_bar = c_bar * zeta_bar, -s_bar * zeta_bar
        h_bar = h - h_bar * (theta_bar * rho / (rho_old * rho_bar_old))
        x = x + h_bar * (zeta / (rho * rho_bar))
        h = v - h * (theta_new / rho)
        # ‖r‖, by the recurrences of section 5.1 of the source
        beta_hat, beta_dd = c * beta_dd, -s * beta_dd
        theta_tilde_old = theta_tilde
        rho_tilde_old = math.hypot(rho_d_old, theta_bar)
        c_tilde, s_tilde = rho_d_old / rho_tilde_old, theta_bar / rho_tilde_old
        theta_tilde, rho_d_old = s_tilde * rho_bar, c_tilde * rho_bar
        beta_d = -s_tilde * beta_d + c_tilde * beta_hat
        tau_tilde_old = (zeta_old - theta_tilde_old * tau_tilde_old) / rho_tilde_old
        tau_d = (zeta - theta_tilde * tau_tilde_old) / rho_d_old
        residual = math.sqrt(d + (beta_d - tau_d) ** 2 + beta_dd**2)
        square += beta_next**2
        frobenius = math.sqrt(square)
        square += alpha**2
        converged = abs(zeta_bar) <= tol * frobenius * residual or residual <= tol * beta or alpha == 0.0
    return Iterations(x, count, residual / beta, converged)


def lanczos_extremes(operator: Operator, start: Tensor, *, iterations: int = 40) -> tuple[float, float]:
    """`(λ_max estimate, upper bound of λ_min)` of a symmetric operator: the extreme Ritz values.

    Every Ritz value lies inside the spectrum, so the smallest bounds λ_min from above and the largest bounds λ_max
    from below. Full reorthogonalisation.

    Cost: `iterations` products and as many vectors.
    Source: Golub & Van Loan, *Matrix Computations*, section 10.1.
    """
    basis, diagonal, off = [start / norm(start)], [], []
    for _ in range(min(iterations, len(start))):
        w = operator(basis[-1])
        diagonal.append(dot(basis[-1], w))
        for vector in basis + basis:
            w = torch.sub(w, vector, alpha=dot(vector, w))
        beta = norm(w)
        if beta <= 1e-12 * max(map(abs, diagonal)):
            break
        off.append(beta)
        basis.append(w / beta)
    size = len(diagonal)
    ritz = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, beta in enumerate(off[: size - 1]):
        ritz[i, i + 1] = ritz[i + 1, i] = beta
    values = torch.linalg.eigvalsh(ritz)
    return float(values[-1]), float(values[0])
