"""What kind of point a network stands at: regular, zero cost, or critical, and how large the critical set is there."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.certificate import AT_ZERO, CRITICAL, HESSIAN_ORDER, spectrum_of
from geodescent.geometry._asked import require_double
from geodescent.geometry._critical import CriticalPoint, dimension_at, nearest
from geodescent.linalg import norm
from geodescent.outputs import Inputs
from geodescent.problem import Problem, rounding_floor
from geodescent.problem._hessian import gradient

NEARLY = 1e-3  # ‖P(x − y)‖ up to this of ‖x − y‖: a critical point near by is looked for
ROUNDING = 1e3  # times eps: what rounding of θ leaves of a gradient that is zero
Kind = Literal["regular", "zero_cost", "critical_submanifold", "isolated", "strict_saddle"]


@dataclass(frozen=True)
class Landscape:
    """A point of the cost landscape (THEORY 1.5).

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

    def as_dict(self) -> dict[str, Any]:
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


def classify(model: nn.Module, X: Inputs, y: Tensor, *, weights: Tensor | None = None, seed: int = 0) -> Landscape:
    """The kind of point at which the model stands; nothing is changed.

    Args:
        model, X, y, weights: as in `gd.fit`.
        seed: of the directions that are walked.

    A point is critical where ‖P(x − y)‖ ≤ 1e-6·‖x − y‖, or where rounding of θ alone makes a gradient as large as ∇C: D
    itself may be nothing but rounding there. Where ‖P(x − y)‖ ≤ 1e-3·‖x − y‖, as where a descent ended, the critical
    point next to it is described and its distance told, if Newton's iteration finds one within a hundredth of ‖θ‖.

    Raises: InputError, where the model is not in float64, or K above 1,500: the Hessian is formed, K × K.
    Cost: a decomposition of D and two Hessians, 2K backward passes; at critical points mostly some gradients more, and
        some hundred Hessians where the kernel of ∇²C is not the tangent space.
    """
    problem = Problem.of(model, X, y, weights=weights)
    require_double(problem.theta.dtype, "classify")
    theta, k = problem.theta, problem.n_params
    if k > HESSIAN_ORDER:
        raise InputError(
            f"K = {k} parameters: the Hessian is formed up to {HESSIAN_ORDER}. Ask gd.certify, or freeze parameters."
        )
    outputs, jacobian = problem.linearise(theta)
    residual = problem.residual(outputs).double()
    residual = residual if problem.row_scale is None else residual * problem.row_scale
    spectrum = spectrum_of(jacobian.scaled(rows=problem.row_scale), residual)
    if spectrum.reachable is None or spectrum.rank is None:
        raise InputError(f"nothing can be said of this point: {spectrum.reason}")
    cost, size, point = problem.cost(outputs), norm(residual), CriticalPoint.at(problem, theta)
    ratio = norm(spectrum.reachable) / size if size > 0.0 else 0.0
    eps = torch.finfo(theta.dtype).eps
    spacing = eps * max(1.0, norm(theta))  # of θ: costs and gradients that come of it are zero
    zero = cost <= AT_ZERO * max(rounding_floor(problem, theta), 0.5 * point.scale * spacing**2)
    here = norm(gradient(problem, theta)) <= ROUNDING * point.scale * spacing
    noise = (spectrum.sigma_max or 0.0) ** 2 <= (ROUNDING * eps) ** 2 * problem.n_samples * point.scale
    told: dict[str, Any] = {"cost": cost, "gradient_ratio": ratio, "rank": 0 if noise else spectrum.rank}
    told |= {"n_residuals": problem.n_residuals, "n_params": k}
    found = point if zero or here or ratio <= CRITICAL else nearest(point) if ratio <= NEARLY else None
    if found is None:
        return Landscape("regular", nullity=None, dimension=None, smallest_eigenvalue=None, distance=None, **told)
    dimension, away = dimension_at(found, seed=seed), norm(found.theta - theta)
    told |= {"nullity": found.nullity, "dimension": dimension, "smallest_eigenvalue": float(found.values[0])}
    told |= {"distance": away}
    if zero:
        return Landscape("zero_cost", **told)
    if found.falls:
        return Landscape("strict_saddle", **told)
    return Landscape("critical_submanifold" if dimension > 0 else "isolated", **told)
