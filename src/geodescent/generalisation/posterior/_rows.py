"""Which rows are used: those that are given several times as one that counts so often, and a part of too many."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FittedRows:
    """Different rows, standardised, that a posterior is conditioned on.

    Attributes:
        x: inputs, (N, d).
        y: targets, (N, Q).
        weights: how often each counts, (N,).
        places: of each row that was given, among these.
        flat: whether the targets had one axis.
    """

    x: Tensor
    y: Tensor
    weights: Tensor
    places: Tensor
    flat: bool

    def drawn(self, most: int) -> "FittedRows":
        """Some of them, always the same."""
        kept = drawn_rows(len(self.x), most, torch.Generator().manual_seed(0))
        return FittedRows(self.x[kept], self.y[kept], self.weights[kept], self.places.new_empty(0), self.flat)


def merged(x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Different rows of inputs and targets in increasing order, their counts, and where each given row stands.

    Args:
        x, y: inputs (N, d) and targets (N, Q).
        weights: how often each row counts, (N,).
    """
    table, places = torch.unique(torch.cat([x, y], 1), dim=0, return_inverse=True)
    counts = weights.new_zeros(len(table)).index_add_(0, places, weights)
    return table[:, : x.shape[1]], table[:, x.shape[1] :], counts, places


def drawn_rows(n_rows: int, most: int, generator: torch.Generator) -> Tensor:
    """At most so many of these rows, drawn, in increasing order."""
    return torch.randperm(n_rows, generator=generator, device="cpu")[:most].sort().values
