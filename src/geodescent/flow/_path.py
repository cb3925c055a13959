"""What is measured along a path of θ: cost, spectrum, and how far the outputs are from the straight line."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from geodescent._budget import budget
from geodescent._types import Outputs, Theta
from geodescent.flow._arrays import Array
from geodescent.jacobian import Jacobian, order_of, square_of
from geodescent.lift import Lift
from geodescent.linalg import norm, row_norm
from geodescent.problem import Problem
from geodescent.theory import predicted_cost


@dataclass(frozen=True)
class PathPoint:
    """One accepted step of the integration; the attributes are those of a `Flow` at that time."""

    theta: Theta
    time: float
    cost: float
    rank: float
    sigma_min: float
    line_deviation: float
    line_deviation_lost: float


def path_point(
    problem: Problem, lift: Lift, theta: Theta, time: float, residual0: Outputs
) -> tuple[PathPoint, Jacobian]:
    """The point of the path at τ = time, and the weighted Jacobian there.

    The spectrum is taken up to the budget's `spectrum_order` residuals, where DDᵀ or DᵀD fits into memory.

    Args:
        problem: of the flow.
        theta: where, (K,).
        lift: of the flow, for the part of the deviation outside range(D).
        time: τ.
        residual0: the weighted x₀ − y, (m,), float64.
    """
    residual, rows = problem.linearise(theta, dtype=torch.float64)
    from_line = residual - math.exp(-time) * residual0
    length = row_norm(residual0)
    rank, sigma_min = _spectrum(rows, problem.n_rows_wanted)
    lost = math.nan
    if not math.isnan(rank):
        full = rank == problem.n_rows_wanted
        lost = 0.0 if full else row_norm(lift.prepare(rows).lift(from_line, damping=0.0).misfit)
    deviation = row_norm(from_line) / length
    return PathPoint(theta, time, problem.cost(theta), rank, sigma_min, deviation, lost / length), rows


def _spectrum(rows: Jacobian, wanted: int) -> tuple[float, float]:
    """`(rank, σ_min)` through DDᵀ or DᵀD: σ_min is the `wanted`-th singular value, 0 where the rank is lower.

    Both are NaN where that matrix is too large, or holds numbers that are not finite.
    """
    small = max(rows.n_residuals, order_of(rows)) <= budget().spectrum_order
    square = square_of(rows) if small else None
    if square is None or not bool(torch.isfinite(square).all()):
        return math.nan, math.nan
    values = torch.linalg.eigvalsh(square)
    rank = int((values > len(values) * torch.finfo(values.dtype).eps * values[-1]).sum())
    return float(rank), math.sqrt(float(values[len(values) - wanted])) if rank == wanted else 0.0


def path_arrays(points: list[PathPoint], floor: float, residual0: float) -> dict[str, Array]:
    """The arrays of a Flow.

    Args:
        points: of the path, the start first.
        floor: F at the start.
        residual0: ‖x₀ − y‖, rows weighted.
    """
    time = np.array([p.time for p in points])
    sigma_min = np.array([p.sigma_min for p in points])
    origin = points[0].theta
    return {
        "time": time,
        "cost": np.array([p.cost for p in points]),
        "predicted_cost": predicted_cost(points[0].cost, time, floor=min(floor, points[0].cost)),
        "rank": np.array([p.rank for p in points]),
        "sigma_min": sigma_min,
        "path_bound": residual0 * _path_integral(-np.expm1(-time), sigma_min),
        "displacement": np.array([norm(p.theta - origin) for p in points]),
        "line_deviation": np.array([p.line_deviation for p in points]),
        "line_deviation_lost": np.array([p.line_deviation_lost for p in points]),
    }


def _path_integral(line_time: Array, sigma_min: Array) -> Array:
    """`∫dt/σ_min` by the trapezoidal rule; infinite from where σ_min = 0."""
    with np.errstate(divide="ignore"):
        inverse = 1.0 / sigma_min
    pieces = 0.5 * (inverse[1:] + inverse[:-1]) * np.diff(line_time)
    return np.concatenate([[0.0], np.cumsum(pieces)])
