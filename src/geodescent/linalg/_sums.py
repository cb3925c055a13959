"""Inner products, norms and sums of vectors."""

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> float:
    """`⟨a, b⟩` over rows. This, `norm` and `total` are the only sums over rows."""
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def norm(a: Tensor) -> float:
    """`‖a‖₂`."""
    return float(torch.linalg.vector_norm(a))


def total(a: Tensor) -> float:
    """`Σ aᵢ`."""
    return float(a.sum())
