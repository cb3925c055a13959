"""What kind of point a run has come to: zero cost, critical, or still moving."""

import math
from dataclasses import asdict, dataclass

import torch

from geodescent._budget import budget, in_time
from geodescent._types import Theta
from geodescent.certificate._spectrum import Spectrum
from geodescent.problem import Problem, hessian, hessian_extremes

CRITICAL = 1e-6  # Share of ‖r‖: with ‖P r‖ below it the linear model promises a relative fall of the cost below 1e-12.
AT_ZERO = 100.0  # Rounding floors that count as zero cost.
HESSIAN_WORK = 3e9  # Of K²·m: the Hessian is formed up to it, and up to the budget's `hessian_order`.


@dataclass(frozen=True)
class Point:
    """A point of the cost landscape.

    Attributes:
        kind: zero_cost, critical, or moving.
        rank: of D, or None.
        gradient_ratio: ‖P r‖/‖r‖; where P is not known, its lower bound ‖Dᵀr‖/(σ_max‖r‖).
        nullity: dimension of ker ∇²C, or None.
        smallest_eigenvalue: of ∇²C; an upper bound where the Hessian was not formed.
        saddle: whether ∇²C has a negative eigenvalue; None where that is not known.
        sentence: for people.
    """

    kind: str
    rank: int | None
    gradient_ratio: float | None
    nullity: int | None
    smallest_eigenvalue: float | None
    saddle: bool | None
    sentence: str

    def as_dict(self) -> dict[str, object]:
        """For JSON: None where a number does not exist."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def point_at(
    problem: Problem, theta: Theta, spectrum: Spectrum, ratio: float | None, *, cost: float, rounding_floor: float
) -> Point:
    """The kind of the point θ.

    Args:
        spectrum: of D at θ.
        ratio: ‖P r‖/‖r‖ or its lower bound, or None.
        cost, rounding_floor: C(θ), and the cost that rounding alone makes.

    Cost: nothing but at critical points; there K backward passes of a gradient, or 40.
    """
    rank, n_params = spectrum.rank, problem.n_params
    if cost <= AT_ZERO * rounding_floor:
        nullity = None if rank is None else n_params - rank
        kind = "" if nullity is None else f"; the Hessian there is DᵀD/N, of nullity {nullity}"
        return Point("zero_cost", rank, ratio, nullity, None, False, f"zero cost to rounding{kind}.")
    if ratio is None or ratio > CRITICAL:
        part = "" if ratio is None else f": to first order {ratio:.2%} of the residual can be removed"
        return Point("moving", rank, ratio, None, None, None, f"still moving{part}.")
    return _critical(problem, theta, rank, ratio)


def _critical(problem: Problem, theta: Theta, rank: int | None, ratio: float) -> Point:
    k = problem.n_params
    if not in_time(k * k * float(problem.n_residuals), "the kind of the critical point"):
        return Point("critical", rank, ratio, None, None, None, f"critical, rank {_or_unknown(rank)}.")
    if k > budget().hessian_order or k * k * problem.n_residuals > HESSIAN_WORK:
        largest, smallest = hessian_extremes(problem, theta)
        saddle = True if smallest < -_resolved(largest, smallest, theta) else None
        kind = "a saddle" if saddle else "whether it is a saddle is not known"
        sentence = (
            f"critical, rank {_or_unknown(rank)}; {kind}: the smallest eigenvalue of the Hessian is ≤ {smallest:.2g}."
        )
        return Point("critical", rank, ratio, None, smallest, saddle, sentence)
    values = torch.linalg.eigvalsh(hessian(problem, theta))
    smallest, level = float(values[0]), _resolved(float(values[-1]), float(values[0]), theta)
    nullity, saddle = int((values.abs() <= level).sum()), smallest < -level
    kind = "a strict saddle" if saddle else "no negative curvature"
    sentence = (
        f"critical, rank {_or_unknown(rank)}, {kind}; the Hessian's nullity is {nullity}, which bounds the dimension."
    )
    return Point("critical", rank, ratio, nullity, smallest, saddle, sentence)


def _or_unknown(rank: int | None) -> str:
    return "unknown" if rank is None else str(rank)


def _resolved(largest: float, smallest: float, theta: Theta) -> float:
    """√eps of the largest eigenvalue: where the gradient is zero to rounding only, smaller ones may be zero."""
    return math.sqrt(torch.finfo(theta.dtype).eps) * max(abs(largest), abs(smallest))
