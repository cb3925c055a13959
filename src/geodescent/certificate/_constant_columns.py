"""Columns of the inputs that are one number for all samples."""

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.certificate._layer_watch import UNIT_AXES, LayerWatch, WatchedMap
from geodescent.outputs import leaves_of, n_samples_of, take

SAME_NUMBER = 8.0  # Times eps of a column's largest number: a smaller spread is rounding.


def constant_columns(outputs: WatchedMap, theta: Theta) -> list[tuple[str, list[int], int]]:
    """`(layer, columns, weights on them)` of the input columns that are one number for all samples.

    The columns are those of the layers that are called on the inputs themselves; where there is none, those of tables
    in X.
    """
    if n_samples_of(outputs.inputs) < 2:
        return []
    two = take(outputs.inputs, [0, 1])  # some layers refuse a single sample
    watch = LayerWatch(outputs.model)
    with watch.watching(), torch.no_grad():
        outputs.on(two)(theta)
    modules = dict(outputs.model.named_modules())
    layers, on_inputs = list[tuple[str, list[int], int]](), False
    for layer, inputs in watch.inputs.items():
        leaf = _source(inputs, leaves_of(two), leaves_of(outputs.inputs))
        if leaf is None:
            continue
        on_inputs = True
        axis = UNIT_AXES[type(modules[layer])]
        columns = _constant(leaf.reshape(len(leaf) * len(inputs) // 2, *inputs.shape[1:]).movedim(axis, -1))
        if columns:
            each = _weight(modules[layer]).numel() // inputs.shape[axis]
            layers.append((layer or "the model", columns, each * len(columns)))
    if on_inputs:
        return layers
    tables = [leaf for leaf in leaves_of(outputs.inputs) if leaf.dim() == 2 and leaf.dtype.is_floating_point]
    return [("X", columns, 0) for columns in map(_constant, tables) if columns]


def _weight(module: torch.nn.Module) -> Tensor:
    return module.get_parameter("weight")


def _source(inputs: Tensor, first: list[Tensor], leaves: list[Tensor]) -> Tensor | None:
    """The tensor of X that a layer was called on, unchanged but for its shape; a single vector holds no samples."""
    if inputs.dim() < 2:
        return None
    for few, whole in zip(first, leaves, strict=True):
        same = few.dtype == inputs.dtype and few.numel() == inputs.numel()
        if same and bool(torch.equal(few.reshape(-1), inputs.reshape(-1))):
            return whole.detach()
    return None


def _constant(table: Tensor) -> list[int]:
    """Columns (last axis) that are one number to rounding."""
    rows = table.detach().flatten(0, -2)
    spread = rows.amax(0) - rows.amin(0)
    still = spread <= SAME_NUMBER * torch.finfo(rows.dtype).eps * rows.abs().amax(0)
    return torch.nonzero(still)[:, 0].tolist()
