"""Columns standardised by their mean and standard deviation over the rows that were fitted."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._conversion import Values, tensor_of
from geodescent._errors import InputError

PREDICTED_AT_ONCE = 2000  # Rows.


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

    def parts(self, X: Values) -> list[Tensor]:
        """Rows to be predicted, standardised, a few at a time; raises InputError for other columns than were fitted."""
        asked, columns = tensor_of(X, self.mean, "X").detach().to(self.mean), len(self.mean)
        if asked.dim() != 2 or asked.shape[1] != columns:
            shape = tuple(asked.shape)
            raise InputError(f"X has shape {shape}: {columns} columns were fitted, pass X of shape (n, {columns}).")
        return [self(part) for part in torch.split(asked, PREDICTED_AT_ONCE)]

    def undone(self, values: Tensor) -> Tensor:
        """The inverse."""
        return values * self.deviation + self.mean
