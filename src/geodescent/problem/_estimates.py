"""Coefficients of equations with their standard errors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import row_dot, svd
from geodescent.outputs import Layered
from geodescent.problem._misfit import is_alike
from geodescent.problem._problem import Problem
from geodescent.problem._residual_table import POINTS_LIMIT, fresh_map

NO_DATA = "no standard error, for nothing is marked as measured; where a term holds measured values, target= says so"
OTHER_VALUES = "other values fit as well: fix it, or measure something that depends on it"
NO_PART = 1e-6  # Of an unknown in the directions that change no row: as much is rounding.
MOST_STEP = 2.0  # Standard errors that one more step moves a coefficient: fits that were done had up to 1.3.
MOST_SHIFT = 10.0  # Standard errors that the residual between the points could make up for: good fits had up to 3.1.
VARIANCE_ROUNDS = (
    3  # Of σ², which the leverages need, and of the leverages, which σ² needs: the third changes no digit shown.
)


@dataclass(frozen=True)
class Estimate:
    """A coefficient that was found.

    Attributes:
        value: of the coefficient.
        standard_error: NaN without measured data, 0 where these are fitted exactly, infinite where other values of the
            coefficient fit as well.
        warning: why the standard error is none, or not to be relied on, and what to do; empty where nothing is known.
    """

    value: float
    standard_error: float
    warning: str = ""

    def __str__(self) -> str:
        error = "" if math.isnan(self.standard_error) else f" ± {self.standard_error:.2g}"
        return f"{self.value:.8g}{error}" + (f" ({self.warning})" if self.warning else "")

    def __repr__(self) -> str:
        return f"Estimate({self})"


def estimates(problem: Problem, theta: Theta) -> Mapping[str, Estimate]:
    """The unknowns of a problem: with `h = A⁺e`, `A = BᵀB + P`, e the unknown's unit vector, the variance of one is

        σ² (‖s B_data h‖² + s² hᵀP h).

    The data are the blocks that were measured, s the scale of their rows, and their errors the only ones: equations
    have none. σ² is the mean square of their residual, divided by one less the mean leverage of their rows. P, which is
    diagonal, says what is known of the network's weights without any data, that they have the size that they have:
    `s²σ²/τ²`, τ² the mean square of a layer. Without it errors of the data move weights by many times their size, in
    directions in which the outputs hardly change, and no fit goes that far. Unknowns, and parameters of no layer, have
    zeros there.

    Cost: the singular values of B, three times.

    Source: Tikhonov's regularisation as a Gaussian prior, as in MacKay, *Neural Computation* 4 (1992), 415.
    """
    if not problem.unknowns:
        return {}
    measured = [block.name in problem.measured for block in problem.blocks]
    if not any(measured):
        return {name: Estimate(float(theta[k]), math.nan, NO_DATA) for name, k in problem.unknowns.items()}
    residual, jacobian = problem.linearise(theta, dtype=torch.float64)
    scale = problem.weighted(torch.ones_like(residual))
    sizes = torch.tensor([block.target.numel() for block in problem.blocks], device=scale.device)
    data = torch.tensor(measured, device=scale.device).repeat_interleave(sizes) & (scale > 0.0)
    noisy = _Noisy.of(jacobian.dense(), data, scale, residual, _known_before(problem, theta))
    alike = any(is_alike(block, theta) for block, is_data in zip(problem.blocks, measured, strict=True) if is_data)
    between = _between(problem, theta, residual / scale.clamp_min(1e-300))
    found = dict[str, Estimate]()
    for name, k in problem.unknowns.items():
        if not noisy.determines(k):
            found[name] = Estimate(float(theta[k]), math.inf, OTHER_VALUES)
            continue
        response, error, step = noisy.of_unknown(k)
        limited = float((between * scale * response).norm()) > MOST_SHIFT * error
        unfinished = abs(step) > MOST_STEP * error > 0.0
        found[name] = Estimate(float(theta[k]), error, _doubt(alike, unfinished, limited=limited))
    return found


@dataclass(frozen=True)
class _Noisy:
    """The linear model of a problem whose data have errors of one size.

    Attributes:
        rows: B, and below it a row for each parameter, the root of P, (m + K, K).
        factors: U, σ, Vᵀ of these.
        data: which rows of B were measured, (m,).
        scale: of the rows of B, (m,).
        variance: σ².
        residual: r, (m,).
    """

    rows: Tensor
    factors: tuple[Tensor, Tensor, Tensor]
    data: Tensor
    scale: Tensor
    variance: float
    residual: Tensor

    @classmethod
    def of(cls, b: Tensor, data: Tensor, scale: Tensor, residual: Tensor, known: Tensor) -> "_Noisy":
        """With σ² and the leverages of the data in turn.

        Args:
            known: 1/τ² of each parameter, (K,); 0 of those of which nothing is known before.
        """
        plain = residual[data] / scale[data]
        square, of_data = row_dot(plain, plain), float(scale[data].square().mean())
        variance, n = square / len(plain), len(b)
        for _ in range(VARIANCE_ROUNDS if bool(known.any()) else 1):
            rows = torch.cat([b, torch.diag(torch.sqrt(variance * of_data * known))])
            left, values, right = svd(rows)
            keep = values > max(b.shape) * torch.finfo(torch.float64).eps * values[0]
            factors = left[:, keep], values[keep], right[keep]
            freedom = float(len(plain) - factors[0][:n][data].square().sum())
            variance = square / max(freedom, 1.0)
        return cls(rows, factors, data, scale, variance, residual)

    def determines(self, k: int) -> bool:
        """Whether an unknown is in no direction that changes no row."""
        return float(self.factors[2][:, k].square().sum()) > 1.0 - NO_PART

    def of_unknown(self, k: int) -> tuple[Tensor, float, float]:
        """How far each row of B responds to it, (m,); its standard error; how far one more step would move it."""
        (left, values, right), n = self.factors, len(self.residual)
        response = self.rows @ (right.T @ (right[:, k] / values**2))
        of_prior = row_dot(response[n:], response[n:]) * float(self.scale[self.data].square().mean())
        by_data = self.scale[self.data] * response[:n][self.data]
        error = math.sqrt(self.variance * (row_dot(by_data, by_data) + of_prior))
        step = -float(right[:, k] @ (left[:n].T @ self.residual / values))
        return response[:n], error, step


def _known_before(problem: Problem, theta: Theta) -> Tensor:
    """1/τ² of each parameter, (K,): the mean square of its layer; 0 for the unknowns, and where there are no layers."""
    known = torch.zeros(len(theta), dtype=torch.float64, device=theta.device)
    first = problem.blocks[0].map
    for entries in first.layers().values() if isinstance(first, Layered) else ():
        square = float(theta[entries].double().square().mean())
        known[entries] = 1.0 / square if square > 0.0 else 0.0
    known[list(problem.unknowns.values())] = 0.0
    return known


def _doubt(alike: bool, unfinished: bool, *, limited: bool) -> str:
    """Why a standard error is not to be relied on; empty where nothing speaks against it."""
    if alike:
        return (
            "do not rely on it: the measured term is off alike at neighbouring points, which noise is not. Go on with "
            "gd.fit, or begin at another first value"
        )
    if limited:
        return "do not rely on it: the equation does not hold between its points. Take more, or pde.refine"
    return "do not rely on it: the fit is not done, go on with gd.fit" if unfinished else ""


def _between(problem: Problem, theta: Theta, plain: Tensor) -> Tensor:
    """The median size at fresh points, for each row of the terms that points limit; 0 for all others.

    A spike at few points, which moves the RMS, moves a coefficient little.
    """
    rows = list[Tensor]()
    parts = torch.split(plain, [block.target.numel() for block in problem.blocks])
    for block, own in zip(problem.blocks, parts, strict=True):
        fresh = fresh_map(block, 0)
        size = 0.0 if fresh is None else float(fresh(theta).double().abs().median())
        limited = size > POINTS_LIMIT * float(own.abs().median())
        rows.append(torch.full_like(own, size if limited else 0.0))
    return torch.cat(rows)
