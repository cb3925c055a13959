"""The margin of the a priori condition `‖x₀ − y‖ ≤ σ₀²/(2L)` with L proven or estimated."""

import math
from dataclasses import dataclass, replace

import torch

from geodescent._deadline import in_time
from geodescent._errors import MemoryPlanError
from geodescent._types import Outputs, Theta
from geodescent.certificate._spectrum import Spectrum
from geodescent.jacobian import Jacobian
from geodescent.linalg import ROWS, lanczos_extremes, norm, row_norm
from geodescent.metric import EUCLIDEAN, Metric
from geodescent.outputs import Layered
from geodescent.problem import Problem

DIRECTIONS = 2  # Random directions in which L is estimated, beside that of the flow.
NORM_PRODUCTS = 8  # Products in an estimate of ‖D − D'‖₂: within a hundredth on the cases measured (docs/decisions.md).
MARGIN_PRODUCTS = 110.0  # Products with DDᵀ of all estimates of L together …
MARGIN_LINEARISATIONS = 2 * (DIRECTIONS + 1)  # At a long and a short distance along each direction.
MARGIN_FLOPS = 3e11  # … and the flops that they may come to: some seconds.
SHORT = 1e-3  # Share of the flow's first step: the shorter of the two distances along each direction.


@dataclass(frozen=True)
class Margin:
    """`σ₀²/(2L‖x₀ − y‖)`, whether L is proven, and how it was found.

    Attributes:
        way_bound: of `‖θ − θ₀‖` along the whole flow, where the margin is at least 1.
    """

    value: float
    proven: bool
    how: str
    way_bound: float | None


def margin_at(
    problem: Problem,
    theta: Theta,
    jacobian: Jacobian,
    spectrum: Spectrum,
    metric: Metric,
    residual: Outputs,
    lipschitz: float | None,
) -> Margin | None:
    """The margin at θ, where D has full row rank; None where L cannot be had.

    Args:
        jacobian: `B M^{−½}` at θ, float64.
        spectrum: of that; L is estimated only where it knows σ_min, and where that is affordable.
        metric: M.
        residual: weighted, (m,), float64.
        lipschitz: a proven L of D (rows weighted), in the metric, on the ball of radius σ₀/L, or None.
    """
    if spectrum.sigma_min is None:
        return None
    proven = 0.0 if lipschitz is None and is_linear(problem) else lipschitz
    if proven is not None:
        how = "L = 0: the model is linear in θ" if lipschitz is None else f"L = {lipschitz:.3g}, as given"
        margin = _margin(spectrum.sigma_min, proven, row_norm(residual), proven=True, how=how)
        return replace(margin, way_bound=None) if spectrum.sigma_min_is_bound else margin
    if (
        spectrum.sigma_min_is_bound
        or spectrum.velocity is None
        or MARGIN_PRODUCTS * jacobian.product_flops() > MARGIN_FLOPS
        or not in_time(
            MARGIN_PRODUCTS * jacobian.product_flops(),
            "the margin",
            linearisations=MARGIN_LINEARISATIONS,
            products=MARGIN_PRODUCTS,
        )
    ):
        return None
    try:
        estimate = estimated_lipschitz(problem, theta, jacobian, spectrum.velocity, metric)
    except MemoryPlanError:  # a second Jacobian beside the first
        return None
    how = f"L = {estimate:.3g}, estimated from differences of D along the flow and {DIRECTIONS} random directions"
    return _margin(spectrum.sigma_min, estimate, row_norm(residual), proven=False, how=how)


def _margin(sigma: float, lipschitz: float, distance: float, *, proven: bool, how: str) -> Margin:
    """The way is at most `(σ₀ − √(σ₀² − 2L‖r‖))/L = 2‖r‖/(σ₀ + √(σ₀² − 2L‖r‖))`."""
    ratio = math.inf if lipschitz * distance == 0.0 else sigma**2 / (2.0 * lipschitz * distance)
    left = sigma**2 - 2.0 * lipschitz * distance
    return Margin(ratio, proven, how, 2.0 * distance / (sigma + math.sqrt(left)) if left >= 0.0 else None)


def is_linear(problem: Problem) -> bool:
    """Whether x[θ] is known to be affine in θ, in every block."""
    return all(isinstance(block.map, Layered) and block.map.is_linear() for block in problem.blocks)


def estimated_lipschitz(
    problem: Problem, theta: Theta, jacobian: Jacobian, velocity: Theta, metric: Metric = EUCLIDEAN
) -> float:
    """`max ‖D(θ + h u) − D(θ)‖₂/h` over unit u: the flow's direction −D⁺r and a few random ones; a lower bound of L.

    Args:
        jacobian: `B M^{−½}` at θ, float64.
        velocity: −(B M^{−½})⁺r, (K,).
        metric: M, in which u has length 1 and D is measured.

    Cost: two Jacobians a direction, and some twenty products with D, Dᵀ and those of each.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(len(theta), generator=generator, dtype=torch.float64, device="cpu") for _ in range(DIRECTIONS)]
    reach = norm(velocity)
    directions = [d.to(theta.device) for d in drawn]
    if reach > 0.0:
        directions.insert(0, velocity)
    else:
        reach = 1.0
    return max(
        _difference(problem, theta, jacobian, u / norm(u), h, metric.column_scale)
        for u in directions
        for h in (reach, SHORT * reach)
    )


def _difference(
    problem: Problem, theta: Theta, jacobian: Jacobian, unit: Theta, distance: float, columns: Theta | None
) -> float:
    """`‖D(θ + h u) − D(θ)‖₂/h`, with h as it is after rounding."""
    way = unit if columns is None else columns * unit
    moved = theta + (distance * way).to(theta.dtype)
    gone = moved.double() - theta.double()
    h = norm(gone if columns is None else gone / columns)
    if h == 0.0:
        return 0.0
    there = problem.linearise(moved, dtype=torch.float64)[1].scaled(columns=columns)

    def squared(u: Outputs) -> Outputs:
        """`(D' − D)(D' − D)ᵀ u`."""
        v = there.rmv(u) - jacobian.rmv(u)
        return there.mv(v) - jacobian.mv(v)

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(jacobian.n_residuals, generator=generator, dtype=torch.float64, device="cpu").to(theta.device)
    change = row_norm(squared(start))
    if change == 0.0 or not math.isfinite(change):
        return 0.0 if change == 0.0 else math.inf
    largest, _ = lanczos_extremes(squared, start, iterations=NORM_PRODUCTS, space=ROWS)
    return math.sqrt(max(largest, 0.0)) / h
