"""Damped least squares within a box, for many small problems."""

import torch
from torch import Tensor

from geodescent.curves.batched._factor import ColumnFactor, back_substituted, orthogonalised, times


def held(r: Tensor, c: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Which parameters stand at a bound that the cost pushes them against; low ≤ 0 ≤ high are the distances."""
    gradient = (r.mT @ c[:, :, None])[:, :, 0]
    return ((low >= 0.0) & (gradient > 0.0)) | ((high <= 0.0) & (gradient < 0.0))


def restricted(r: Tensor, c: Tensor, free: Tensor) -> ColumnFactor:
    """The factor of R (b, K, K), triangular, without the columns that are not free."""
    if free.all():
        return ColumnFactor(_as_columns(r), r, c)
    return orthogonalised(_as_columns(r * free[:, None, :]), c)


def within_box(r: Tensor, c: Tensor, root: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ColumnFactor, Tensor]:
    """`argmin ‖c + Rv‖² + ‖√μ S v‖²` for low ≤ v ≤ high, root = √μ S; the factor of its free parameters, and which.

    Parameters that leave the box are fixed at the bound and the others solved for again, at most once a parameter: a
    point of the box, and the best one where none that was fixed would come back.
    """
    free = ~held(r, c, low, high)
    fixed = torch.zeros_like(c)
    while True:
        stacked = torch.cat([r, torch.diag_embed(root)], 1) * free[:, None, :]
        damped = orthogonalised(_as_columns(stacked), above_zeros(c + times(r, fixed)))
        step = torch.where(free, -back_substituted(damped.r, damped.c), fixed)
        outside = free & ((step < low) | (step > high))
        if not outside.any():
            return step, damped, free
        fixed = torch.where(outside, torch.minimum(torch.maximum(step, low), high), fixed)
        free = free & ~outside


def _as_columns(matrices: Tensor) -> Tensor:
    """(b, n, K) as columns (K, b, n)."""
    return matrices.permute(2, 0, 1)


def above_zeros(c: Tensor) -> Tensor:
    """The right side c (b, k) of a damped problem, with zeros in the rows of the damping."""
    return torch.cat([c, torch.zeros_like(c)], 1)
