"""Gram matrices of blocks of rows, tile by tile: all pieces of the columns are added while a tile is in the cache."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from geodescent._budget import budget
from geodescent._deadline import require_time
from geodescent.jacobian._block import Block, rows_flops
from geodescent.jacobian._columns import Columns, DenseColumns, same_columns
from geodescent.jacobian._outer_columns import OuterColumns
from geodescent.jacobian._recorded_block import AnyBlock
from geodescent.jacobian._workspace import Workspace

ASPECT = 4  # Columns of a tile over its rows: wide products are faster, and two buffers of 2 MB fit the cache.
ROWS_MARGIN = 2.0  # Times the flops of contraction: rows may cost this, because contraction is bound by memory traffic.

Pair = tuple[Columns, Columns]  # of two blocks, for the same entries of θ


def fill(block: Block, other: Block, out: Tensor, n_params: int, *, lower: bool) -> None:
    """Writes `D D'ᵀ` of two blocks to `out`; with `lower`, only the tiles on and below the diagonal.

    Two blocks of the same map have the same pieces, and each pair takes the cheaper route, contracted or formed. Pieces
    that have no counterpart in the other block are formed as rows over all of θ.
    """
    work, fresh = Workspace(out.dtype, out.device), True
    pairs, rest, other_rest = _matched(block, other)
    if rest or other_rest:
        pairs.append((_over_theta(block, rest, n_params, out), _over_theta(other, other_rest, n_params, out)))
    for group in _groups(pairs, block.n_rows, other.n_rows):
        _tiles(group, block, other, out, work, lower=lower, fresh=fresh)
        group.clear()  # the rows of the next one need the memory
        fresh = False
    if fresh:
        out.zero_()


def _matched(block: AnyBlock, other: AnyBlock) -> tuple[list[Pair], list[Columns], list[Columns]]:
    """Pairs of pieces for the same parameters if both blocks have the same pieces; else all pieces, unpaired."""
    if block.columns is other.columns:
        return [(c, c) for c in block.columns], [], []
    if len(block.columns) == len(other.columns) and all(map(same_columns, block.columns, other.columns)):
        return list(zip(block.columns, other.columns, strict=True)), [], []
    return [], list(block.columns), list(other.columns)


def formed_numbers(block: AnyBlock, other: AnyBlock, n_params: int) -> int:
    """How many numbers `fill` holds at most: rows over all of θ of blocks with other pieces, and formed rows."""
    pairs, rest, other_rest = _matched(block, other)
    over_theta = n_params * (block.n_rows * bool(rest) + other.n_rows * bool(other_rest))
    return over_theta + _most_formed(pairs, block, other)


def _most_formed(pairs: Sequence[Pair], block: AnyBlock, other: AnyBlock) -> int:
    """How many numbers the rows of one group hold; those of each piece are formed beside what they are made of."""
    rows = block.n_rows + (0 if block.columns is other.columns else other.n_rows)
    widths = [a.width for a, b in pairs if isinstance(a, OuterColumns) and by_rows(a, b, other.n_rows)]
    if not widths:
        return 0
    limit = budget().rows_numbers * rows // max(1, block.n_rows)
    return min(limit, rows * sum(widths)) + min(limit, rows * max(widths))


def _over_theta(block: Block, pieces: Sequence[Columns], n_params: int, like: Tensor) -> DenseColumns:
    """The pieces as rows over all of θ."""
    rows = like.new_zeros(block.n_rows, n_params)
    for piece in pieces:
        piece.add_dense(rows)
    values = rows.view(block.n_samples, block.n_outputs, n_params)
    return DenseColumns(values, torch.arange(n_params, device=like.device), "all parameters")


def _groups(pairs: Sequence[Pair], n_rows: int, other_rows: int) -> Iterator[list[Pair]]:
    """The pairs in groups that are added to a tile together, with at most as many rows formed as the budget allows."""
    limit = budget().rows_numbers
    to_form, by_positions = list[Pair](), defaultdict[tuple[int, int], list[Pair]](list)
    for pair in pairs:
        contracted = by_positions[_positions(pair[0]), _positions(pair[1])]
        (to_form if by_rows(*pair, other_rows) else contracted).append(pair)
    group, held = by_positions.pop((1, 1), []), 0
    yield from filter(None, by_positions.values())
    for piece, piece2 in (cut for pair in to_form for cut in _cut(*pair, limit)):
        size = n_rows * piece.width
        if held + size > limit and held:
            yield group
            group, held = [], 0
        rows = piece.rows()
        group, held = [*group, (rows, rows if piece is piece2 else piece2.rows())], held + size
        del rows
    if group:
        yield group


def _cut(columns: Columns, other: Columns, limit: int) -> Iterator[Pair]:
    """Both in pieces of the same columns, whose rows may be formed."""
    pieces = columns.parts(limit)
    return zip(pieces, pieces if columns is other else _cut_alike(other, pieces), strict=True)


def _cut_alike(columns: Columns, pieces: Sequence[Columns]) -> list[Columns]:
    """The columns, cut at the same places as the other block's pieces."""
    if not isinstance(columns, OuterColumns):
        return [columns]
    cut, start = list[Columns](), 0
    for piece in pieces:
        height = piece.index.shape[0]
        cut.append(columns.part(slice(start, start + height)))
        start += height
    return cut


def _tiles(
    pairs: list[Pair], block: Block, other: Block, out: Tensor, work: Workspace, *, lower: bool, fresh: bool
) -> None:
    q, q2, height = block.n_outputs, other.n_outputs, budget().tile_rows
    p, p2 = _positions(pairs[0][0]), _positions(pairs[0][1])
    for rows in chunks(block.n_samples, height // (q * p)):
        require_time("a Gram matrix")
        left = [a.samples(rows) for a, _ in pairs]
        for columns in chunks(rows.stop if lower else other.n_samples, ASPECT * height // (q2 * p2)):
            tile = out[rows.start * q : rows.stop * q, columns.start * q2 : columns.stop * q2]
            for k, (a, (_, b)) in enumerate(zip(left, pairs, strict=True)):
                a.add_block(b.samples(columns), tile, work, fresh=fresh and k == 0)


def chunks(n: int, step: int) -> Iterator[slice]:
    """0 to n in slices of `step`, at least 1."""
    step = max(1, step)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def by_rows(columns: Columns, other: Columns, other_rows: int) -> bool:
    """Whether forming the rows is the cheaper way to this part of G."""
    if not (isinstance(columns, OuterColumns) and isinstance(other, OuterColumns)):
        return True
    if columns.scale is not None or other.scale is not None:
        return True
    return rows_flops(columns, other_rows) <= ROWS_MARGIN * columns.flops(other_rows)


def _positions(columns: Columns) -> int:
    return columns.inputs.positions if isinstance(columns, OuterColumns) else 1


def mirrored(lower: Tensor) -> Tensor:
    """The symmetric matrix whose lower triangle is given, by tiles in place."""
    tile = budget().tile_rows
    size = min(tile, len(lower))
    below = torch.ones(size, size, dtype=torch.bool, device=lower.device).tril_()
    for rows in chunks(len(lower), tile):
        diagonal = lower[rows, rows]
        height = len(diagonal)
        diagonal.copy_(torch.where(below[:height, :height], diagonal, diagonal.T))
        for columns in chunks(rows.start, tile):
            lower[columns, rows].copy_(lower[rows, columns].T)
    return lower
