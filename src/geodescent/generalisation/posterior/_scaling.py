"""Columns standardised by their mean and standard deviation over the rows that were fitted."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Standardised:
    """`(v − mean)/deviation`; a column of one number alone is only shifted.

    Attributes:
        mean, deviation: of each column.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, values: Tensor, weights: Tensor) -> "Standardised":
        """Over rows that count so often each."""
        share = (weights / weights.sum())[:, None]
        mean = (share * values).sum(0)
        deviation = (share * (values - mean).square()).sum(0).sqrt()
        still = deviation <= 8.0 * torch.finfo(values.dtype).eps * values.abs().amax(0)
        return cls(mean, torch.where(still, 1.0, deviation))

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def undone(self, values: Tensor) -> Tensor:
        """The inverse."""
        return values * self.deviation + self.mean
