"""What kind of point a run has come to: zero cost, critical, or still moving (THEORY 1.5)."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from geodescent._iterations import lanczos_extremes
from geodescent._linalg import norm
from geodescent._problem import Problem
from geodescent._spectrum import Spectrum
from geodescent._types import Theta

CRITICAL = 1e-6  # ‖P r‖ up to this of ‖r‖: the linear model promises a relative fall of the cost below 1e-12
AT_ZERO = 100.0  # rounding floors that count as zero cost
HESSIAN_ORDER = 1500  # the Hessian is formed up to this K …
HESSIAN_WORK = 3e9  # … and up to this K²·m
LANCZOS_STEPS = 40
TOGETHER = 64  # rows of the Hessian made in one pass


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

    def as_dict(self) -> dict[str, Any]:
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
        told = "" if nullity is None else f"; the Hessian there is DᵀD/N, of nullity {nullity}"
        return Point("zero_cost", rank, ratio, nullity, None, False, f"zero cost to rounding{told}.")
    if ratio is None or ratio > CRITICAL:
        part = "" if ratio is None else f": to first order {ratio:.2%} of the residual can be removed"
        return Point("moving", rank, ratio, None, None, None, f"still moving{part}.")
    return _critical(problem, theta, rank, ratio)


def _critical(problem: Problem, theta: Theta, rank: int | None, ratio: float) -> Point:
    k = problem.n_params
    if k > HESSIAN_ORDER or k * k * problem.n_residuals > HESSIAN_WORK:
        largest, smallest = hessian_extremes(problem, theta)
        saddle = True if smallest < -_resolved(largest, smallest, theta) else None
        told = "a saddle" if saddle else "whether it is a saddle is not known"
        sentence = (
            f"critical, rank {_or_unknown(rank)}; {told}: the smallest eigenvalue of the Hessian is ≤ {smallest:.2g}."
        )
        return Point("critical", rank, ratio, None, smallest, saddle, sentence)
    values = torch.linalg.eigvalsh(hessian(problem, theta))
    smallest, level = float(values[0]), _resolved(float(values[-1]), float(values[0]), theta)
    nullity, saddle = int((values.abs() <= level).sum()), smallest < -level
    told = "a strict saddle" if saddle else "no negative curvature"
    sentence = (
        f"critical, rank {_or_unknown(rank)}, {told}; the Hessian's nullity is {nullity}, which bounds the dimension."
    )
    return Point("critical", rank, ratio, nullity, smallest, saddle, sentence)


def _or_unknown(rank: int | None) -> str:
    return "unknown" if rank is None else str(rank)


def _resolved(largest: float, smallest: float, theta: Theta) -> float:
    """Eigenvalues below √eps of the largest cannot be told from zero where the gradient is zero to rounding only."""
    return math.sqrt(torch.finfo(theta.dtype).eps) * max(abs(largest), abs(smallest))


def gradient(problem: Problem, theta: Theta) -> Theta:
    """`∇C = Dᵀr/N`, (K,), float64. Cost: one backward pass."""
    return _attached(problem, theta)[1].detach().double()


def hessian(problem: Problem, theta: Theta) -> Tensor:
    """`∇²C = (DᵀD + Σᵢ rᵢ∇²xᵢ)/N`, (K, K), float64, by differentiating twice.

    Cost: K backward passes through the gradient, `TOGETHER` of them at a time where the module allows it.
    """
    leaf, slope = _attached(problem, theta)
    units = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
    try:
        rows = torch.cat([_product(slope, leaf, part, batched=True) for part in units.split(TOGETHER)])
    except RuntimeError:  # an operation that torch cannot batch
        rows = torch.stack([_product(slope, leaf, unit) for unit in units])
    matrix = rows.double()
    return (matrix + matrix.T) / 2.0


def hessian_extremes(problem: Problem, theta: Theta) -> tuple[float, float]:
    """`(λ_max, an upper bound of λ_min)` of ∇²C, by Lanczos."""
    leaf, slope = _attached(problem, theta)
    start = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(theta.device)

    def operator(v: Tensor) -> Tensor:
        return _product(slope, leaf, v.to(theta.dtype)).double()

    return (0.0, 0.0) if norm(operator(start)) == 0.0 else lanczos_extremes(operator, start, iterations=LANCZOS_STEPS)


def _attached(problem: Problem, theta: Theta) -> tuple[Theta, Theta]:
    """θ as a leaf, and ∇C(θ) attached to the graph."""
    leaf = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = torch.cat(
            [b.map.function.outputs(b.map.function.views(leaf), b.map.inputs).reshape(-1) for b in problem.blocks]
        )
        residual = problem.residual(outputs)
        scaled = residual if problem.row_scale is None else residual * problem.row_scale.to(theta.dtype)
        cost = scaled.square().sum() / (2.0 * problem.n_samples)
        (slope,) = torch.autograd.grad(cost, leaf, create_graph=True)
    return leaf, slope


def _product(slope: Theta, leaf: Theta, v: Tensor, *, batched: bool = False) -> Tensor:
    """`∇²C v`, (K,), or of the rows of v, (n, K)."""
    if not slope.requires_grad:
        return torch.zeros_like(v)
    (found,) = torch.autograd.grad(slope, leaf, v, retain_graph=True, allow_unused=True, is_grads_batched=batched)
    return torch.zeros_like(v) if found is None else found.detach()
