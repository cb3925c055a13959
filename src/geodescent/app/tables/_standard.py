"""Columns of numbers: missing entries filled, far ones moved to a limit, mean 0 and variance 1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_DEVIATIONS = 10.0  # Standard deviations: a value further off would outweigh its whole column in a square error.
RANGES = 10.0  # Interquartile ranges from the median: a value further off would decide the deviation of a column alone.
LARGEST = 1e100  # Larger numbers are taken for infinite: their squares, summed over rows, would overflow.
LEAST_VARIATION = 10.0  # Times eps of a column's largest number: a column that varies less is constant up to rounding.

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """`v ↦ (clip(v) − fill − offset)/scale`, with `|z| ≤ 10`.

    Attributes:
        fill: the median, in the place of missing entries.
        low, high: limits to which values outside are moved.
        offset: mean of the training part, after filling and moving, less the median.
        scale: its standard deviation.
    """

    fill: float
    low: float
    high: float
    offset: float
    scale: float

    @property
    def mean(self) -> float:
        """Of the training part; beside a large median it is rounded, and `offset` is not."""
        return self.fill + self.offset

    def apply(self, values: Numbers) -> tuple[Numbers, int]:
        """z `(n,)` of values with NaN where missing, and how many lay beyond the limits.

        The median is taken off first, which is exact nearby, so that a column near 1e12 keeps its digits.
        """
        filled = np.where(np.isnan(values), self.fill, values)
        beyond = int(np.count_nonzero((filled < self.low) | (filled > self.high)))
        scaled = (np.clip(filled, self.low, self.high) - self.fill - self.offset) / self.scale
        return np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS), beyond


def learnt_standard(values: Numbers) -> Standard | None:
    """The scaling of training values `(n,)`, NaN where missing; None where the values are all the same.

    Where a value lies more than 10 standard deviations off, values are first moved to the median ± 10 interquartile
    ranges, so that one entry of 1e12 does not make all others vanish. What then still lies further off than 10
    standard deviations, as the only one in 399 zeros does, is moved to that.
    """
    given = values[~np.isnan(values)]
    largest = float(np.abs(given).max(initial=0.0))
    if not len(given) or np.ptp(given) <= LEAST_VARIATION * np.finfo(np.float64).eps * largest:
        return None
    median = float(np.median(given))
    distances = np.where(np.isnan(values), 0.0, values - median)
    offset, scale = _moments(distances)
    reach = np.inf
    if np.abs(distances - offset).max() > MOST_DEVIATIONS * scale:
        reach = RANGES * _reach(given - median)
        offset, scale = _moments(np.clip(distances, -reach, reach))
    low, high = (offset + sign * MOST_DEVIATIONS * scale for sign in (-1.0, 1.0))
    return Standard(median, median + max(low, -reach), median + min(high, reach), offset, scale)


def common_standard(values: Numbers) -> Standard:
    """One shift and one factor for all pixels `(n, d)` of images: mean 0 and variance 1 over the whole image."""
    mean, scale = _moments(values.ravel())
    scale = scale if scale > 0.0 else 1.0
    return Standard(mean, mean - MOST_DEVIATIONS * scale, mean + MOST_DEVIATIONS * scale, 0.0, scale)


def numbers_with_gaps(values: Numbers) -> tuple[Numbers, int]:
    """NaN in the place of infinite values and of those beyond 1e100, and how many there were."""
    infinite = np.abs(values) > LARGEST
    return np.where(infinite, np.nan, values), int(np.count_nonzero(infinite))


def _moments(values: Numbers) -> tuple[float, float]:
    """Mean and standard deviation, without overflow or underflow of the squares."""
    unit = float(np.abs(values).max())
    return (unit * float((values / unit).mean()), unit * float((values / unit).std())) if unit else (0.0, 0.0)


def _reach(distances: Numbers) -> float:
    """The interquartile range; where it is 0, the upper quartile of how far the values off the median lie from it."""
    lower, upper = np.quantile(distances, [0.25, 0.75])
    if upper > lower:
        return float(upper - lower)
    return float(np.quantile(np.abs(distances[distances != 0.0]), 0.75))
