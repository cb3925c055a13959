"""How far an interval reaches, by what rows left out are off by."""

import math

import torch
from torch import Tensor

ROUNDING = 1e-9  # Of shares of rows: 0.55 · 100 is above 55 in floating point.


def reach_of(missed: Tensor, weights: Tensor, level: float) -> Tensor:
    """The ⌈level·(n + 1)⌉-th smallest of what rows are off by, in each column, (Q,), the largest if there are fewer.

    Args:
        missed: of each row, not negative, (N, Q).
        weights: how often each row counts, (N,); n is their sum.
        level: the share of new rows that are off by less.
    """
    increasing, order = missed.sort(0)
    counted = weights[order].cumsum(0)
    n = float(weights.sum())
    wanted = min(math.ceil(level * (n + 1.0) - ROUNDING), float(counted[-1, 0]))
    place = (counted >= wanted - ROUNDING * n).to(torch.int8).argmax(0)
    return increasing.gather(0, place[None])[0]
