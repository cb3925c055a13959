"""The fraction of a straight step to take, by the residuals at its two ends."""

import math

import numpy as np

from geodescent._types import Outputs
from geodescent.linalg import row_dot

REAL = 1e-9  # Share of a root's size: an imaginary part below it is rounding of a real root.


def best_fraction(start: Outputs, slope: Outputs, end: Outputs) -> tuple[float, float]:
    """`(t, ‖r(t)‖²)` where ‖r(t)‖ is least in 0 < t ≤ 1, `r(t) = r₀ + t r'₀ + t²(r₁ − r₀ − r'₀)`.

    Args:
        start, slope: r₀ and `r'₀ = dr/dt` at t = 0, (m,).
        end: r₁ at t = 1, (m,).

    Cost: six inner products; ‖r(t)‖² is a quartic, and its derivative a cubic.
    """
    bend = end - start - slope
    coefficients = [
        row_dot(start, start),
        2.0 * row_dot(start, slope),
        row_dot(slope, slope) + 2.0 * row_dot(start, bend),
        2.0 * row_dot(slope, bend),
        row_dot(bend, bend),
    ]
    if not all(map(math.isfinite, coefficients)):
        return 1.0, row_dot(end, end)
    quartic = np.polynomial.Polynomial(coefficients)
    roots = quartic.deriv().roots()
    flat = roots.real[np.abs(roots.imag) <= REAL * np.abs(roots)]
    return min(((t, float(quartic(t))) for t in [1.0, *flat.tolist()] if 0.0 < t <= 1.0), key=lambda at: at[1])
