"""Confidence intervals by the profile of χ²: one parameter is moved and all others are fitted again."""

import math
import warnings
from collections.abc import Callable

import numpy as np

from geodescent.curves._statistics import Array, Statistics

Refit = Callable[[int, float], float]
"""(place, value) ↦ the least χ² with that parameter at that value."""

ENOUGH_OF_T = 1e-4  # Share of t: how closely the end of an interval is found.
MOST_REFITS = 40  # Fits for one end of an interval.
FARTHEST = 1e4  # Standard errors times t: an end that lies farther out is infinite.
LOWER = 1e-6  # Share of χ²: a fit with one parameter kept that is better by more has found another minimum.
GROWTH = (1.2, 4.0)
"""Factors: the least and the largest by which the distance grows while the end has not been passed."""


def profile_interval(
    statistics: Statistics, refit: Refit, level: float, place: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Where `χ²(θ_j) = χ² + t² s²`, all other parameters fitted: the same for any function of the parameter.

    Args:
        bounds: of the parameter; the interval ends there at the latest.

    Source: Bates & Watts, *Nonlinear Regression Analysis* (1988), section 6.1.
    """
    t = statistics.half_width(level)
    value, error = float(statistics.values[place]), float(statistics.stderr[place])
    variance = 1.0 if statistics.absolute else statistics.reduced_chi_square
    if not (math.isfinite(t) and math.isfinite(error) and error > 0.0 and variance > 0.0):
        return (value, value) if error == 0.0 else (-math.inf, math.inf)

    def rise(at: float) -> float:
        """`√((χ²(θ_j) − χ²)/s²)`: |θ_j − value|/stderr for a linear formula."""
        chi_square = refit(place, at)
        if chi_square < statistics.chi_square * (1.0 - LOWER):
            _warn_of_lower(f"{statistics.names[place]} = {at:.6g}", chi_square, statistics.chi_square)
        return math.sqrt(max(0.0, chi_square - statistics.chi_square) / variance) if chi_square < math.inf else math.inf

    low, high = (_end(rise, value, sign * t * error, t, bound) for sign, bound in zip((-1.0, 1.0), bounds, strict=True))
    return low, high


def _warn_of_lower(where: str, found: float, fitted: float) -> None:
    from scipy.optimize import OptimizeWarning

    warnings.warn(
        f"the fit is not the best one: χ² is {found:.6g} at {where} and {fitted:.6g} at the fit. Fit again from there.",
        OptimizeWarning,
        stacklevel=2,
    )


def _end(rise: Callable[[float], float], value: float, step: float, t: float, bound: float) -> float:
    """The end of the interval on the side of `step`."""
    room = abs(bound - value)
    inside, outside, distance = (0.0, 0.0), (math.inf, math.inf), min(abs(step), room)
    for count in range(MOST_REFITS):
        at = bound if distance == room else value + math.copysign(distance, step)
        risen = rise(at)
        if abs(risen - t) <= ENOUGH_OF_T * t or (distance == room and risen < t):
            return at
        if risen < t:
            inside = (distance, risen)
        else:
            outside = (distance, risen)
        distance = min(_next(inside, outside, t, bisect=count % 4 == 3), room)
        if distance > FARTHEST * abs(step):
            return math.copysign(math.inf, step)
    return value + math.copysign(distance, step)


def _next(inside: tuple[float, float], outside: tuple[float, float], t: float, *, bisect: bool) -> float:
    """The next distance: by a line through both, by halves, or farther out."""
    (near, lower), (far, higher) = inside, outside
    if math.isinf(far):
        return near * min(max(t / lower if lower > 0.0 else math.inf, GROWTH[0]), GROWTH[1])
    if bisect or math.isinf(higher):
        return 0.5 * (near + far)
    return near + (t - lower) * (far - near) / (higher - lower)


def profile_intervals(
    statistics: Statistics, refit: Refit, level: float, bounds: dict[int, tuple[float, float]]
) -> Array:
    """The same for all parameters, (K, 2): the value itself for fixed ones, NaN for tied ones.

    Args:
        bounds: place → bounds, of the free parameters.
    """
    ends = []
    for place, value in enumerate(statistics.values.tolist()):
        if place in bounds:
            ends.append(profile_interval(statistics, refit, level, place, bounds[place]))
        else:
            ends.append((value, value) if statistics.stderr[place] == 0.0 else (math.nan, math.nan))
    return np.array(ends)
