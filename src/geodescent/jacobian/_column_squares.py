"""The squared lengths of the columns of D."""

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.jacobian._jacobian import Jacobian


def column_squares(jacobian: Jacobian, wanted: Tensor) -> Theta:
    """`Σ_i D_ij²`, (K,), of the columns that are wanted, a mask (K,); nothing is known of the others.

    Exact where columns are formed; of a D that is known by its products, and too large to be formed, an estimate by
    random signs. Where D has no rows in memory, the diagonal of DᵀD.
    """
    if not jacobian.blocks:
        return jacobian.normal().diagonal()
    squares = torch.zeros(jacobian.n_params, dtype=jacobian.dtype, device=jacobian.device)
    for block in jacobian.blocks:
        for piece in block.columns:
            if bool(wanted[piece.index].any()):
                piece.add_column_squares(squares)
    return squares
