"""Columns standardised by their mean and standard deviation over the rows that were fitted."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._conversion import Values, tensor_of
from geodescent._errors import InputError

COVARIANCES_AT_ONCE = 10_000_000  # Numbers, 80 MB: between rows that are predicted and rows that were fitted.


@dataclass(frozen=True)
class Standardised:
    """`(v − mean)/deviation`; a column of one number alone is divided by that number, so that its unit does not matter.

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
        largest = values.abs().amax(0)
        still = deviation <= 8.0 * torch.finfo(values.dtype).eps * largest
        return cls(mean, torch.where(still, torch.where(largest > 0.0, largest, 1.0), deviation))

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def parts(self, X: Values, n_fitted: int) -> list[Tensor]:
        """Rows to be predicted, standardised, a few at a time; raises InputError for other columns than were fitted.

        Args:
            n_fitted: rows that were fitted.
        """
        asked, columns = tensor_of(X, self.mean, "X").detach().to(self.mean), len(self.mean)
        if asked.dim() != 2 or asked.shape[1] != columns:
            shape = tuple(asked.shape)
            raise InputError(f"X has shape {shape}: {columns} columns were fitted, pass X of shape (n, {columns}).")
        wrong = int((~torch.isfinite(asked)).sum())
        if wrong:
            raise InputError(f"X holds {wrong} NaN or infinite values: fill them in, or drop these rows.")
        return [self(part) for part in torch.split(asked, max(1, COVARIANCES_AT_ONCE // n_fitted))]

    def undone(self, values: Tensor) -> Tensor:
        """The inverse."""
        return values * self.deviation + self.mean
