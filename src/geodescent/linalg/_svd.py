"""Singular values that are exact down to rounding on every device."""

import torch
from torch import Tensor


def svd(matrix: Tensor, *, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """`U, σ, Vᵀ` of (…, m, n) matrices, σ in falling order.

    On CUDA by QR iterations: torch's own choice there, Jacobi's method, leaves small σ inexact, or gives up.
    """
    found = torch.linalg.svd(matrix, full_matrices=full_matrices, driver=_driver(matrix))
    return found.U, found.S, found.Vh


def singular_values(matrix: Tensor) -> Tensor:
    """σ of (…, m, n) matrices, in falling order."""
    sigma: Tensor = torch.linalg.svdvals(matrix, driver=_driver(matrix))
    return sigma


def _driver(matrix: Tensor) -> str | None:
    return "gesvd" if matrix.is_cuda else None
