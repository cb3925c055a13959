"""Matrices of prescribed spectrum and rank, in float64, the same every time."""

import torch
from torch import Tensor

F64 = torch.float64
SPECTRUM = torch.logspace(-4, 2, 12, dtype=F64)


def vector(n: int, seed: int = 3) -> Tensor:
    return torch.randn(n, dtype=F64, generator=torch.Generator().manual_seed(seed))


def orthogonal(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, dtype=F64, generator=generator))[0]


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    """Symmetric, with these eigenvalues."""
    vectors = orthogonal(len(values), seed)
    return (vectors * values) @ vectors.T


def rectangular(m: int, k: int, sigma: Tensor) -> Tensor:
    """m × k, with these singular values."""
    return (orthogonal(m, 1)[:, : len(sigma)] * sigma) @ orthogonal(k, 2)[:, : len(sigma)].T


def graded(m: int, k: int, decades: float) -> Tensor:
    """m × k, with singular values that fall evenly from 1 by so many decades."""
    return rectangular(m, k, 10.0 ** torch.linspace(0.0, -decades, min(m, k), dtype=F64))
