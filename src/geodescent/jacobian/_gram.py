"""Gram matrices of blocks of rows, tile by tile: layer after layer while a tile is near the cores (THEORY 5.1)."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent.jacobian._columns import ROWS_LIMIT, Columns, DenseColumns, Workspace, same_columns

TILE = 256  # rows of one tile of G: what lies above the diagonal is computed in tiles that cross it alone
ASPECT = 4  # columns of a tile to its rows: long products are faster, and two buffers of 2 MB stay near the cores
ROWS_MARGIN = 2.0  # forming rows may cost this much more flops: contraction is bound by memory traffic (THEORY 5.1)

Pair = tuple[Columns, Columns]  # of two blocks, for the same entries of θ


@dataclass(frozen=True)
class Block:
    """The rows of one named block: N samples × Q outputs, and the records that make up their columns."""

    records: tuple[Columns, ...]
    n_samples: int
    n_outputs: int

    @property
    def n_rows(self) -> int:
        return self.n_samples * self.n_outputs

    def samples(self, chunk: slice) -> "Block":
        n = len(range(*chunk.indices(self.n_samples)))
        return Block(tuple(r.samples(chunk) for r in self.records), n, self.n_outputs)

    def settled(self) -> "Block":
        """The same with all cotangents made."""
        return Block(tuple(r.settled() for r in self.records), self.n_samples, self.n_outputs)


def fill(block: Block, other: Block, out: Tensor, *, lower: bool) -> None:
    """Writes `D D'ᵀ` of two blocks to `out`; with `lower`, only the tiles on and below the diagonal."""
    work, fresh = Workspace(out.dtype, out.device), True
    for group in _groups(block, other):
        _tiles(group, block, other, out, work, lower=lower, fresh=fresh)
        fresh = False
    if fresh:
        out.zero_()


def _groups(block: Block, other: Block) -> Iterator[list[Pair]]:
    """The pairs of records that are added to one tile after the other: as many rows as may be formed at once."""
    to_form, by_positions = list[Pair](), defaultdict[tuple[int, int], list[Pair]](list)
    for pair in _pairs(block, other):
        contracted = by_positions[_positions(pair[0]), _positions(pair[1])]
        (to_form if by_rows(*pair, other.n_rows) else contracted).append(pair)
    group, held = by_positions.pop((1, 1), []), 0
    yield from filter(None, by_positions.values())
    for rows, rows2 in (formed for pair in to_form for formed in _formed(*pair)):
        if held + rows.values.numel() > ROWS_LIMIT and held:
            yield group
            group, held = [], 0
        group, held = [*group, (rows, rows2)], held + rows.values.numel()
    if group:
        yield group


def _formed(record: Columns, other: Columns) -> Iterator[tuple[DenseColumns, DenseColumns]]:
    """Both records as rows, in pieces of the same columns."""
    pieces: list[Columns] = [*record.parts(ROWS_LIMIT)]
    same = record is other
    for piece, piece2 in zip(pieces, pieces if same else _cut_alike(other, pieces), strict=True):
        rows = piece.rows()
        yield rows, rows if same else piece2.rows()


def _cut_alike(record: Columns, pieces: list[Columns]) -> list[Columns]:
    """The record cut at the same columns as the pieces of its partner."""
    if isinstance(record, DenseColumns):
        return [record]
    cut, start = list[Columns](), 0
    for piece in pieces:
        height = piece.index.shape[0]
        cut.append(record.columns(slice(start, start + height)))
        start += height
    return cut


def _tiles(
    pairs: list[Pair], block: Block, other: Block, out: Tensor, work: Workspace, *, lower: bool, fresh: bool
) -> None:
    q, q2 = block.n_outputs, other.n_outputs
    p, p2 = _positions(pairs[0][0]), _positions(pairs[0][1])
    for rows in chunks(block.n_samples, TILE // (q * p)):
        left = [a.samples(rows) for a, _ in pairs]
        for columns in chunks(rows.stop if lower else other.n_samples, ASPECT * TILE // (q2 * p2)):
            tile = out[rows.start * q : rows.stop * q, columns.start * q2 : columns.stop * q2]
            for k, (a, (_, b)) in enumerate(zip(left, pairs, strict=True)):
                a.add_block(b.samples(columns), tile, work, fresh=fresh and k == 0)  # type: ignore[arg-type]


def chunks(n: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _pairs(block: Block, other: Block) -> list[Pair]:
    """The records of two blocks that belong to the same parameters."""
    if block.records is other.records:
        return [(r, r) for r in block.records]
    if len(block.records) != len(other.records) or not all(
        type(r) is type(s) and same_columns(r, s) for r, s in zip(block.records, other.records, strict=True)
    ):
        raise JacobianError(
            "a cross block of G needs two Jacobians of the same map: the two hold different records "
            f"({[r.label for r in block.records]} and {[r.label for r in other.records]})."
        )
    return list(zip(block.records, other.records, strict=True))


def by_rows(record: Columns, other: Columns, other_rows: int) -> bool:
    """Whether forming the rows is the cheaper way to this part of G."""
    if (
        isinstance(record, DenseColumns)
        or isinstance(other, DenseColumns)
        or record.scale is not None
        or other.scale is not None
    ):
        return True
    return rows_flops(record, other_rows) <= ROWS_MARGIN * record.flops(other_rows)


def rows_flops(record: Columns, other_rows: int) -> int:
    if isinstance(record, DenseColumns):
        return record.flops(other_rows)
    n, q, p, _ = record.cotangents.shape
    return 2 * (2 * n * q * p + n * q * other_rows) * record.width


def _positions(record: Columns) -> int:
    return 1 if isinstance(record, DenseColumns) else record.inputs.positions


def mirrored(lower: Tensor) -> Tensor:
    """The symmetric matrix whose lower triangle is given, by tiles in place."""
    size = min(TILE, len(lower))
    below = torch.ones(size, size, dtype=torch.bool, device=lower.device).tril_()
    for rows in chunks(len(lower), TILE):
        diagonal = lower[rows, rows]
        height = len(diagonal)
        diagonal.copy_(torch.where(below[:height, :height], diagonal, diagonal.T))
        for columns in chunks(rows.start, TILE):
            lower[columns, rows].copy_(lower[rows, columns].T)
    return lower
