"""How each layer enters the Jacobian: by a rule, by autograd, by products."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from geodescent.doors.planning._result import PlannedLayer
from geodescent.jacobian import AnyBlock, Columns, OuterColumns, ProductColumns
from geodescent.outputs import Layered, NetworkMap, OfModule, OutputMap, Traced
from geodescent.problem import Problem

AS_RULE, AS_DERIVATIVES, AS_PRODUCTS, AS_GIVEN = "by rule", "by autograd", "by products", "as given"
"""Ways in: from the inputs and cotangents of a layer; derivatives of single samples; products with D alone; a matrix
that the map returns."""


def layers_of(problem: Problem, blocks: tuple[AnyBlock, ...]) -> tuple[PlannedLayer, ...]:
    """Of all blocks of rows, each layer once.

    Args:
        blocks: of the Jacobian; empty where its rows are never held.
    """
    found, entries = dict[str, PlannedLayer](), defaultdict[str, list[Tensor]](list)
    for block, rows in zip(problem.blocks, blocks, strict=False):
        by_rule = block.map.layers() if isinstance(block.map, Layered) else {}
        kinds = _kinds(block.map)
        for piece in rows.kinds:
            layer = _layer(piece, block.map, by_rule, kinds)
            found.setdefault(layer.name, layer)
            entries[layer.name].append(piece.index.reshape(-1))
    return tuple(
        replace(layer, n_params=int(torch.bincount(torch.cat(entries[name])).count_nonzero()))
        for name, layer in found.items()
    )


def _layer(piece: Columns, outputs: OutputMap, by_rule: Mapping[str, object], kinds: Mapping[str, str]) -> PlannedLayer:
    if isinstance(piece, ProductColumns):
        how = AS_PRODUCTS
    elif isinstance(piece, OuterColumns) or piece.label in by_rule:
        how = AS_RULE
    else:
        how = AS_DERIVATIVES if isinstance(outputs, Traced | NetworkMap) else AS_GIVEN
    positions = piece.inputs.positions if isinstance(piece, OuterColumns) else None
    if not isinstance(outputs, OfModule):
        return PlannedLayer("all parameters", piece.width, how, positions)
    kind = kinds.get(piece.label)
    return PlannedLayer(f"{piece.label} ({kind})" if kind else piece.label, piece.width, how, positions)


def _kinds(outputs: OutputMap) -> dict[str, str]:
    """Name → class of the modules of a map."""
    if not isinstance(outputs, OfModule):
        return {}
    return {name: type(module).__name__ for name, module in outputs.model.named_modules() if name}
