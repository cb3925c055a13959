"""Samples that look alike: the same inputs, or nearly the same."""

from typing import Any

import torch
from torch import Tensor

from geodescent.outputs import ModelFunction, Sampled, SampleMap, leaves_of
from geodescent.problem._problem import Problem
from geodescent.problem._row_block import RowBlock

Place = tuple[RowBlock, int]
"""A sample of a block."""

NEARLY = 1e-6  # Share of the largest value of each feature: two samples closer than this are nearly identical.
NEIGHBOURS = 64  # Samples: each is compared with those less than this many places away on a random line.


def active(block: RowBlock) -> list[int]:
    """Samples of positive weight."""
    n = len(block.target)
    return list(range(n)) if block.weights is None else torch.nonzero(block.weights > 0)[:, 0].tolist()


def identical_groups(block: RowBlock) -> list[list[int]]:
    """Samples of positive weight whose inputs are the same numbers, in groups of two and more.

    Empty for a map without samples.
    """
    groups = _same_inputs([block]) if isinstance(block.map, Sampled) else []
    return [[i for _, i in group] for group in groups if len(group) > 1]


def shared_groups(problem: Problem) -> list[list[Place]]:
    """Groups of samples of two and more blocks with the same inputs, where one module gives the same outputs for them.

    The maps of these blocks are `SampleMap`s of one module with the same parameters and the same choice of outputs.
    """
    found = list[list[Place]]()
    for blocks in blocks_by_module(problem):
        found += [group for group in _same_inputs(blocks) if len({block.name for block, _ in group}) > 1]
    return found


def blocks_by_module(problem: Problem) -> list[list[RowBlock]]:
    """The blocks that share a module, its parameters and the choice of outputs, two and more of each."""
    by_function = dict[ModelFunction, list[RowBlock]]()
    for block in problem.blocks:
        if isinstance(block.map, SampleMap):
            by_function.setdefault(block.map.function, []).append(block)
    return [blocks for blocks in by_function.values() if len(blocks) > 1]


def _same_inputs(blocks: list[RowBlock]) -> list[list[Place]]:
    """The samples of positive weight of all these blocks, in groups of the same inputs."""
    groups = dict[tuple[object, ...], list[Place]]()
    for block in blocks:
        leaves = [_comparable(leaf) for leaf in leaves_of(block.map.inputs)] if isinstance(block.map, Sampled) else []
        kinds = tuple((str(leaf.dtype), leaf.shape[1:]) for leaf in leaves)
        for i in active(block):
            groups.setdefault((kinds, *[leaf[i].tobytes() for leaf in leaves]), []).append((block, i))
    return list(groups.values())


def conflict_cost(problem: Problem, block: RowBlock, group: list[int]) -> float:
    """`λ Σ_i wᵢ‖yᵢ − ȳ‖²/(2N)` of one group, ȳ the weighted mean: the least cost of samples with equal inputs."""
    return _spread(problem, block.target[group], problem.sample_weights(block)[group])


def shared_cost(problem: Problem, group: list[Place]) -> float:
    """The same of samples of several blocks, each with the λ of its own block."""
    targets = torch.stack([block.target[i] for block, i in group])
    weights = {block.name: problem.sample_weights(block) for block, _ in group}
    return _spread(problem, targets, torch.stack([weights[block.name][i] for block, i in group]))


def _spread(problem: Problem, targets: Tensor, weights: Tensor) -> float:
    shifted = targets.double() - targets[:1].double()  # differences first, so that equal targets cost exactly zero
    mean = (weights[:, None] * shifted).sum(0) / weights.sum()
    return float((weights[:, None] * (shifted - mean).square()).sum()) / (2.0 * problem.n_samples)


def nearly_identical_groups(blocks: list[RowBlock], repeated: set[tuple[str, int]]) -> list[list[Place]]:
    """Groups of samples of these blocks of one module that differ by at most `NEARLY` in every feature.

    Args:
        repeated: names of blocks and samples to leave out, because another has the same inputs.
    """
    kept = {block.name: [i for i in active(block) if (block.name, i) not in repeated] for block in blocks}
    places = [(block, i) for block in blocks for i in kept[block.name]]
    sampled = [(block.map, kept[block.name]) for block in blocks if isinstance(block.map, Sampled)]
    leaves = [[leaf.reshape(len(leaf), -1)[rows] for leaf in leaves_of(x.inputs)] for x, rows in sampled]
    if len(places) < 2 or len(leaves) < len(blocks) or not leaves[0]:
        return []
    columns = [_relative(torch.cat(same)) for same in zip(*leaves, strict=True)]
    return [[places[i] for i in group] for group in near_groups(torch.cat(columns, 1))]


def _relative(columns: Tensor) -> Tensor:
    """Each column divided by its largest value; integers as they are."""
    columns = columns.detach()
    if not columns.dtype.is_floating_point:
        return columns.double()
    scale = columns.double().abs().amax(0)
    return columns.double() / torch.where(scale > 0.0, scale, 1.0)


def near_groups(unit: Tensor) -> list[list[int]]:
    """Groups of rows that are closer than `NEARLY` in every column.

    Such rows are close on any line: all rows are sorted along a random one, and each is compared with the next few.

    Cost: N·d for the line, N·d for every neighbour that is still close on it.
    """
    line = torch.randn(unit.shape[1], generator=torch.Generator().manual_seed(0), dtype=unit.dtype, device="cpu").to(
        unit.device
    )
    places, order = (unit @ line).sort()
    reach = NEARLY * float(line.abs().sum())
    label = list(range(len(unit)))
    for step in range(1, min(NEIGHBOURS, len(unit))):
        close = torch.nonzero(places[step:] - places[:-step] <= reach)[:, 0]
        if len(close) == 0:
            break
        left, right = order[close], order[close + step]
        near = (unit[left] - unit[right]).abs().amax(1) <= NEARLY
        for i, j in zip(left[near].tolist(), right[near].tolist(), strict=True):
            label[_root(label, j)] = _root(label, i)
    groups = dict[int, list[int]]()
    for i in range(len(label)):
        groups.setdefault(_root(label, i), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _root(label: list[int], i: int) -> int:
    while label[i] != i:
        i = label[i]
    return i


def _comparable(leaf: Tensor) -> Any:
    """One row for each sample, with −0 replaced by 0."""
    flat = leaf.detach().reshape(len(leaf), -1).cpu()
    return (flat + 0.0 if flat.dtype.is_floating_point else flat).contiguous().numpy()
