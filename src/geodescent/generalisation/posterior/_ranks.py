"""Ranks of inputs among the rows that were fitted: what the steps are functions of."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geodescent._errors import InputError

SPREAD = math.sqrt(12.0)  # The standard deviation of ranks from 0 to 1 is its inverse.


@dataclass(frozen=True)
class Ranks:
    """`√12 (F_f(x_f) − ½)`, F_f the distribution of input f over the rows that were fitted.

    Ties have their middle rank; between two values it is interpolated, outside of all it is constant. A monotone change
    of an input changes nothing.

    Attributes:
        values: of each input, the different ones in increasing order.
        shares: F_f there.
    """

    values: tuple[NDArray[np.float64], ...]
    shares: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, x: Tensor, weights: Tensor) -> "Ranks":
        """From the inputs, (N, d), and how often each row counts, (N,)."""
        values, shares = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
        for column in x.T.numpy():
            different, where = np.unique(column, return_inverse=True)
            counts = np.bincount(where, weights=weights.numpy(), minlength=len(different))
            values.append(different)
            shares.append((counts.cumsum() - 0.5 * counts) / counts.sum())
        return cls(tuple(values), tuple(shares))

    def tensors(self) -> dict[str, Tensor]:
        """All values and all shares in a row, and how many there are of each input."""
        counts = torch.tensor([len(values) for values in self.values], dtype=torch.int64, device="cpu")
        values, shares = (torch.from_numpy(np.concatenate(parts)) for parts in (self.values, self.shares))
        return {"values": values, "shares": shares, "counts": counts}

    @classmethod
    def from_tensors(cls, values: Tensor, shares: Tensor, counts: Tensor) -> "Ranks":
        """The inverse; raises InputError where they are no distributions."""
        if bool((counts < 1).any()) or int(counts.sum()) != len(values):
            raise InputError(f"a saved posterior counts {counts.tolist()} values of the inputs and has {len(values)}.")
        parts = [[part.numpy() for part in torch.split(saved, counts.tolist())] for saved in (values, shares)]
        if any((np.diff(part) <= 0.0).any() for part in [*parts[0], *parts[1]]):
            raise InputError("a saved posterior has ranks of inputs that do not rise: the file is damaged.")
        return cls(tuple(parts[0]), tuple(parts[1]))

    def __call__(self, x: Tensor) -> Tensor:
        """Of these inputs, (N, d)."""
        columns = zip(x.T.numpy(), self.values, self.shares, strict=True)
        ranks = [torch.from_numpy(np.interp(column, values, shares)) for column, values, shares in columns]
        return SPREAD * (torch.stack(ranks, 1) - 0.5)
