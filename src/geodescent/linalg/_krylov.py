"""Solves and spectra through products alone: conjugate gradients, LSMR, Lanczos."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.linalg._stopping import Enough
from geodescent.linalg._sums import dot, norm

Operator = Callable[[Tensor], Tensor]


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
    enough: Enough,
    max_iterations: int,
    near: Tensor | None = None,
) -> Iterations:
    """Solves `A z = b`, A symmetric and positive definite, by preconditioned conjugate gradients.

    Args:
        operator: z ↦ A z.
        preconditioner: M, nearly A⁻¹.
        enough: where to stop: `residual_test`, `gap_test` or `Pace`.
        near: a vector on whose line to begin, at the least of `½⟨z, Az⟩ − ⟨b, z⟩` on it; None: at zero.

    Source: Golub & Van Loan, *Matrix Computations*, algorithm 11.5.1, with the Polak–Ribière quotient, which keeps
    its footing where the preconditioner is inexact.
    """
    scale, z, r = norm(b), torch.zeros_like(b), b.clone()
    if scale == 0.0:
        return Iterations(z, 0, 0.0, True)
    if near is not None:
        q = operator(near)
        curvature = dot(near, q)
        if curvature > 0.0:
            step = dot(near, b) / curvature
            z, r = near * step, torch.sub(r, q, alpha=step)
    s = preconditioner(r)
    p, rho = s.clone(), dot(r, s)
    best, best_norm, count, done = z, norm(r), 0, enough(z, r, rho)
    while not done and count < max_iterations:
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
        size = norm(r)
        done = enough(z, r, rho)
        if done or size < best_norm:
            best, best_norm = z, size
    return Iterations(best, count, best_norm / scale, done)


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
