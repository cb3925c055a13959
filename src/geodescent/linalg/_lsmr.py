"""The least-norm least-squares solution through products with D alone."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from geodescent._deadline import SOLVE_SHARE, Allowance
from geodescent.linalg._krylov import Iterations, Operator
from geodescent.linalg._sums import norm, row_norm


def lsmr(mv: Operator, rmv: Operator, b: Tensor, *, tol: float, max_iterations: int) -> Iterations:
    """The least-norm least-squares solution `D⁺ b`, of any rank, by LSMR; no damping.

    Stops at ‖Dᵀr‖ ≤ tol·‖D‖·‖r‖ or ‖r‖ ≤ tol·‖b‖, with the norms estimated on the way.

    Cost: one product with D and one with Dᵀ an iteration; four vectors.
    Source: Fong & Saunders, SIAM J. Sci. Comput. 33 (2011), section 2.
    """
    beta = row_norm(b)
    u = b / beta if beta > 0.0 else b.clone()
    v = rmv(u)
    alpha = norm(v)
    x = torch.zeros_like(v)
    if alpha * beta == 0.0:
        return Iterations(x, 0, 1.0 if beta > 0.0 else 0.0, True)
    v = v / alpha
    h, h_bar = v.clone(), torch.zeros_like(v)
    zeta_bar, alpha_bar, rho, rho_bar, c_bar, s_bar = alpha * beta, alpha, 1.0, 1.0, 1.0, 0.0
    residual, square, count, converged = _ResidualNorm(beta), alpha**2, 0, False
    steps, allowed = _bidiagonalisation(mv, rmv, u, v, alpha), Allowance(SOLVE_SHARE)
    while count < max_iterations and not converged and not (count and allowed.is_spent):
        count += 1
        beta_next, alpha, v = next(steps)
        rho_old, rho = rho, math.hypot(alpha_bar, beta_next)
        c, s = alpha_bar / rho, beta_next / rho
        theta_new, alpha_bar = s * alpha, c * alpha
        rho_bar_old, theta_bar, rho_temp = rho_bar, s_bar * rho, c_bar * rho
        rho_bar = math.hypot(rho_temp, theta_new)
        if rho_bar == 0.0:
            break
        c_bar, s_bar = rho_temp / rho_bar, theta_new / rho_bar
        zeta, zeta_bar = c_bar * zeta_bar, -s_bar * zeta_bar
        h_bar = h - h_bar * (theta_bar * rho / (rho_old * rho_bar_old))
        x = x + h_bar * (zeta / (rho * rho_bar))
        h = v - h * (theta_new / rho)
        residual.update(c, s, theta_bar, rho_bar, zeta)
        square += beta_next**2
        frobenius = math.sqrt(square)
        square += alpha**2
        small = abs(zeta_bar) <= tol * frobenius * residual.value or residual.value <= tol * beta
        converged = small or alpha == 0.0
    return Iterations(x, count, residual.value / beta, converged, cut=not converged and allowed.is_spent)


def _bidiagonalisation(
    mv: Operator, rmv: Operator, u: Tensor, v: Tensor, alpha: float
) -> Iterator[tuple[float, float, Tensor]]:
    """`(β, α, v)` of each step of Golub and Kahan's bidiagonalisation of D."""
    while True:
        u = mv(v).sub_(u, alpha=alpha)
        beta = row_norm(u)
        if beta > 0.0:
            u = u / beta
            v = rmv(u).sub_(v, alpha=beta)
            alpha = norm(v)
            v = v / alpha if alpha > 0.0 else v
        else:
            alpha = 0.0
        yield beta, alpha, v


class _ResidualNorm:
    """‖r‖, by the recurrences of section 5.1 of the source, in its notation."""

    def __init__(self, beta: float) -> None:
        self.value = beta
        self._beta_dd, self._beta_d, self._rho_d = beta, 0.0, 1.0
        self._tau_tilde, self._theta_tilde, self._zeta = 0.0, 0.0, 0.0

    def update(self, c: float, s: float, theta_bar: float, rho_bar: float, zeta: float) -> None:
        """Updates ‖r‖ after one step of LSMR."""
        beta_hat, self._beta_dd = c * self._beta_dd, -s * self._beta_dd
        theta_tilde_old = self._theta_tilde
        rho_tilde_old = math.hypot(self._rho_d, theta_bar)
        c_tilde, s_tilde = self._rho_d / rho_tilde_old, theta_bar / rho_tilde_old
        self._theta_tilde, self._rho_d = s_tilde * rho_bar, c_tilde * rho_bar
        self._beta_d = -s_tilde * self._beta_d + c_tilde * beta_hat
        self._tau_tilde = (self._zeta - theta_tilde_old * self._tau_tilde) / rho_tilde_old
        tau_d = (zeta - self._theta_tilde * self._tau_tilde) / self._rho_d
        self._zeta = zeta
        self.value = math.sqrt((self._beta_d - tau_d) ** 2 + self._beta_dd**2)
