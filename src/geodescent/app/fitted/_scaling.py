"""Scalings of inputs and targets, learnt on the training part only."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONSTANT = 10.0  # Times eps of a column's largest number: a column that varies less is constant.


@dataclass(frozen=True)
class Scaling:
    """`v ↦ (v − mean)/scale`, per column or, with one entry, by one common factor."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(self, values: ArrayLike) -> NDArray[np.float64]:
        """Scaled values of raw ones."""
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.scale

    def invert(self, values: ArrayLike) -> NDArray[np.float64]:
        """Raw values of scaled ones."""
        return np.asarray(values, dtype=np.float64) * self.scale + self.mean

    def as_dict(self) -> dict[str, list[float]]:
        """The numbers, for JSON."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @staticmethod
    def from_dict(numbers: Mapping[str, list[float]]) -> "Scaling":
        """The inverse of `as_dict`."""
        return Scaling(mean=np.array(numbers["mean"]), scale=np.array(numbers["scale"]))


def standardise(values: NDArray[np.float64]) -> Scaling:
    """Mean 0 and variance 1 in every column; a constant column is centred only."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    rounding = CONSTANT * np.finfo(np.float64).eps * np.abs(values).max(axis=0)
    return Scaling(mean=mean, scale=np.where(deviation > rounding, deviation, 1.0))


def common_factor(values: NDArray[np.float64]) -> Scaling:
    """One shift and one factor for all pixels: mean 0 and variance 1 over the whole image, not by pixel."""
    deviation = float(values.std())
    return Scaling(mean=np.array([values.mean()]), scale=np.array([deviation if deviation > 0.0 else 1.0]))
