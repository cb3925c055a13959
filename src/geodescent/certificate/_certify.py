"""How a certificate is made: the spectrum of D, the margin, the floors, the causes, and the kind of point."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from geodescent._deadline import (
    FORWARD_PASS,
    LINEARISATION,
    OutOfTime,
    has_deadline,
    in_time,
    is_affordable,
    left_out,
    measuring,
)
from geodescent._errors import InputError, MemoryPlanError
from geodescent._types import Outputs, Theta
from geodescent.certificate._cause import Cause
from geodescent.certificate._causes import causes_of, not_looked_for
from geodescent.certificate._certificate import Certificate
from geodescent.certificate._forecast import forecast_floor
from geodescent.certificate._identifiable import Identifiability, identifiability
from geodescent.certificate._margin import Margin, margin_at
from geodescent.certificate._point import Point, point_at
from geodescent.certificate._spectrum import Spectrum, spectrum_of
from geodescent.certificate._unknown import begun_certificate
from geodescent.flow import is_finite
from geodescent.jacobian import Jacobian
from geodescent.linalg import norm, row_dot, row_norm
from geodescent.metric import EUCLIDEAN, Metric
from geodescent.problem import Problem, rounding_floor
from geodescent.theory import stopping_time

Part = TypeVar("Part")

FLOOR_PASSES = 5.0  # Forward passes that a rounding floor takes.
COST_NOT_FINITE = "the spectrum was not computed: the cost is not finite at this point."
FAR = 1e6  # Rounding floors: above them the floor is forecast at the likely end of a fit, because it grows on the way.


def certificate_of(
    problem: Problem,
    *,
    theta: Theta | None = None,
    target_cost: float | None = None,
    rcond: float | None = None,
    lipschitz: float | None = None,
    metric: Metric | None = None,
    full_rank_so_far: bool | None = None,
    describe_point: bool = False,
) -> Certificate:
    """The certificate of a problem at θ.

    Args:
        theta: where a run has ended; by default the module's own parameters, where one may start: then the rounding
            floor is that where a fit is likely to end, for the price of a step.
        target_cost: ε ≥ 0, for the stopping time.
        rcond: relative cut on σ, in [0, 1).
        lipschitz: a proven L ≥ 0 of θ ↦ D(θ), rows weighted, on the ball of radius σ₀/L.
        metric: of the parameters, in which σ, rank, margin and L are stated; None for the one of a fit, at θ.
        full_rank_so_far: of a run: whether D had full rank at every step.
        describe_point: say what kind of point this is.

    Raises: InputError.
    Cost: a decomposition of D where its size allows, and for the margin six more Jacobians and some hundred
        products with each.
    """
    _check(target_cost, rcond, lipschitz)
    there = _Linearised.at(problem, problem.theta if theta is None else theta, metric)
    rounding = there.rounding(forecast=theta is None)
    spectrum, floor = there.spectrum(rcond)
    none: tuple[Cause, ...] = ()
    causes = _in_time(lambda: causes_of(problem, there.theta, jacobian=there.jacobian, floor=floor), none)
    lost = _lost(problem, spectrum, causes)
    margin = None if lost else _in_time(lambda: there.margin(spectrum, lipschitz), None)
    time, why_no_time = _time(there.cost, target_cost, spectrum, lost=bool(lost), rounding=rounding)
    point = _in_time(lambda: there.point(spectrum, rounding), None) if describe_point else None
    reason = _joined(spectrum.reason, why_no_time, *not_looked_for(problem), left_out())
    return replace(
        begun_certificate(problem, there.theta, there.cost, reason, rounding),
        guaranteed=_guaranteed(lost, spectrum, margin, full_rank_so_far=full_rank_so_far),
        rank=spectrum.rank,
        rcond=spectrum.rcond,
        resolution=spectrum.resolution,
        sigma_max=spectrum.sigma_max,
        sigma_min=spectrum.sigma_min,
        sigma_min_is_bound=spectrum.sigma_min_is_bound,
        condition=spectrum.condition,
        margin=None if margin is None else margin.value,
        margin_how=None if margin is None else margin.how,
        way_bound=None if margin is None else margin.way_bound,
        floor=floor,
        target_cost=target_cost,
        stopping_time=time,
        causes=causes,
        level=spectrum.level,
        metric=there.metric.sentence,
        point=point,
        identifiable=there.identifiable(spectrum),
    )


def _in_time(part: Callable[[], Part], otherwise: Part) -> Part:
    """A part of the certificate, or what stands for it where the time runs out in it."""
    try:
        return part()
    except OutOfTime:
        return otherwise


@dataclass(frozen=True)
class _Linearised:
    """The problem at one θ, as far as memory allows.

    Attributes:
        problem, theta: where.
        residual: weighted, (m,), float64.
        cost: C.
        jacobian: B, in the maps' own precision, or None where it does not fit, or the cost is not finite.
        metric: of the parameters, in which σ is measured.
        failure: why there is no jacobian.
    """

    problem: Problem
    theta: Theta
    residual: Outputs
    cost: float
    jacobian: Jacobian | None
    metric: Metric = EUCLIDEAN
    failure: str | None = None

    @classmethod
    def at(cls, problem: Problem, theta: Theta, metric: Metric | None) -> "_Linearised":
        try:
            with measuring(LINEARISATION, problem.device):
                residual, jacobian = problem.linearise(theta)
        except (MemoryPlanError, OutOfTime) as error:
            residual = problem.residual(theta, dtype=torch.float64)
            return cls(
                problem,
                theta,
                residual,
                problem.cost_of(residual),
                None,
                failure=f"the spectrum was not computed: {error}",
            )
        cost = problem.cost_of(residual)
        if not math.isfinite(cost):
            return cls(problem, theta, residual.double(), cost, None, failure=COST_NOT_FINITE)
        metric = Metric.of(problem).following(jacobian) if metric is None else metric
        return cls(problem, theta, residual.double(), cost, jacobian, metric)

    def rounding(self, *, forecast: bool) -> float:
        """The rounding floor here, or where a fit from here is likely to end; NaN where it is not known."""
        if not math.isfinite(self.cost):
            return math.nan
        if has_deadline():
            with measuring(FORWARD_PASS, self.problem.device):
                self.problem.outputs(self.theta)
        if not in_time(0.0, "the rounding floor", forward_passes=FLOOR_PASSES):
            return math.nan
        floor = rounding_floor(self.problem, self.theta)
        far = self.cost > FAR * floor
        return forecast_floor(self.problem, self.theta) if forecast and far and self._forecasts() else floor

    def _forecasts(self) -> bool:
        """Whether a dense lift can take the damped step that the forecast of the floor needs, in the time left."""
        if self.jacobian is None or not (self.jacobian.holds_rows and is_finite(self.residual, self.jacobian)):
            return False
        flops = self.jacobian.gram_flops() + float(min(self.jacobian.shape)) ** 3
        passes = 2.0 * FLOOR_PASSES
        return in_time(flops, "the forecast of the rounding floor", linearisations=1.0, forward_passes=passes)

    def spectrum(self, rcond: float | None) -> tuple[Spectrum, float | None]:
        """The spectrum of B, and the instant floor."""
        if self.jacobian is None:
            return Spectrum("not computed", reason=self.failure), None
        counted = None
        if self.problem.n_rows_wanted < len(self.residual):
            counted = self.problem.weighted(torch.ones_like(self.residual)) > 0.0
        columns = self.metric.column_scale
        try:
            spectrum = spectrum_of(self.jacobian, self.residual, columns=columns, rcond=rcond, counted=counted)
        except OutOfTime as error:
            return Spectrum("not computed", reason=f"the spectrum was not computed: {error}"), None
        return spectrum, _floor(self.problem, spectrum, self.residual)

    @property
    def in_metric(self) -> Jacobian:
        """`B M^{−½}`, in float64."""
        assert self.jacobian is not None
        return self.jacobian.to(torch.float64).scaled(columns=self.metric.column_scale)

    def margin(self, spectrum: Spectrum, lipschitz: float | None) -> Margin | None:
        if self.jacobian is None or spectrum.rank is None or spectrum.sigma_min is None:
            return None
        return margin_at(self.problem, self.theta, self.in_metric, spectrum, self.metric, self.residual, lipschitz)

    def identifiable(self, spectrum: Spectrum) -> Identifiability | None:
        """What the data say of each parameter, in a classical fit."""
        if self.jacobian is None or self.problem.has_equations:
            return None
        scale = self.metric.column_scale
        return identifiability(self.problem, self.theta, self.in_metric, scale, spectrum, self.residual)

    def point(self, spectrum: Spectrum, rounding: float) -> Point:
        known = self.jacobian is not None and is_affordable(self.jacobian.product_flops())
        ratio = _gradient_ratio(self.in_metric if known else None, spectrum, self.residual)
        return point_at(self.problem, self.theta, spectrum, ratio, cost=self.cost, rounding_floor=rounding)


def _check(target_cost: float | None, rcond: float | None, lipschitz: float | None) -> None:
    if target_cost is not None and not (math.isfinite(target_cost) and target_cost >= 0.0):
        raise InputError(f"target_cost must be finite and ≥ 0: got {target_cost}.")
    if rcond is not None and not 0.0 <= rcond < 1.0:
        raise InputError(f"rcond is relative to the largest singular value and must lie in [0, 1): got {rcond}.")
    if lipschitz is not None and not (math.isfinite(lipschitz) and lipschitz >= 0.0):
        raise InputError(f"lipschitz must be finite and ≥ 0: got {lipschitz}.")


def _floor(problem: Problem, spectrum: Spectrum, residual: Outputs) -> float | None:
    """`F = ½‖(I − P)r‖²/N`; exactly zero at full row rank, of the rows that have a weight."""
    if spectrum.reachable is None:
        return None
    if spectrum.rank == problem.n_rows_wanted:
        return 0.0
    rest = residual - spectrum.reachable
    return row_dot(rest, rest) / (2.0 * problem.n_samples)


def _lost(problem: Problem, spectrum: Spectrum, causes: tuple[Cause, ...]) -> str | None:
    """Why rank < m here, or None where it is full or not known."""
    wanted = problem.n_rows_wanted
    if spectrum.rank is not None and spectrum.rank < wanted:
        return f"rank {spectrum.rank} < m = {wanted}"
    if problem.n_params < wanted:
        return f"K = {problem.n_params} < m = {wanted}"
    twice = ("identical_inputs", "conflicting_conditions", "repeated_conditions")
    return "samples with identical inputs" if any(c.kind in twice for c in causes) else None


def _guaranteed(
    lost: str | None, spectrum: Spectrum, margin: Margin | None, *, full_rank_so_far: bool | None
) -> bool | None:
    if lost:
        return False
    if full_rank_so_far:
        return True
    sure = margin is not None and margin.proven and margin.value > 1.0 and not spectrum.sigma_min_is_bound
    return True if sure else None


def _joined(*sentences: str | None) -> str | None:
    """One text, in which each sentence begins with a capital."""
    return " ".join(f"{text[0].upper()}{text[1:]}" for text in sentences if text) or None


def _gradient_ratio(jacobian: Jacobian | None, spectrum: Spectrum, residual: Outputs) -> float | None:
    """`‖P r‖/‖r‖`, or its lower bound `‖Dᵀr‖/(σ_max‖r‖)`."""
    size = row_norm(residual)
    if jacobian is None or size == 0.0:
        return None if jacobian is None else 0.0
    if spectrum.reachable is not None:
        return row_norm(spectrum.reachable) / size
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
        return None, "no stopping time, which needs the rank."
    if target < rounding:
        return None, f"no stopping time: the target {target:.2g} is below the rounding floor {rounding:.2g}."
    return stopping_time(cost, target), None
