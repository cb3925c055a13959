"""Jacobian."""

from geodescent.jacobian._columns import ROWS_LIMIT, Columns, DenseColumns, OuterColumns, Workspace, merged
from geodescent.jacobian._cotangents import ChainedCotangents, Cotangents, DenseCotangents
from geodescent.jacobian._gram import Block, rows_flops
from geodescent.jacobian._jacobian import Jacobian, stacked
from geodescent.jacobian._layer_inputs import DenseInputs, IndexInputs

__all__ = [
    "ROWS_LIMIT",
    "Block",
    "ChainedCotangents",
    "Columns",
    "Cotangents",
    "DenseColumns",
    "DenseCotangents",
    "DenseInputs",
    "IndexInputs",
    "Jacobian",
    "OuterColumns",
    "Workspace",
    "merged",
    "rows_flops",
    "stacked",
]
