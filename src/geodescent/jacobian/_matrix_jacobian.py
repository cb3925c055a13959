"""A Jacobian from a matrix, or from the two functions that multiply with it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.jacobian._block import Block
from geodescent.jacobian._block_jacobian import BlockJacobian
from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._product_columns import Product, ProductColumns

LABEL = "a matrix"


@dataclass(frozen=True, init=False)
class MatrixJacobian(BlockJacobian):
    """`D` from a tensor (m, K), or from the pair of functions `v ↦ Dv` and `u ↦ Dᵀu`.

    The `linearise` of a user's own output map returns one:

        return outputs, gd.MatrixJacobian(D)
        return outputs, gd.MatrixJacobian((mv, rmv), shape=(m, K))

    Args:
        matrix: D, (m, K), float32 or float64; or the pair (mv, rmv), from (K,) to (m,) and back.
        shape: (m, K); needed with a pair, checked with a tensor.
        dtype: of the pair's products; float64 by default.
        device: of the pair's products; the CPU by default.

    Raises: InputError, for what is neither, or has another shape.
    Cost: of a pair, a product is one call. Gram and normal matrices form D first, by min(m, K) calls, once.
    """

    def __init__(
        self,
        matrix: Tensor | tuple[Product, Product],
        *,
        shape: tuple[int, int] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        columns: Columns
        if isinstance(matrix, Tensor):
            columns, (m, k) = _dense(matrix, shape), matrix.shape
            dtype, device = matrix.dtype, matrix.device
        else:
            m, k = _checked_shape(matrix, shape)
            ones = torch.ones(m + k, dtype=dtype, device=device)
            device = ones.device  # with its index, as every tensor of the map has it
            columns = ProductColumns(matrix[0], matrix[1], ones[:m], ones[m:], dtype, LABEL)
        BlockJacobian.__init__(self, (Block((columns,), m, 1),), k, dtype, torch.device(device))


def _dense(matrix: Tensor, shape: tuple[int, int] | None) -> DenseColumns:
    if matrix.dim() != 2 or matrix.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"D has shape {tuple(matrix.shape)} and dtype {matrix.dtype}: (m, K) in float32 or float64 is needed."
        )
    if shape is not None and tuple(shape) != tuple(matrix.shape):
        raise InputError(f"D has shape {tuple(matrix.shape)} and shape = {tuple(shape)} was given: leave shape out.")
    index = torch.arange(matrix.shape[1], device=matrix.device)
    return DenseColumns(matrix.detach()[:, None], index, LABEL)


def _checked_shape(pair: object, shape: tuple[int, int] | None) -> tuple[int, int]:
    if not (isinstance(pair, tuple) and len(pair) == 2 and all(map(callable, pair))):
        found = type(pair).__name__
        if isinstance(pair, tuple):
            found = f"a tuple of {len(pair)} ({', '.join(type(part).__name__ for part in pair)})"
        raise InputError(f"MatrixJacobian takes D as a tensor, or a pair of functions (mv, rmv), not {found}.")
    if shape is None or len(shape) != 2 or min(shape) < 1:
        raise InputError(f"shape = {shape}: a pair of functions needs shape=(m, K), its rows and columns.")
    return shape
