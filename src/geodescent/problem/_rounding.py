"""The rounding floor: the cost that rounding errors alone produce in a precision."""

import math

import torch

from geodescent._deadline import SMALL_SHARE, Allowance
from geodescent._types import Outputs, Theta
from geodescent.linalg import row_dot
from geodescent.problem._problem import Problem

DRAWS = 4  # Random roundings of θ that the floor is a mean over.
WITHIN_SIGHT = 1e4  # Times what rounding the targets causes: costs below it may be near the floor of any network.
SAME_COST = 1e-6  # Share of a cost: two measurements of it at one point may differ by this.
SAME_FLOORS = 1e2  # Rounding floors: two measurements may differ by this much in addition.


def rounding_floor(problem: Problem, theta: Theta) -> float:
    """`E‖s(x[θ(1 + eps·u)] − x[θ])‖²/(2N)`, u uniform on [−½, ½]: the cost that rounding θ causes.

    The mean of a few draws, plus what rounding x and y themselves causes, `‖s·eps·max(|x|, |y|)‖²/(24N)`. An estimate,
    not a bound: a run may end at several times this cost, or at a fraction of it.

    Args:
        problem: with the dtype that decides eps.
        theta: where, (K,).

    Cost: five forward passes; at least two where time is short.
    """
    eps = torch.finfo(theta.dtype).eps
    generator = torch.Generator().manual_seed(0)
    moved, drawn, allowed = 0.0, 0, Allowance(SMALL_SHARE)
    outputs = problem.outputs(theta)
    while drawn == 0 or (drawn < DRAWS and not allowed.is_spent):
        u = torch.rand(theta.shape, generator=generator, dtype=torch.float64, device="cpu") - 0.5
        nudged = theta * (1.0 + eps * u.to(theta.device)).to(theta.dtype)
        moved += _square(problem, problem.outputs(nudged) - outputs)
        drawn += 1
    stored = _square(problem, eps * torch.maximum(outputs.abs(), problem.target.abs())) / 12.0
    return (moved / drawn + stored) / (2.0 * problem.n_samples)


def may_be_rounding(problem: Problem, cost: float, reference: float) -> bool:
    """Whether a cost is so low that it may be near the rounding floor, which is not worth its passes before.

    So is one below √eps of the scale of costs: rounding θ moves outputs by eps, times what a network amplifies it by,
    and costs by the square of that. And one that is near what rounding the targets alone causes, as where these lie far
    from zero.

    Args:
        reference: the scale of costs.
    """
    eps = torch.finfo(problem.dtype).eps
    if cost <= math.sqrt(eps) * reference:
        return True
    stored = _square(problem, eps * problem.target) / (24.0 * problem.n_samples)
    return cost <= WITHIN_SIGHT * stored


def same_cost(cost: float, other: float, floor: float) -> bool:
    """Whether two costs may be those of one point on the same data: to a millionth and a hundred floors.

    An infinite `other`, which stands for one that is not known, agrees with everything.
    """
    return abs(cost - other) <= SAME_COST * other + SAME_FLOORS * floor


def _square(problem: Problem, rows: Outputs) -> float:
    """`‖s·rows‖²` in float64."""
    weighted = problem.weighted(rows.double())
    return row_dot(weighted, weighted)
