"""Rows that ask the same of the same: one condition twice, or two that contradict each other."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geodescent.outputs import AtPlaces
from geodescent.problem._alike import active
from geodescent.problem._problem import Problem
from geodescent.problem._row_block import RowBlock

MADE_UP_FIELDS = (
    5  # Made-up fields: rows that agree, up to a factor and a constant, at so many ask the same of any fields.
)
SAME_CONDITION = 1e-8  # Relative: far above the rounding of a row in float64, far below what tells two equations apart.
ROUNDED_ROWS = 1e3  # Times eps, where that is more: the rounding of a row in float32.


@dataclass(frozen=True)
class Row:
    """One row of a block: `r = a h + b` for a quantity h of the fields that others ask for too.

    Attributes:
        block, sample: where it stands.
        factor, shift: a and b.
        weight: what its square is multiplied by in 2N·C.
    """

    block: RowBlock
    sample: int
    factor: float
    shift: float
    weight: float


@dataclass(frozen=True)
class SameCondition:
    """Rows that ask for the same quantity at the same place.

    Attributes:
        rows: two and more.
        cost: the least that they can cost, whatever the fields are: `min_h Σ w (a h + b)² / (2N)`; 0 where they agree.
    """

    rows: tuple[Row, ...]
    cost: float

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks that they stand in, each once."""
        return tuple(dict.fromkeys(row.block.name for row in self.rows))

    @property
    def place(self) -> list[float]:
        """Where they look."""
        first = self.rows[0]
        assert isinstance(first.block.map, AtPlaces)
        return [float(value) for value in first.block.map.locations[first.sample]]


def same_conditions(problem: Problem) -> list[SameCondition]:
    """The groups of rows of one module and one place that agree for any fields, up to a factor and a constant.

    Their blocks' maps are `AtPlaces`; rows of weight zero are left out.

    Cost: some evaluations of the equations at made-up fields, without the network, and a hash of every place.
    """
    by_place = dict[tuple[int, bytes], list[tuple[RowBlock, int, float, NDArray[np.float64]]]]()
    for block in problem.blocks:
        if isinstance(block.map, AtPlaces):
            values = [block.map.at_made_up_values(draw) - block.target for draw in range(MADE_UP_FIELDS)]
            seen, places = torch.stack(values, 2).double().cpu().numpy(), (block.map.locations + 0.0).cpu().numpy()
            weights = problem.sample_weights(block).tolist()
            for i in active(block):
                group = by_place.setdefault((id(block.map.model), places[i].tobytes()), [])
                group += [(block, i, weights[i], row) for row in seen[i]]
    near = max(SAME_CONDITION, ROUNDED_ROWS * torch.finfo(problem.dtype).eps)
    every = [_alike(rows, near) for rows in by_place.values() if len(rows) > 1]
    return [SameCondition(tuple(rows), _least_cost(rows, problem, near)) for groups in every for rows in groups]


def _alike(rows: list[tuple[RowBlock, int, float, NDArray[np.float64]]], near: float) -> list[list[Row]]:
    """Groups of two and more of these rows whose values at made-up fields are parallel, up to constants."""
    groups = list[tuple[NDArray[np.float64], list[Row]]]()
    for block, i, weight, values in rows:
        change = values[1:] - values[0]
        size = float(np.linalg.norm(change))
        if not (0.0 < size < np.inf):
            continue  # it asks nothing of the fields, or is not finite for these
        for direction, group in groups:
            along = float(direction @ change)
            if np.linalg.norm(change - along * direction) <= near * size:
                group.append(Row(block, i, along, float(values[0]), weight))
                break
        else:
            groups.append((change / size, [Row(block, i, size, float(values[0]), weight)]))
    return [group for _, group in groups if len(group) > 1]


def _least_cost(rows: list[Row], problem: Problem, near: float) -> float:
    """`min_h Σ w (a h + b)² / (2N)`; exactly 0 where all of them vanish at one h, to rounding."""
    first = rows[0].shift / rows[0].factor
    off = [row.shift / row.factor - first for row in rows]
    if max(map(abs, off)) <= near * max(1.0, abs(first)):
        return 0.0
    shares = [row.weight * row.factor**2 for row in rows]
    mean = sum(s * o for s, o in zip(shares, off, strict=True)) / sum(shares)
    return sum(s * (o - mean) ** 2 for s, o in zip(shares, off, strict=True)) / (2.0 * problem.n_samples)
