"""The Jacobian `D = ∂x/∂θ`, m × K, as an object with products and Gram matrices: D itself is formed only on request.

`Jacobian` is the protocol. `BlockJacobian` holds blocks of rows × pieces of columns, where a linear layer is kept as
its inputs and cotangents; `MatrixJacobian` is the same from a matrix, or from two functions.
"""

from geodescent.jacobian._block import CALL_FLOPS, Block
from geodescent.jacobian._block_jacobian import BlockJacobian, stacked
from geodescent.jacobian._cheaper_columns import expecting, goes_by_passes, is_recorded, random_sums
from geodescent.jacobian._column_squares import column_squares
from geodescent.jacobian._columns import Columns, DenseColumns, same_columns
from geodescent.jacobian._cotangents import ChainedCotangents, Cotangents, DenseCotangents
from geodescent.jacobian._gram import chunks
from geodescent.jacobian._jacobian import Jacobian
from geodescent.jacobian._layer_inputs import DenseInputs, IndexInputs, LayerInputs
from geodescent.jacobian._matrix_jacobian import MatrixJacobian
from geodescent.jacobian._merged import merged
from geodescent.jacobian._outer_columns import OuterColumns
from geodescent.jacobian._product_columns import ProductColumns
from geodescent.jacobian._recorded_block import AnyBlock, Recorded, RecordedBlock, bytes_a_sample
from geodescent.jacobian._room import COPIES_OF_D, bytes_of, require_room
from geodescent.jacobian._spanned import Spanned
from geodescent.jacobian._square import is_by_rows, order_of, square_of
from geodescent.jacobian._workspace import Workspace

__all__ = [
    "CALL_FLOPS",
    "COPIES_OF_D",
    "AnyBlock",
    "Block",
    "BlockJacobian",
    "ChainedCotangents",
    "Columns",
    "Cotangents",
    "DenseColumns",
    "DenseCotangents",
    "DenseInputs",
    "IndexInputs",
    "Jacobian",
    "LayerInputs",
    "MatrixJacobian",
    "OuterColumns",
    "ProductColumns",
    "Recorded",
    "RecordedBlock",
    "Spanned",
    "Workspace",
    "bytes_a_sample",
    "bytes_of",
    "chunks",
    "column_squares",
    "expecting",
    "goes_by_passes",
    "is_by_rows",
    "is_recorded",
    "merged",
    "order_of",
    "random_sums",
    "require_room",
    "same_columns",
    "square_of",
    "stacked",
]
