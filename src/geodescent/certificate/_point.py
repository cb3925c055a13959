"""What kind of point a run has come to: zero cost, critical, or still moving."""

import math
from dataclasses import asdict, dataclass

import torch

from geodescent._budget import budget
from geodescent._deadline import in_time
from geodescent._types import Theta
from geodescent.certificate._spectrum import Spectrum
from geodescent.outputs import Traced
from geodescent.problem import Problem, curvature_at, hessian, hessian_extremes

CRITICAL = 1e-6  # Share of ‖r‖: with ‖P r‖ below it the linear model promises a relative fall of the cost below 1e-12.
AT_ZERO = 100.0  # Rounding floors that count as zero cost.
HESSIAN_PRODUCTS = 40  # Products with ∇²C that its extremes take, by Lanczos.
PRODUCT_PASSES = 3.0  # Forward passes that one product with ∇²C lasts, about.
TOGETHER = 64.0  # Products that are made in one pass where the Hessian is formed.
WHY_NO_COST = (
    "the cost is not finite here. Start at other parameters, or keep the outputs finite: logarithms, roots and "
    "quotients at the edge of where they are defined, and exponentials of large numbers, are the usual reasons."
)
WHY_NO_RATIO = "it was not computed how much of the residual can be removed to first order."
HESSIAN_WORK = 3e9  # Of K²·m: the Hessian is formed up to it, and up to the budget's `hessian_order`.


@dataclass(frozen=True)
class Point:
    """A point of the cost landscape.

    Attributes:
        kind: zero_cost, critical, moving, or unknown.
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

    @property
    def has_ended(self) -> bool:
        """Whether no small change of the parameters lowers the cost to first order."""
        return self.kind in ("critical", "zero_cost")

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
    if not math.isfinite(cost):
        return _unknown(rank, WHY_NO_COST)
    if cost == 0.0 or cost <= AT_ZERO * rounding_floor:
        nullity = None if rank is None else n_params - rank
        kind = "" if nullity is None else f"; the Hessian there is DᵀD/N, of nullity {nullity}"
        return Point("zero_cost", rank, ratio, nullity, None, False, f"zero cost to rounding{kind}.")
    if ratio is None or not math.isfinite(ratio):
        return _unknown(rank, WHY_NO_RATIO)
    if ratio > CRITICAL:
        sentence = f"still moving: to first order {ratio:.2%} of the residual can be removed."
        return Point("moving", rank, ratio, None, None, None, sentence)
    return _critical(problem, theta, rank, ratio)


def _unknown(rank: int | None, why: str) -> Point:
    return Point("unknown", rank, None, None, None, None, f"not known: {why}")


def _critical(problem: Problem, theta: Theta, rank: int | None, ratio: float) -> Point:
    k, at = problem.n_params, f"critical, rank {_or_unknown(rank)}"
    formed = k <= budget().hessian_order and k * k * problem.n_residuals <= HESSIAN_WORK
    if not _has_time(problem, k if formed else HESSIAN_PRODUCTS, together=formed):
        return Point("critical", rank, ratio, None, None, None, f"{at}.")
    known = _by_hessian(problem, theta, rank, ratio) if formed else _by_products(problem, theta, rank, ratio)
    if known is None:
        sentence = f"{at}; whether it is a saddle is not known: the second derivatives are not finite here."
        return Point("critical", rank, ratio, None, None, None, sentence)
    return known


def _has_time(problem: Problem, products: int, *, together: bool) -> bool:
    """Whether there is time for so many products with ∇²C: by autograd, or by two linearisations each."""
    flops, what = float(products) * problem.n_params * problem.n_residuals, "the kind of the critical point"
    if not all(isinstance(block.map, Traced) for block in problem.blocks):
        return in_time(flops, what, linearisations=2.0 * products)
    return in_time(flops, what, forward_passes=PRODUCT_PASSES * products / (TOGETHER if together else 1.0))


def _by_products(problem: Problem, theta: Theta, rank: int | None, ratio: float) -> Point | None:
    """By the extremes of the Hessian's spectrum; None where the Hessian is not finite."""
    product = curvature_at(problem, theta).product(torch.ones_like(theta))
    if not bool(torch.isfinite(product).all()):
        return None
    largest, smallest = hessian_extremes(problem, theta)
    saddle = True if smallest < -_resolved(largest, smallest, theta) else None
    kind = "a saddle" if saddle else "whether it is a saddle is not known"
    sentence = (
        f"critical, rank {_or_unknown(rank)}; {kind}: the smallest eigenvalue of the Hessian is ≤ {smallest:.2g}."
    )
    return Point("critical", rank, ratio, None, smallest, saddle, sentence)


def _by_hessian(problem: Problem, theta: Theta, rank: int | None, ratio: float) -> Point | None:
    """By all eigenvalues of the Hessian; None where it is not finite."""
    matrix = hessian(problem, theta)
    if not bool(torch.isfinite(matrix).all()):
        return None
    values = torch.linalg.eigvalsh(matrix)
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
