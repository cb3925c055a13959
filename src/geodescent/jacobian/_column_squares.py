"""The squared lengths of the columns of D."""

import torch
from torch import Tensor

from geodescent._errors import MemoryPlanError
from geodescent._types import Theta
from geodescent.jacobian._jacobian import Jacobian
from geodescent.jacobian._product_columns import random_signs


def column_squares(jacobian: Jacobian, wanted: Tensor) -> Theta:
    """`Σ_i D_ij²`, (K,), of the columns that are wanted, a mask (K,); nothing is known of the others.

    Exact where columns are formed, or DᵀD where D has no rows in memory; else the mean of `(Dᵀz)²` over random signs z.
    """
    squares = torch.zeros(jacobian.n_params, dtype=jacobian.dtype, device=jacobian.device)
    if not jacobian.blocks:
        try:
            return jacobian.normal().diagonal()
        except MemoryPlanError:
            drawn = 0
            for signs in random_signs(jacobian.n_residuals, squares):
                squares += jacobian.rmv(signs).square()
                drawn += 1
            return squares / drawn
    for block in jacobian.blocks:
        for piece in block.columns:
            if bool(wanted[piece.index].any()):
                piece.add_column_squares(squares)
    return squares
