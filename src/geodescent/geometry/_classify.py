"""What kind of point a network stands at: regular, zero cost, or critical, and how large the critical set is there."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from geodescent._budget import budget
from geodescent._errors import InputError
from geodescent._settings import ANY_SEED
from geodescent._types import Theta
from geodescent.certificate import AT_ZERO, CRITICAL, Spectrum, spectrum_of
from geodescent.geometry._critical import CriticalPoint, dimension_at, nearest
from geodescent.geometry._precision import require_double
from geodescent.linalg import norm, row_norm
from geodescent.outputs import Inputs
from geodescent.problem import Model, Problem, gradient, problem_of, rounding_floor

NEAR_CRITICAL = 1e-3  # Share of ‖x − y‖: with ‖P(x − y)‖ below it a critical point near by is looked for.
GRADIENT_ROUNDING = 1e3  # Times eps: what rounding of θ leaves of a gradient that is zero.
Kind = Literal["regular", "zero_cost", "critical_submanifold", "isolated", "strict_saddle"]


@dataclass(frozen=True)
class Landscape:
    """A point of the cost landscape.

    Attributes:
        kind: `regular`: ∇C ≠ 0. `zero_cost`: C = 0 to rounding. Else ∇C = 0 and C > 0: `strict_saddle` where ∇²C has a
            negative eigenvalue, `critical_submanifold` where critical points lie around it, `isolated` where none do.
        cost: C.
        gradient_ratio: `‖P(x − y)‖/‖x − y‖`: the share of the residual that an infinitesimal motion removes.
        rank: r of D, and cost and gradient_ratio, where the model stands.
        nullity: dim ker ∇²C, a bound of the dimension; None at a regular point.
        dimension: of the critical set (of the zero-cost set), found by walking; None at a regular point. It is not
            K − r, unless the rank is r around the point too.
        smallest_eigenvalue: of ∇²C; None at a regular point.
        distance: ‖Δθ‖ to the critical point that is described: 0 where the model stands at it, None at a regular point.
        n_residuals, n_params: m and K.
    """

    kind: Kind
    cost: float
    gradient_ratio: float
    rank: int
    nullity: int | None
    dimension: int | None
    smallest_eigenvalue: float | None
    distance: float | None
    n_residuals: int
    n_params: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        where = f"C = {self.cost:.3g}, rank {self.rank} of m = {self.n_residuals}, K = {self.n_params}"
        if self.kind == "regular":
            return f"regular: {self.gradient_ratio:.2%} of the residual can be removed to first order; {where}"
        away = f", {self.distance:.1e} away" if self.distance else ""
        around = "no other around it" if self.dimension == 0 else f"one of a set of dimension {self.dimension}"
        curved = f"∇²C has nullity {self.nullity}, its smallest eigenvalue is {self.smallest_eigenvalue:.2g}"
        name = {
            "zero_cost": "zero cost to rounding",
            "strict_saddle": "a strict saddle",
            "critical_submanifold": "critical, on a critical submanifold",
            "isolated": "critical and isolated",
        }[self.kind]
        return f"{name}{away}, {around}; {curved}; {where}"


def classify(
    model: Model, X: Inputs | None = None, y: Tensor | None = None, *, weights: Tensor | None = None, seed: int = 0
) -> Landscape:
    """The kind of point at which the model stands; nothing is changed.

    Args:
        model: as in `gd.fit`, or a whole problem.
        X: its samples.
        y: targets in the outputs' shape.
        weights: w ≥ 0, (N,), of single samples.
        seed: of the directions that are walked.

    A point is critical where ‖P(x − y)‖ ≤ 1e-6·‖x − y‖, or where rounding of θ alone makes a gradient as large as ∇C: D
    itself may be nothing but rounding there. Where ‖P(x − y)‖ ≤ 1e-3·‖x − y‖, as where a descent ended, the critical
    point next to it is described with its distance, if Newton's iteration finds one within a hundredth of ‖θ‖.

    Raises: InputError, where the model is not in float64, or K above 1,500: the Hessian is formed, K × K.
    Cost: a decomposition of D and two Hessians, 2K backward passes; at critical points mostly some gradients more, and
        some hundred Hessians where the kernel of ∇²C is not the tangent space.
    """
    seed = ANY_SEED.of("seed", seed)
    problem = problem_of(model, X, y, weights, call="geometry.classify")
    require_double(problem.dtype, "classify")
    theta, k = problem.theta, problem.n_params
    if k > budget().hessian_order:
        raise InputError(
            f"K = {k} parameters: the Hessian is formed up to {budget().hessian_order}. Ask gd.certify, or freeze "
            "parameters."
        )
    residual, jacobian = problem.linearise(theta)
    spectrum, cost, size = spectrum_of(jacobian, residual), problem.cost_of(residual), row_norm(residual)
    if spectrum.reachable is None or spectrum.rank is None:
        raise InputError(f"nothing can be said of this point: {spectrum.reason}")
    ratio = row_norm(spectrum.reachable) / size if size > 0.0 else 0.0
    place = _Place.at(problem, theta, spectrum, cost)
    rank = 0 if place.noise else spectrum.rank
    known: dict[str, Any] = {"cost": cost, "gradient_ratio": ratio, "rank": rank}
    known |= {"n_residuals": problem.n_residuals, "n_params": k}
    point = place.described(ratio)
    if point is None:
        return Landscape("regular", nullity=None, dimension=None, smallest_eigenvalue=None, distance=None, **known)
    dimension = dimension_at(point, seed=seed)
    known |= {"nullity": point.nullity, "dimension": dimension, "smallest_eigenvalue": float(point.values[0])}
    known |= {"distance": norm(point.theta - theta)}
    if place.zero:
        return Landscape("zero_cost", **known)
    if point.falls:
        return Landscape("strict_saddle", **known)
    return Landscape("critical_submanifold" if dimension > 0 else "isolated", **known)


@dataclass(frozen=True)
class _Place:
    """What rounding decides where the model stands.

    Attributes:
        point: with its Hessian.
        zero: whether the cost is zero to rounding.
        critical: whether rounding of θ alone makes a gradient as large as ∇C.
        noise: whether D itself is nothing but rounding.
    """

    point: CriticalPoint
    zero: bool
    critical: bool
    noise: bool

    @classmethod
    def at(cls, problem: Problem, theta: Theta, spectrum: Spectrum, cost: float) -> "_Place":
        point, eps = CriticalPoint.at(problem, theta), torch.finfo(theta.dtype).eps
        spacing = eps * max(1.0, norm(theta))  # of θ: costs and gradients that come of it are zero
        zero = cost <= AT_ZERO * max(rounding_floor(problem, theta), 0.5 * point.scale * spacing**2)
        critical = norm(gradient(problem, theta)) <= GRADIENT_ROUNDING * point.scale * spacing
        largest = (GRADIENT_ROUNDING * eps) ** 2 * problem.n_samples * point.scale
        return cls(point, zero, critical, (spectrum.sigma_max or 0.0) ** 2 <= largest)

    def described(self, ratio: float) -> CriticalPoint | None:
        """The critical point to describe: this one, or one near by; None for a regular point."""
        if self.zero or self.critical or ratio <= CRITICAL:
            return self.point
        return nearest(self.point) if ratio <= NEAR_CRITICAL else None
