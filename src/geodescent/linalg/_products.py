"""Products of a matrix with its own transpose, of which half is computed."""

import torch
from torch import Tensor

STRIP = 256  # Rows of a strip: narrower ones are slower, and of fewer rows the whole product is as fast.


def outer_square(rows: Tensor) -> Tensor:
    """`R Rᵀ`, (n, n): the part below the diagonal by strips, the rest by symmetry.

    Cost: n²m multiply-adds and half of them again on the strips' diagonals; a matrix of n².
    """
    n = len(rows)
    if n <= STRIP:
        return rows @ rows.T
    out = rows.new_empty(n, n)
    for start in range(0, n, STRIP):
        strip = slice(start, start + STRIP)
        torch.mm(rows[strip], rows[: start + STRIP].T, out=out[strip, : start + STRIP])
        out[:start, strip] = out[strip, :start].T
    return out
