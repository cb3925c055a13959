"""The square matrix of D that a spectrum is taken from: DDᵀ or DᵀD."""

from torch import Tensor

from geodescent._errors import MemoryPlanError
from geodescent.jacobian._jacobian import Jacobian


def is_by_rows(jacobian: Jacobian) -> bool:
    """Whether the matrix is DDᵀ: where m ≤ K, and D is not streamed, which has DᵀD alone."""
    m, k = jacobian.shape
    return m <= k and bool(jacobian.blocks)


def order_of(jacobian: Jacobian) -> int:
    """The order of the matrix, m or K."""
    m, k = jacobian.shape
    return m if is_by_rows(jacobian) else k


def square_of(jacobian: Jacobian) -> Tensor | None:
    """DDᵀ or DᵀD; None where it does not fit into memory, with the rows of D that have to be formed for it."""
    try:
        return jacobian.gram() if is_by_rows(jacobian) else jacobian.normal()
    except MemoryPlanError:
        return None
