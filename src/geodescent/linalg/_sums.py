"""Inner products, norms and sums: over parameters, and over the rows of a problem.

If rows were spread over several processes, sums over rows would have to be added up among them; sums over parameters,
which every process would hold, would not. So there is one function for each kind of sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

SQUARED = 2**18  # Numbers whose squares are held at a time.


def dot(a: Tensor, b: Tensor) -> float:
    """`⟨a, b⟩` of two vectors of parameters."""
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def sum_of_squares(values: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """`Σ v²` over these axes; the squares of few numbers at a time are held, or none, over the last axis alone."""
    over = {dims} if isinstance(dims, int) else set(dims)
    if over == {values.dim() - 1}:
        lengths: Tensor = torch.linalg.vector_norm(values, dim=-1)
        return lengths.square()
    step = max(1, SQUARED // max(1, values[:1].numel()))
    if len(values) <= step:
        return values.square().sum(dims)
    parts = [part.square().sum(dims) for part in torch.split(values, step)]
    return reduce(torch.add, parts) if 0 in over else torch.cat(parts)


def norm(a: Tensor) -> float:
    """`‖a‖₂` of a vector of parameters, or of any other tensor that is not a vector of rows."""
    return float(torch.linalg.vector_norm(a))


def total(a: Tensor) -> float:
    """`Σ aᵢ` of a vector of parameters."""
    return float(a.sum())


def row_dot(a: Tensor, b: Tensor) -> float:
    """`⟨a, b⟩` over rows."""
    return dot(a, b)


def row_norm(a: Tensor) -> float:
    """`‖a‖₂` over rows."""
    return norm(a)


def row_total(a: Tensor) -> float:
    """`Σ aᵢ` over rows."""
    return total(a)


@dataclass(frozen=True)
class Space:
    """The space of an iteration's vectors: its inner product and its norm."""

    dot: Callable[[Tensor, Tensor], float]
    norm: Callable[[Tensor], float]


PARAMETERS = Space(dot, norm)
ROWS = Space(row_dot, row_norm)
