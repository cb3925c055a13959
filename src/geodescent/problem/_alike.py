"""Samples that look alike: the same inputs, or nearly the same."""

from typing import Any

import torch
from torch import Tensor

from geodescent.outputs import Sampled, leaves_of
from geodescent.problem._problem import Problem, RowBlock

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
    if not isinstance(block.map, Sampled):
        return []
    leaves = [_comparable(leaf) for leaf in leaves_of(block.map.inputs)]
    groups = dict[tuple[bytes, ...], list[int]]()
    for i in active(block):
        groups.setdefault(tuple(leaf[i].tobytes() for leaf in leaves), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def conflict_cost(problem: Problem, block: RowBlock, group: list[int]) -> float:
    """`λ Σ_i wᵢ‖yᵢ − ȳ‖²/(2N)` of one group, ȳ the weighted mean: the least cost of samples with equal inputs."""
    targets = block.target[group].double()
    weights = torch.ones(len(group), dtype=torch.float64, device=targets.device)
    if block.weights is not None:
        weights = block.weights[group].double()
    weights = weights * (block.weight * problem.n_samples / block.total_weight)
    first = targets[:1]  # differences first, so that equal targets cost exactly zero
    shifted = targets - first
    mean = (weights[:, None] * shifted).sum(0) / weights.sum()
    return float((weights[:, None] * (shifted - mean).square()).sum()) / (2.0 * problem.n_samples)


def near_groups(unit: Tensor) -> list[list[int]]:
    """Groups of rows that are closer than `NEARLY` in every column.

    Such rows are close on any line: all rows are sorted along a random one, and each is compared with the next few.

    Cost: N·d for the line, N·d for every neighbour that is still close on it.
    """
    line = torch.randn(unit.shape[1], generator=torch.Generator().manual_seed(0), dtype=unit.dtype).to(unit.device)
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
