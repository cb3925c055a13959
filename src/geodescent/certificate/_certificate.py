"""The certificate: what is known at a point, what is not and why, and what stands in the way."""

import math
import textwrap
from dataclasses import dataclass, fields
from typing import Literal

from geodescent.certificate._cause import Cause
from geodescent.certificate._equation_words import equations_in_words
from geodescent.certificate._identifiable import Identifiability
from geodescent.certificate._noise import Noise
from geodescent.certificate._plain_words import PlainWords, in_plain_words
from geodescent.certificate._point import Point
from geodescent.certificate._spectrum import Level
from geodescent.problem import Misfit

WIDTH = 78  # Columns of a terminal that the sentences are wrapped to.
NAMES = 12  # Columns that the name of a row takes.
NOTHING_TO_DO = ("few_rows", "repeated_measurements")
"""Kinds of causes of equations that nobody has to do anything about."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is known of a problem at one θ.

    Attributes:
        regime: overparametrised (K ≥ m) or underparametrised.
        guaranteed: False: rank < m, the law cannot hold; None: full rank here, or unknown, and nothing is known further
            on; True: proven ahead (margin above 1 with a proven L), or seen at every step of a finished run.
        n_residuals, n_params: m and K.
        rank: number of singular values of D above `rcond·sigma_max`.
        rcond, resolution: the relative cut used; the σ below which nothing can be distinguished from zero.
        sigma_max, sigma_min: of D, rows weighted, in the metric; the smallest is that of those kept.
        sigma_min_is_bound: sigma_min is only an upper bound.
        condition: sigma_max/sigma_min; a lower bound where sigma_min is only a bound.
        margin, margin_how: σ₀²/(2L‖x₀ − y‖), and where its L comes from.
        way_bound: of ‖θ(τ) − θ₀‖ for all τ, where the margin is at least 1; a forecast where L is estimated.
        floor: F = ½‖(I − P)r‖²/N, the instant floor.
        rounding_floor: the cost at which the digits of the dtype end; NaN where it is not known.
        cost, target_cost: C here, and the target asked for.
        stopping_time: τ to the target along the flow, where nothing known contradicts it.
        causes: of rank loss.
        level: spectrum, bounds, or not computed.
        reason: why something above is None.
        point: what kind of point this is; asked of finished runs.
        metric: of the parameters, in which σ, rank, rcond and lengths are stated; None for the Euclidean one.
        n_rows_wanted: how many residuals have a positive weight, and count for the rank; None for all of them.
        identifiable: of a classical fit, few parameters and many rows: what the data say of each parameter, by name.
        noise: of a fit that was judged by validation data: what part of the cost no model removes.
        equations: whether rows are equations at places, which a solution makes zero all at once.
        misfit: of equations with measured values: what is left of these, where there is time for it.
        near_rounding: whether three quarters of the digits are reached that the rounding floor leaves to residuals.
        draws_points: whether the equations can be looked at on other points than those that were fitted.
    """

    regime: Literal["overparametrised", "underparametrised"]
    guaranteed: bool | None = None
    n_residuals: int
    n_params: int
    rank: int | None = None
    rcond: float | None = None
    resolution: float | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    sigma_min_is_bound: bool = False
    condition: float | None = None
    margin: float | None = None
    margin_how: str | None = None
    way_bound: float | None = None
    floor: float | None = None
    rounding_floor: float = math.nan
    cost: float
    target_cost: float | None = None
    stopping_time: float | None = None
    causes: tuple[Cause, ...] = ()
    level: Level = "not computed"
    reason: str | None = None
    point: Point | None = None
    metric: str | None = None
    n_rows_wanted: int | None = None
    identifiable: Identifiability | None = None
    noise: Noise | None = None
    equations: bool = False
    misfit: Misfit | None = None
    draws_points: bool = True
    near_rounding: bool = False

    @property
    def meaning(self) -> str:
        """What all this means, in plain words."""
        return self.in_words().meaning

    @property
    def advice(self) -> str:
        """What to do next."""
        return self.in_words().advice

    @property
    def named_causes(self) -> tuple[Cause, ...]:
        """The causes that `meaning` and `advice` speak of; of equations also conditions that stand twice."""
        if self.equations:
            return tuple(cause for cause in self.causes if cause.kind not in NOTHING_TO_DO)
        speaks = self.in_words().names_causes
        return tuple(cause for cause in self.causes if speaks and cause.stands_in_the_way)

    def in_words(self, *, has_ended: bool = False) -> PlainWords:
        """What all this means, and what to do next.

        Args:
            has_ended: whether a descent came here and found no way down, which may be known when the point is not.
        """
        if self.noise is not None:
            return PlainWords(self.noise.meaning, self.noise.advice)
        if self.equations and math.isfinite(self.cost):
            return equations_in_words(
                self.cost,
                self.causes,
                self.point,
                floor=self.floor,
                near_rounding=self.near_rounding,
                misfit=self.misfit,
                draws_points=self.draws_points,
                has_ended=has_ended,
            )
        return in_plain_words(
            cost=self.cost,
            rank=self.rank,
            sizes=(self.n_params, self._n_counted),
            floor=self.floor,
            near_rounding=self.near_rounding,
            causes=self.causes,
            point=self.point,
            identifiable=self.identifiable,
        )

    @property
    def _n_counted(self) -> int:
        """Residuals of positive weight."""
        return self.n_residuals if self.n_rows_wanted is None else self.n_rows_wanted

    def as_dict(self) -> dict[str, object]:
        """The certificate for JSON: None where a number is unknown or not finite."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain |= {"causes": [c.as_dict() for c in self.causes], "point": self.point and self.point.as_dict()}
        plain |= {"noise": self.noise and self.noise.as_dict(), "misfit": self.misfit and self.misfit.as_dict()}
        plain |= {"identifiable": self.identifiable and self.identifiable.as_dict()}
        return {name: _strict(value) for name, value in plain.items()}

    def __str__(self) -> str:
        known, ended = self.identifiable, self.point is not None and self.point.has_ended
        without_law = bool(known) or (self.equations and self.n_params < self._n_counted)
        rows = [
            ("problem", _problem_sentence(self)),
            ("guaranteed", None if without_law else _guarantee_sentence(self)),
            ("parameters", known and known.sentence),
            ("estimates", known.estimates if known and ended else None),
            ("rank", _rank_sentence(self)),
            ("spectrum", _sigma_sentence(self)),
            ("metric", self.metric),
            ("margin", None if without_law else _margin_sentence(self)),
            ("cost", f"{self.cost:.4g} now{_target_sentence(self)}"),
            ("noise", self.noise and self.noise.sentence),
            ("measured", self.misfit and self.misfit.sentence),
            ("floors", f"instant {_number(self.floor)}, rounding {_number(self.rounding_floor, 2)}"),
            ("point", self.point.sentence if self.point else None),
            ("unknown", self.reason),
            *(("cause", cause.sentence) for cause in self.causes if not known or cause.stands_in_the_way),
            ("in short", f"{self.meaning} {self.advice}"),
        ]
        return "\n".join(_wrapped(name, text) for name, text in rows if text)


def _strict(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None, digits: int = 4) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def _problem_sentence(c: Certificate) -> str:
    counted = "" if c._n_counted == c.n_residuals else f", {c._n_counted} of them of positive weight"
    regime = "equations at points" if c.equations else c.regime if c.identifiable is None else "a classical fit"
    return f"m = {c.n_residuals} residuals{counted}, K = {c.n_params} parameters: {regime}"


def _guarantee_sentence(c: Certificate) -> str:
    if c.guaranteed is False and c.n_params < c._n_counted:
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
    rows = " rows of positive weight" if c._n_counted < min(c.n_residuals, c.n_params + 1) else ""
    most = min(c._n_counted, c.n_params)
    return f"{c.rank} of {most}{rows} at rcond {c.rcond:.2g} (σ resolved to {c.resolution:.2g})"


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
    return textwrap.fill(f"{name:<{NAMES}}{text}", WIDTH, subsequent_indent=" " * NAMES)
