"""What a fit says of its parameters: covariance, errors, intervals, and how well the formula fits."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from geodescent._settings import SHARE_INSIDE
from geodescent.linalg import svd

Array = np.ndarray
INDISTINCT = (
    0.1  # Share of the largest entry: parameters with smaller ones in a direction without effect are not named.
)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of a finished fit with m rows and k free parameters.

    Attributes:
        names: of all parameters, (K,).
        values: of all.
        covariance: of all, (K, K): zeros for fixed ones, infinite where the data do not determine it.
        n_rows, n_free: m and k.
        chi_square: `Σ ρ`, with a loss; else the sum of the squares of whitened residuals.
        total_square: the same of a constant, for R²; NaN where there are no data to compare with.
        absolute: whether the data's errors are known, not only their ratios.
        unknown: names of the parameters that the data do not tell apart.
    """

    names: tuple[str, ...]
    values: Array
    covariance: Array
    n_rows: int
    n_free: int
    chi_square: float
    total_square: float
    absolute: bool
    unknown: tuple[str, ...] = ()

    @property
    def degrees(self) -> int:
        """m − k."""
        return self.n_rows - self.n_free

    @property
    def reduced_chi_square(self) -> float:
        """`χ²/(m − k)`; NaN where m ≤ k."""
        return self.chi_square / self.degrees if self.degrees > 0 else math.nan

    @property
    def aic(self) -> float:
        """`m ln(χ²/m) + 2k`, Akaike's criterion as lmfit has it."""
        return self._minus_two_log_likelihood + 2.0 * self.n_free

    @property
    def bic(self) -> float:
        """`m ln(χ²/m) + k ln m`, the Bayesian criterion as lmfit has it."""
        return self._minus_two_log_likelihood + self.n_free * math.log(self.n_rows)

    @property
    def r_squared(self) -> float:
        """`1 − χ²/χ²₀`, χ²₀ of the best constant."""
        return 1.0 - self.chi_square / self.total_square if self.total_square > 0.0 else math.nan

    @cached_property
    def stderr(self) -> Array:
        """Standard errors, (K,)."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @cached_property
    def correlation(self) -> Array:
        """Of the estimates, (K, K); NaN for fixed parameters, and where the covariance is infinite."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.covariance / np.outer(self.stderr, self.stderr))

    def half_width(self, level: float) -> float:
        """How many standard errors an interval of this level has to each side: Student's t, normal for known errors."""
        from scipy.special import ndtri, stdtrit

        tail = 0.5 * (1.0 + SHARE_INSIDE.such_as(0.95).of("level", level))
        if self.absolute:
            return float(ndtri(tail))
        return float(stdtrit(self.degrees, tail)) if self.degrees > 0 else math.inf

    def interval(self, level: float = 0.95) -> Array:
        """`value ± t·stderr`, (K, 2): exact for a formula that is linear in its parameters."""
        with np.errstate(invalid="ignore"):
            away = np.where(self.stderr > 0.0, self.half_width(level) * self.stderr, 0.0)
        return np.stack([self.values - away, self.values + away], 1)

    @property
    def _minus_two_log_likelihood(self) -> float:
        return self.n_rows * math.log(max(self.chi_square / self.n_rows, 5e-324))


def covariance_of(jacobian: Tensor, resolution: float) -> tuple[Tensor, list[int]]:
    """`(DᵀD)⁻¹`, (k, k), and the columns that are not told apart: then it is infinite.

    Columns are scaled to norm 1 first, so that rank does not depend on the units of parameters.

    Args:
        resolution: the relative error of D.
    """
    k = jacobian.shape[1]
    if not bool(torch.isfinite(jacobian).all()):
        return jacobian.new_full((k, k), math.inf), list(range(k))
    norms = jacobian.norm(dim=0)
    units = torch.where(norms > 0.0, norms, torch.ones_like(norms))
    _, sigma, directions = svd(jacobian / units, full_matrices=True)
    sigma = torch.cat([sigma, sigma.new_zeros(k - len(sigma))])
    least = resolution * math.sqrt(jacobian.numel())
    small = sigma <= least * float(sigma.max())
    if bool(small.any()):
        reach = directions[small].abs().amax(0)
        named = torch.nonzero(reach >= INDISTINCT * float(reach.max()))[:, 0].tolist()
        return jacobian.new_full((k, k), math.inf), named
    scaled = directions / sigma[:, None] / units
    return scaled.T @ scaled, []
