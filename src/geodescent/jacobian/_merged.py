"""All uses of the same parameters as one piece of the columns of D."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from geodescent.jacobian._columns import Columns, DenseColumns, same_columns
from geodescent.jacobian._cotangents import DenseCotangents
from geodescent.jacobian._layer_inputs import DenseInputs, IndexInputs, LayerInputs
from geodescent.jacobian._outer_columns import OuterColumns


def merged(pieces: Sequence[Columns]) -> Columns:
    """All uses of the same parameters as one piece: positions put side by side, or rows summed."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    outer = [r for r in pieces if isinstance(r, OuterColumns)]
    alike = len(outer) == len(pieces) and all(
        type(r.inputs) is type(outer[0].inputs) and same_columns(outer[0], r) for r in outer
    )
    return _side_by_side(outer) if alike else _summed(pieces)


def _side_by_side(pieces: list[OuterColumns]) -> OuterColumns:
    first = pieces[0]
    indexed = [r.inputs for r in pieces if isinstance(r.inputs, IndexInputs)]
    inputs: LayerInputs
    if indexed:
        inputs = replace(indexed[0], indices=torch.cat([i.indices for i in indexed], 1))
    else:
        inputs = DenseInputs(torch.cat([r.inputs.dense() for r in pieces], 1))
    cotangents = DenseCotangents(torch.cat([r.cotangents.dense() for r in pieces], 2))
    return replace(first, inputs=inputs, cotangents=cotangents)


def _summed(pieces: Sequence[Columns]) -> DenseColumns:
    rows = [r.rows() for r in pieces]
    index, inverse = torch.unique(torch.cat([r.index for r in rows]), return_inverse=True)
    n, q, _ = rows[0].values.shape
    values = rows[0].values.new_zeros(n, q, len(index))
    values.index_add_(2, inverse, torch.cat([r.values for r in rows], 2))
    return DenseColumns(values, index, " + ".join(dict.fromkeys(r.label for r in rows)))
