"""Solves and spectra of symmetric operators through products alone: conjugate gradients, Lanczos."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._deadline import SOLVE_SHARE, Allowance
from geodescent.linalg._stopping import Enough
from geodescent.linalg._sums import PARAMETERS, Space

Operator = Callable[[Tensor], Tensor]

INVARIANT = 1e-12  # Share of ‖A‖: a Lanczos vector shorter than this is rounding, and the subspace is invariant.


@dataclass(frozen=True)
class Iterations:
    """The result of an iterative solve.

    Attributes:
        solution: the best so far.
        count: of iterations.
        relative_residual: of the solution.
        converged: whether it is as good as was asked for.
        cut: whether it is not, because the time ran out.
    """

    solution: Tensor
    count: int
    relative_residual: float
    converged: bool
    cut: bool = False


def conjugate_gradients(
    operator: Operator,
    b: Tensor,
    *,
    preconditioner: Operator,
    enough: Enough,
    max_iterations: int,
    near: Tensor | None = None,
    space: Space = PARAMETERS,
    share: float = SOLVE_SHARE,
) -> Iterations:
    """Solves `A z = b`, A symmetric and positive definite, by preconditioned conjugate gradients.

    Args:
        operator: z ↦ A z.
        preconditioner: M, nearly A⁻¹.
        enough: where to stop: `residual_test`, `gap_test` or `Pace`.
        near: a vector; the iteration starts at its multiple that minimises `½⟨z, Az⟩ − ⟨b, z⟩`. None starts at zero.
        space: that of z: PARAMETERS or ROWS.
        share: of the time that is left to a deadline, after which the iteration ends.

    Source: Golub & Van Loan, *Matrix Computations*, algorithm 11.5.1, with the Polak–Ribière quotient, which
    still converges where the preconditioner is applied inexactly.
    """
    dot, norm = space.dot, space.norm
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
    allowed = Allowance(share)
    while not done and count < max_iterations and not (count and allowed.is_spent):
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
    cut = not done and allowed.is_spent  # then the last: `½⟨z, Az⟩ − ⟨b, z⟩` falls at every iteration, ‖r‖ need not
    return Iterations(z if cut else best, count, (norm(r) if cut else best_norm) / scale, done, cut)


def lanczos_extremes(
    operator: Operator, start: Tensor, *, iterations: int = 40, space: Space = PARAMETERS
) -> tuple[float, float]:
    """`(λ_max estimate, upper bound of λ_min)` of a symmetric operator: the extreme Ritz values.

    Every Ritz value lies inside the spectrum, so the smallest bounds λ_min from above and the largest bounds λ_max
    from below. Full reorthogonalisation.

    Cost: `iterations` products and as many vectors.
    Source: Golub & Van Loan, *Matrix Computations*, section 10.1.
    """
    dot, norm = space.dot, space.norm
    basis, diagonal, off, allowed = [start / norm(start)], list[float](), list[float](), Allowance(SOLVE_SHARE)
    for _ in range(min(iterations, len(start))):
        if off and allowed.is_spent:
            break
        w = operator(basis[-1])
        diagonal.append(dot(basis[-1], w))
        for vector in basis + basis:
            w = torch.sub(w, vector, alpha=dot(vector, w))
        beta = norm(w)
        if beta <= INVARIANT * max(map(abs, diagonal)):
            break
        off.append(beta)
        basis.append(w / beta)
    size = len(diagonal)
    ritz = torch.diag(torch.tensor(diagonal, dtype=torch.float64, device="cpu"))
    for i, beta in enumerate(off[: size - 1]):
        ritz[i, i + 1] = ritz[i + 1, i] = beta
    values = torch.linalg.eigvalsh(ritz)
    return float(values[-1]), float(values[0])
