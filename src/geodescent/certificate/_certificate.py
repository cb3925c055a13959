"""The certificate: what is known at a point, what is not and why, and what stands in the way."""

import math
import textwrap
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from geodescent._errors import InputError, MemoryPlanError
from geodescent._types import Outputs, Theta
from geodescent.certificate._causes import Cause, causes_of, not_looked_for
from geodescent.certificate._forecast import forecast_floor
from geodescent.certificate._margin import Margin, margin_at
from geodescent.certificate._point import Point, point_at
from geodescent.certificate._spectrum import Level, Spectrum, spectrum_of
from geodescent.jacobian import Jacobian
from geodescent.linalg import dot, norm
from geodescent.problem import Problem, rounding_floor
from geodescent.theory import stopping_time

WIDTH = 78


@dataclass(frozen=True)
class Certificate:
    """What is known of a problem at one θ.

    Attributes:
        regime: overparametrised (K ≥ m) or underparametrised.
        guaranteed: False: rank < m, the law cannot hold; None: full rank here, or unknown, and nothing is known further
            on; True: proven ahead (margin above 1 with a proven L), or seen at every step of a finished run.
        n_residuals, n_params: m and K.
        rank: number of singular values of D above `rcond·sigma_max`.
        rcond, resolution: the relative cut used; the σ below which nothing can be told from zero.
        sigma_max, sigma_min: of D, rows scaled; the smallest is that of those kept.
        sigma_min_is_bound: sigma_min is only an upper bound.
        condition: sigma_max/sigma_min; a lower bound where sigma_min is only a bound.
        margin, margin_how: σ₀²/(2L‖x₀ − y‖), and where its L comes from.
        way_bound: of ‖θ(τ) − θ₀‖ for all τ, where the margin is at least 1; a forecast where L is estimated.
        floor: F = ½‖(I − P)r‖²/N, the instant floor.
        rounding_floor: the cost at which the digits of the dtype end.
        cost, target_cost: C here, and the target asked for.
        stopping_time: τ to the target along the flow, where nothing known contradicts it.
        causes: of rank loss.
        level: spectrum, bounds, or not computed.
        reason: why something above is None.
        point: what kind of point this is; asked of finished runs.
    """

    regime: Literal["overparametrised", "underparametrised"]
    guaranteed: bool | None
    n_residuals: int
    n_params: int
    rank: int | None
    rcond: float | None
    resolution: float | None
    sigma_max: float | None
    sigma_min: float | None
    sigma_min_is_bound: bool
    condition: float | None
    margin: float | None
    margin_how: str | None
    way_bound: float | None
    floor: float | None
    rounding_floor: float
    cost: float
    target_cost: float | None
    stopping_time: float | None
    causes: tuple[Cause, ...]
    level: Level
    reason: str | None
    point: Point | None = None

    def as_dict(self) -> dict[str, Any]:
        """The certificate for JSON: None where a number is unknown or not finite."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain |= {"causes": [c.as_dict() for c in self.causes], "point": self.point and self.point.as_dict()}
        return {name: _strict(value) for name, value in plain.items()}

    def __str__(self) -> str:
        rows = [
            ("problem", f"m = {self.n_residuals} residuals, K = {self.n_params} parameters: {self.regime}"),
            ("guaranteed", _guarantee_sentence(self)),
            ("rank", _rank_sentence(self)),
            ("spectrum", _sigma_sentence(self)),
            ("margin", _margin_sentence(self)),
            ("cost", f"{self.cost:.4g} now{_target_sentence(self)}"),
            ("floors", f"instant {_number(self.floor)}, rounding {self.rounding_floor:.2g}"),
            ("point", self.point.sentence if self.point else None),
            ("unknown", self.reason),
            *(("cause", cause.sentence) for cause in self.causes),
        ]
        return "\n".join(_wrapped(name, text) for name, text in rows if text)


FAR = 1e6  # a cost above this many rounding floors has its way before it: the floor there is a forecast


def certificate_of(
    problem: Problem,
    *,
    theta: Theta | None = None,
    target_cost: float | None = None,
    rcond: float | None = None,
    lipschitz: float | None = None,
    full_rank_so_far: bool | None = None,
    finished: bool = False,
    forecast: bool = False,
) -> Certificate:
    """The certificate of a problem at θ.

    Args:
        theta: where; the module's own parameters by default.
        target_cost: ε ≥ 0, for the stopping time.
        rcond: relative cut on σ, in [0, 1).
        lipschitz: a proven L ≥ 0 of θ ↦ D(θ), rows scaled, on the ball of radius σ₀/L (THEORY 1.9).
        full_rank_so_far: of a run: whether D had full rank at every step.
        finished: say what kind of point this is.
        forecast: give the rounding floor where a fit from here is likely to end, for the price of a step.

    Raises: InputError.
    Cost: a decomposition of D where its size allows (`spectrum_of`), and for the margin six more Jacobians and some
        hundred products with each.
    """
    _check(target_cost, rcond, lipschitz)
    theta = problem.theta if theta is None else theta
    outputs, jacobian, failure = _linearised(problem, theta)
    cost, floor_of_digits = problem.cost(outputs), rounding_floor(problem, theta)
    if forecast and jacobian is not None and cost > FAR * floor_of_digits:
        floor_of_digits = forecast_floor(problem, theta)
    residual = _scaled(problem, problem.residual(outputs).double())
    rows = None if jacobian is None else jacobian.scaled(rows=problem.row_scale)
    spectrum = Spectrum("not computed", reason=failure) if rows is None else spectrum_of(rows, residual, rcond=rcond)
    floor = _floor(problem, spectrum, residual)
    causes = causes_of(problem, theta, jacobian=jacobian, floor=floor)
    lost = _lost(problem, spectrum, causes)
    margin = None
    if rows is not None and not lost and spectrum.rank is not None and spectrum.sigma_min is not None:
        margin = margin_at(problem, theta, rows, spectrum, residual, lipschitz=lipschitz)
    time, why_no_time = _time(cost, target_cost, spectrum, lost=bool(lost), rounding=floor_of_digits)
    ratio = _gradient_ratio(rows, spectrum, residual)
    point = None
    if finished:
        point = point_at(problem, theta, spectrum, ratio, cost=cost, rounding_floor=floor_of_digits)
    reasons = [spectrum.reason, why_no_time, *not_looked_for(problem)]
    return Certificate(
        regime="overparametrised" if problem.n_params >= problem.n_rows_wanted else "underparametrised",
        guaranteed=_guaranteed(lost, spectrum, margin, finished=finished, full_rank_so_far=full_rank_so_far),
        n_residuals=problem.n_residuals,
        n_params=problem.n_params,
        rank=spectrum.rank,
        rcond=spectrum.rcond,
        resolution=spectrum.resolution,
        sigma_max=spectrum.sigma_max,
        sigma_min=spectrum.sigma_min,
        sigma_min_is_bound=spectrum.sigma_min_is_bound,
        condition=_condition(spectrum),
        margin=None if margin is None else margin.value,
        margin_how=None if margin is None else margin.how,
        way_bound=None if margin is None else margin.way_bound,
        floor=floor,
        rounding_floor=floor_of_digits,
        cost=cost,
        target_cost=target_cost,
        stopping_time=time,
        causes=causes,
        level=spectrum.level,
        reason=" ".join(text for text in reasons if text) or None,
        point=point,
    )


# --- the parts, in order of use --------------------------------------------------------------------------------------


def _check(target_cost: float | None, rcond: float | None, lipschitz: float | None) -> None:
    if target_cost is not None and not (math.isfinite(target_cost) and target_cost >= 0.0):
        raise InputError(f"target_cost must be finite and ≥ 0: got {target_cost}.")
    if rcond is not None and not 0.0 <= rcond < 1.0:
        raise InputError(f"rcond is relative to the largest singular value and must lie in [0, 1): got {rcond}.")
    if lipschitz is not None and not (math.isfinite(lipschitz) and lipschitz >= 0.0):
        raise InputError(f"lipschitz must be finite and ≥ 0: got {lipschitz}.")


def _linearised(problem: Problem, theta: Theta) -> tuple[Outputs, Jacobian | None, str | None]:
    try:
        outputs, jacobian = problem.linearise(theta)
    except MemoryPlanError as error:
        return problem.outputs(theta), None, f"the spectrum was not computed: {error}"
    return outputs, jacobian, None


def _scaled(problem: Problem, rows: Outputs) -> Outputs:
    return rows if problem.row_scale is None else rows * problem.row_scale


def _floor(problem: Problem, spectrum: Spectrum, residual: Outputs) -> float | None:
    """`F = ½‖(I − P)r‖²/N`; exactly zero at full row rank."""
    if spectrum.reachable is None:
        return None
    if spectrum.rank == len(residual):
        return 0.0
    rest = residual - spectrum.reachable
    return dot(rest, rest) / (2.0 * problem.n_samples)


def _lost(problem: Problem, spectrum: Spectrum, causes: tuple[Cause, ...]) -> str | None:
    """Why rank < m here, or None where it is full or not known."""
    wanted = problem.n_rows_wanted
    if spectrum.rank is not None and spectrum.rank < wanted:
        return f"rank {spectrum.rank} < m = {wanted}"
    if problem.n_params < wanted:
        return f"K = {problem.n_params} < m = {wanted}"
    return "samples with identical inputs" if any(c.kind == "identical_inputs" for c in causes) else None


def _guaranteed(
    lost: str | None, spectrum: Spectrum, margin: Margin | None, *, finished: bool, full_rank_so_far: bool | None
) -> bool | None:
    if lost:
        return False
    if finished and full_rank_so_far:
        return True
    sure = margin is not None and margin.proven and margin.value > 1.0 and not spectrum.sigma_min_is_bound
    return True if sure else None


def _condition(spectrum: Spectrum) -> float | None:
    if spectrum.sigma_max is None or not spectrum.sigma_min:
        return None
    return spectrum.sigma_max / spectrum.sigma_min


def _gradient_ratio(jacobian: Jacobian | None, spectrum: Spectrum, residual: Outputs) -> float | None:
    """`‖P r‖/‖r‖`, or its lower bound `‖Dᵀr‖/(σ_max‖r‖)`."""
    size = norm(residual)
    if jacobian is None or size == 0.0:
        return None if jacobian is None else 0.0
    if spectrum.reachable is not None:
        return norm(spectrum.reachable) / size
    if spectrum.sigma_max is None:
        return None
    gradient = jacobian.to(torch.float64).rmv(residual)
    return norm(gradient) / (spectrum.sigma_max * size) if spectrum.sigma_max > 0.0 else 0.0


def _time(
    cost: float, target: float | None, spectrum: Spectrum, *, lost: bool, rounding: float
) -> tuple[float | None, str | None]:
    """The stopping time, or None and why."""
    if target is None:
        return None, None
    if cost <= target:
        return 0.0, None
    if lost:
        return None, "no stopping time: rank is lost, so that the law holds only down to a floor that moves with θ."
    if spectrum.rank is None:
        return None, "no stopping time: the rank is not known."
    if target < rounding:
        return None, f"no stopping time: the target {target:.2g} is below the rounding floor {rounding:.2g}."
    return stopping_time(cost, target), None


# --- for people ------------------------------------------------------------------------------------------------------


def _strict(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _guarantee_sentence(c: Certificate) -> str:
    if c.guaranteed is False and c.n_params < c.n_residuals:
        return "no: fewer parameters than residuals, the row rank cannot be full"
    if c.guaranteed is False:
        return "no: rank is lost here, the law cannot hold"
    if c.guaranteed:
        return (
            "yes: the law holds along the whole flow" if c.point is None else "yes: full rank, proven or at every step"
        )
    return "unknown: " + ("the rank is not known" if c.rank is None else "full rank here; nothing is known further on")


def _margin_sentence(c: Certificate) -> str:
    if c.margin is None:
        return "unknown"
    way = "" if c.way_bound is None else f"; the flow goes at most {c.way_bound:.3g} from θ₀"
    return f"{c.margin:.3g} ({c.margin_how}){way}"


def _rank_sentence(c: Certificate) -> str:
    if c.rank is None or c.rcond is None or c.resolution is None:
        return "unknown" if c.rank is None else str(c.rank)
    return f"{c.rank} of {min(c.n_residuals, c.n_params)} at rcond {c.rcond:.2g} (σ resolved to {c.resolution:.2g})"


def _sigma_sentence(c: Certificate) -> str:
    if c.sigma_max is None:
        return "not computed"
    sign, least = ("≤", "≥") if c.sigma_min_is_bound else ("=", "=")
    return (
        f"σ_max {_number(c.sigma_max)}, σ_min {sign} {_number(c.sigma_min)}, condition {least} {_number(c.condition)}"
    )


def _target_sentence(c: Certificate) -> str:
    if c.target_cost is None:
        return ""
    return f", target {c.target_cost:.4g}" + ("" if c.stopping_time is None else f" at τ = {c.stopping_time:.4g}")


def _wrapped(name: str, text: str) -> str:
    return textwrap.fill(f"{name:<12}{text}", WIDTH, subsequent_indent=" " * 12)
