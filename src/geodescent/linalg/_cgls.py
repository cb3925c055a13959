"""Damped least squares by conjugate gradients, for solves that stop early."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._deadline import SOLVE_SHARE, Allowance
from geodescent.linalg._krylov import Operator
from geodescent.linalg._stopping import SEEN
from geodescent.linalg._sums import dot, row_dot


@dataclass(frozen=True)
class LeastSquares:
    """An approximate solution of `min ‖r + Bx‖² + μ‖x‖²`.

    Attributes:
        solution: x, (K,).
        left: r + Bx, (m,).
        count: of iterations.
    """

    solution: Tensor
    left: Tensor
    count: int


def conjugate_least_squares(
    mv: Operator,
    rmv: Operator,
    r: Tensor,
    *,
    damping: float,
    preconditioner: Operator,
    enough: Callable[[list[float]], bool],
    max_iterations: int,
) -> LeastSquares:
    """Lowers φ(x) = ‖r + Bx‖² + μ‖x‖² by preconditioned conjugate gradients from x = 0, as CGLS does: r + Bx is kept.

    Each iteration goes to the least of φ on its line, ⟨p, g⟩/‖p‖² in the norm of φ and not ⟨g, s⟩/‖p‖², which is the
    same without rounding: iterations beyond the precision then do no harm.

    Args:
        mv, rmv: x ↦ Bx and u ↦ Bᵀu.
        preconditioner: nearly (BᵀB + μ)⁻¹.
        enough: whether to stop, decided from the falls of ln φ so far, the first of them 0.

    Cost: a product with B and one with Bᵀ an iteration, the first product with Bᵀ before it.
    Source: Björck, *Numerical Methods for Least Squares Problems*, algorithm 7.4.1, with the Polak–Ribière quotient.
    """
    x, left, energy = torch.zeros_like(g := rmv(r).neg_()), r.clone(), row_dot(r, r)
    s = preconditioner(g)
    p, rho = s, dot(g, s)
    falls, count, allowed = [0.0], 0, Allowance(SOLVE_SHARE)
    while count < max_iterations and rho > 0.0 and not (count and allowed.is_spent):
        q = mv(p)
        curvature = row_dot(q, q) + damping * dot(p, p)
        step = dot(p, g) / curvature if curvature > 0.0 else math.inf
        if not math.isfinite(step):
            break
        x.add_(p, alpha=step)
        left.add_(q, alpha=step)
        count += 1
        remaining = row_dot(left, left) + damping * dot(x, x)
        falls.append(math.log(energy / remaining) if remaining > 0.0 else math.inf)
        if enough(falls) or count == max_iterations:
            break
        previous, g = g, rmv(left).neg_().sub_(x, alpha=damping)
        s = preconditioner(g)
        rho, before = dot(g, s), rho
        p = s.add(p, alpha=(rho - dot(previous, s)) / before)
    return LeastSquares(x, left, count)


def paced(*, price: float, enough: float) -> Callable[[list[float]], bool]:
    """A rule for `conjugate_least_squares`: stops where the last iterations gain less than a new step would.

    A new step gains on average what this one has gained so far, divided by its iterations and its own price. The last
    iterations are a quarter of all and one more.

    Args:
        price: of a step, in iterations.
        enough: a fall of ln φ that is sufficient to stop.
    """

    def slowed(falls: list[float]) -> bool:
        fall, count = falls[-1], len(falls) - 1
        if fall >= enough:
            return True
        window = 1 + count // 4
        return fall >= SEEN and (fall - falls[max(0, count - window)]) / window <= fall / (count + price)

    return slowed
