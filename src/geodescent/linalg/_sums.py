"""Inner products, norms and sums: over parameters, and over the rows of a problem.

Where rows are spread over several processes, sums over rows are to be added up among them, and those over parameters,
which every process holds, are not. So they have two names each, and no other code sums over rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> float:
    """`⟨a, b⟩` of two vectors of parameters."""
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def norm(a: Tensor) -> float:
    """`‖a‖₂` of a vector of parameters, or of anything that is no vector of rows."""
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
    """Where the vectors of an iteration live: its inner product and its norm."""

    dot: Callable[[Tensor, Tensor], float]
    norm: Callable[[Tensor], float]


PARAMETERS = Space(dot, norm)
ROWS = Space(row_dot, row_norm)
