"""What a network linearised at its start leaves out of the residual, of each row when the others are fitted."""

import math

import torch
from torch import Tensor

from geodescent._deadline import require_time
from geodescent.linalg import cholesky, outer_square, row_norm
from geodescent.problem import Problem

MOST_JUDGED_PARAMETERS = 1200  # Of more, a start is judged by as many rows: larger factors take too long.
FEWEST_JUDGED_ROWS = 400  # That a start is judged by, if there are as many, however few parameters there are.
ROWS_A_PARAMETER = 2.0  # With fewer, what is left out is inflated, and short waves are not seen (docs/decisions.md).
MOST_ROWS_OF_ALL = 4000  # Of all rows, that what is about to be chosen is judged by.
DAMPINGS = (0.5, 50.0, 5000.0)
"""In units of the rounding of DᵀD, n·eps of its trace: the first with a factor counts; larger ones leave out more."""
FEWEST_POINTS = 8  # Of a term, that are kept.
LEAST_APART = 1e-9  # Least 1 − leverage that a row is divided by.


def n_judged_rows(problem: Problem) -> int:
    """By about how many of its rows a start is judged."""
    if problem.n_params > MOST_JUDGED_PARAMETERS:
        return min(problem.n_residuals, MOST_JUDGED_PARAMETERS)
    wanted = max(FEWEST_JUDGED_ROWS, math.ceil(ROWS_A_PARAMETER * problem.n_params))
    return min(problem.n_residuals, wanted)


def spread(n: int, share: float, generator: torch.Generator) -> Tensor:
    """About this share of the numbers below n, ascending: one at random from each of as many equal parts.

    Every k-th would be on one side of the box of Sobol points, and in few columns of a grid.
    """
    k = min(n, max(FEWEST_POINTS, math.ceil(share * n)))
    if k == n:
        return torch.arange(n, device="cpu")
    places = torch.arange(k, device="cpu") + torch.rand(k, generator=generator, dtype=torch.float64, device="cpu")
    return (places * (n / k)).long().clamp_max(n - 1)


def left_out(problem: Problem) -> float:
    """Root mean square of the residuals left out in turn, `(r − D h)/(1 − leverage)` with a ridge for h, at θ.

    It is infinite where D is not finite, or has no factor.

    Cost: DᵀD or DDᵀ, whichever is smaller, its Cholesky factor, and the leverages: n² max(3m, 2K) + 2n³ flops at most.
    """
    residual, jacobian = problem.linearise(problem.theta, dtype=torch.float64)
    rows = jacobian.dense()
    n, is_wide = min(rows.shape), rows.shape[0] <= rows.shape[1]
    require_time("a choice of the start", flops=n**2 * (3.0 * max(rows.shape) + 2.0 * n))
    gram = outer_square(rows if is_wide else rows.T)
    rounding = n * torch.finfo(gram.dtype).eps * float(gram.trace())
    for damping in (times * rounding for times in DAMPINGS):
        factor = cholesky(gram, damping=damping)
        if factor is not None:
            break
    else:
        return math.inf
    if is_wide:  # I − H = μ (DDᵀ + μI)⁻¹
        others = damping * torch.cholesky_inverse(factor.lower)
        rest, apart = others @ residual, others.diagonal()
    else:  # H = D (DᵀD + μI)⁻¹ Dᵀ
        half = torch.linalg.solve_triangular(factor.lower, rows.T, upper=False)
        rest, apart = residual - half.T @ (half @ residual), 1.0 - torch.linalg.vector_norm(half, dim=0).square()
    value = row_norm(rest / apart.clamp_min(LEAST_APART)) / math.sqrt(len(rest))
    return value if math.isfinite(value) else math.inf
