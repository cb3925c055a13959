"""The Jacobian `D = ∂x/∂θ` as blocks of rows × records of layers: products and Gram matrices, never D unless asked."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._memory import require
from geodescent._records import Record, Rows, Workspace, same_columns
from geodescent._types import Gram, Outputs, Theta

TILE = 256  # rows of one tile of G: what lies above the diagonal is computed in tiles that cross it alone
ASPECT = 4  # columns of a tile to its rows: long products are faster, and two buffers of 2 MB stay near the cores
ROWS_LIMIT = 2**24  # numbers in rows formed at once, 128 MB in float64
ROWS_MARGIN = 2.0  # forming rows may cost this much more flops: contraction is bound by memory traffic (THEORY 5.1)

Pair = tuple[Record, Record]  # of two blocks, for the same entries of θ


@dataclass(frozen=True)
class Block:
    """The rows of one named block: N samples × Q outputs, and the records that make up their columns."""

    records: tuple[Record, ...]
    n_samples: int
    n_outputs: int

    @property
    def n_rows(self) -> int:
        return self.n_samples * self.n_outputs

    def samples(self, chunk: slice) -> "Block":
        n = len(range(*chunk.indices(self.n_samples)))
        return Block(tuple(r.samples(chunk) for r in self.records), n, self.n_outputs)


@dataclass(frozen=True)
class Jacobian:
    """`D`, m × K, as a value: blocks of rows, each the sum of its records.

    Attributes:
        blocks: one per named block of rows, stacked in this order.
        n_params: K.
        dtype, device: of everything it returns.
    """

    blocks: tuple[Block, ...]
    n_params: int
    dtype: torch.dtype
    device: torch.device

    @property
    def n_residuals(self) -> int:
        """m."""
        return sum(block.n_rows for block in self.blocks)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_residuals, self.n_params

    @property
    def records(self) -> list[Record]:
        return [record for block in self.blocks for record in block.records]

    def mv(self, v: Theta) -> Outputs:
        """`D v`, (K,) → (m,)."""
        products = []
        for block in self.blocks:
            out = v.new_zeros(block.n_samples, block.n_outputs)
            for record in block.records:
                out += record.mv(v)
            products.append(out.reshape(-1))
        return torch.cat(products)

    def rmv(self, u: Outputs) -> Theta:
        """`Dᵀ u`, (m,) or (N, Q) → (K,)."""
        out = u.new_zeros(self.n_params)
        for block, rows in zip(self.blocks, self._split(u.reshape(-1)), strict=True):
            for record in block.records:
                record.rmv(rows.reshape(block.n_samples, block.n_outputs), out)
        return out

    def gram(self, other: "Jacobian | None" = None) -> Gram:
        """`G = D Dᵀ` (m, m), or the block `D D'ᵀ` (m, m') against another set of samples; sample-major rows.

        Layer by layer from inputs and cotangents (THEORY 5.1), by tiles; the square one computes its lower triangle.

        Cost: for a linear layer 2(N²d_in + m²d_out) flops instead of 2m²·d_in·d_out; m² numbers and two tiles.
        Raises: MemoryPlanError, where G does not fit.
        """
        right = self if other is None else other
        m, m2 = self.n_residuals, right.n_residuals
        size = self.dtype.itemsize
        require(m * m2 * size, self.device, what=f"the Gram matrix of {m} × {m2} rows", instead="Use the Krylov lift.")
        out = torch.empty(m, m2, dtype=self.dtype, device=self.device)
        for i, (block, rows) in enumerate(zip(self.blocks, self._offsets(), strict=True)):
            for j, (block2, rows2) in enumerate(zip(right.blocks, right._offsets(), strict=True)):
                if other is not None or j <= i:
                    _fill(block, block2, out[rows, rows2], lower=other is None and i == j)
        return out if other is not None else _mirrored(out)

    def mean_gram(self) -> Gram:
        """`K̄ = (1/Q) Σ_q G_qq` (N, N): the average over outputs (THEORY 5.3), for one block of rows."""
        (block,) = self.blocks
        averaged = Block(tuple(r.averaged() for r in block.records), block.n_samples, 1)
        return Jacobian((averaged,), self.n_params, self.dtype, self.device).gram()

    def normal(self) -> Tensor:
        """`DᵀD` (K, K), accumulated over chunks of samples.

        Cost: m·K²/2 multiply-adds, by the lower triangle; K² numbers and a chunk of rows.
        Raises: MemoryPlanError, where it does not fit.
        """
        k = self.n_params
        size = k * k * self.dtype.itemsize
        require(size, self.device, what=f"the normal matrix of {k} × {k}", instead="Use another lift.")
        out = torch.zeros(k, k, dtype=self.dtype, device=self.device)
        for rows in self.row_chunks():
            for strip in _chunks(k, TILE):
                out[strip, : strip.stop].addmm_(rows[:, strip].T, rows[:, : strip.stop])
        return _mirrored(out)

    def dense(self) -> Tensor:
        """`D` itself, (m, K). Raises MemoryPlanError where it does not fit."""
        m, k = self.shape
        require(m * k * self.dtype.itemsize, self.device, what=f"D of {m} × {k}", instead="Use mv, rmv or gram.")
        out = torch.empty(m, k, dtype=self.dtype, device=self.device)
        start = 0
        for rows in self.row_chunks():
            out[start : start + len(rows)] = rows
            start += len(rows)
        return out

    def row_chunks(self) -> Iterator[Tensor]:
        """D from top to bottom in chunks of whole samples."""
        for block in self.blocks:
            step = max(1, ROWS_LIMIT // max(1, block.n_outputs * self.n_params))
            for start in range(0, block.n_samples, step):
                part = block.samples(slice(start, start + step))
                rows = torch.zeros(part.n_rows, self.n_params, dtype=self.dtype, device=self.device)
                for record in part.records:
                    record.add_dense(rows)
                yield rows

    def row_squares(self) -> Outputs:
        """The diagonal of G, (m,)."""
        diagonals = []
        for block in self.blocks:
            out = torch.zeros(block.n_samples, block.n_outputs, dtype=self.dtype, device=self.device)
            for record in block.records:
                for part in record.parts(ROWS_LIMIT):
                    out += part.row_squares()
            diagonals.append(out.reshape(-1))
        return torch.cat(diagonals)

    def scaled(self, *, rows: Outputs | None = None, columns: Theta | None = None) -> "Jacobian":
        """`diag(rows) D diag(columns)`: how a lift sees the two norms; None for ones."""
        if rows is None and columns is None:
            return self
        parts = [None] * len(self.blocks) if rows is None else self._split(rows.reshape(-1))
        blocks = []
        for block, part in zip(self.blocks, parts, strict=True):
            scale = None if part is None else part.reshape(block.n_samples, block.n_outputs)
            records = tuple(r.scaled(scale, columns) for r in block.records)
            blocks.append(Block(records, block.n_samples, block.n_outputs))
        return Jacobian(tuple(blocks), self.n_params, self.dtype, self.device)

    def to(self, dtype: torch.dtype) -> "Jacobian":
        """The same Jacobian with everything after the capture done in another precision."""
        if dtype == self.dtype:
            return self
        blocks = [Block(tuple(r.to(dtype) for r in b.records), b.n_samples, b.n_outputs) for b in self.blocks]
        return Jacobian(tuple(blocks), self.n_params, dtype, self.device)

    def routes(self) -> list[dict[str, object]]:
        """How each record enters G: module, route (`contracted` or `rows`), entries of θ, flops of the square G."""
        found = list[dict[str, object]]()
        for block in self.blocks:
            for record in block.records:
                by_rows = _by_rows(record, record, block.n_rows)
                flops = _rows_flops(record, block.n_rows) if by_rows else record.flops(block.n_rows)
                route = "rows" if by_rows else "contracted"
                found.append({"module": record.label, "route": route, "params": record.width, "flops": flops})
        return found

    def _offsets(self) -> list[slice]:
        ends = [0]
        for block in self.blocks:
            ends.append(ends[-1] + block.n_rows)
        return [slice(a, b) for a, b in pairwise(ends)]

    def _split(self, rows: Tensor) -> list[Tensor]:
        return list(rows.split([block.n_rows for block in self.blocks]))


def stacked(jacobians: list[Jacobian]) -> Jacobian:
    """Several Jacobians over the same θ, one under the other."""
    first = jacobians[0]
    blocks = tuple(block for jacobian in jacobians for block in jacobian.blocks)
    return Jacobian(blocks, first.n_params, first.dtype, first.device)


def _fill(block: Block, other: Block, out: Tensor, *, lower: bool) -> None:
    """Writes `D D'ᵀ` of two blocks to `out`; with `lower`, only the tiles on and below the diagonal."""
    work, fresh = Workspace(out.dtype, out.device), True
    for group in _groups(block, other):
        _tiles(group, block, other, out, work, lower=lower, fresh=fresh)
        fresh = False
    if fresh:
        out.zero_()


def _groups(block: Block, other: Block) -> Iterator[list[Pair]]:
    """The pairs of records that are added to one tile after the other: as many rows as may be formed at once."""
    by_rows, by_positions = list[Pair](), defaultdict[tuple[int, int], list[Pair]](list)
    for pair in _pairs(block, other):
        contracted = by_positions[_positions(pair[0]), _positions(pair[1])]
        (by_rows if _by_rows(*pair, other.n_rows) else contracted).append(pair)
    group, held = by_positions.pop((1, 1), []), 0
    yield from filter(None, by_positions.values())
    for rows, rows2 in (formed for pair in by_rows for formed in _formed(*pair)):
        if held + rows.values.numel() > ROWS_LIMIT and held:
            yield group
            group, held = [], 0
        group, held = [*group, (rows, rows2)], held + rows.values.numel()
    if group:
        yield group


def _formed(record: Record, other: Record) -> Iterator[tuple[Rows, Rows]]:
    """Both records as rows, in pieces of the same columns."""
    pieces: list[Record] = [*record.parts(ROWS_LIMIT)]
    same = record is other
    for piece, piece2 in zip(pieces, pieces if same else _cut_alike(other, pieces), strict=True):
        rows = piece.rows()
        yield rows, rows if same else piece2.rows()


def _cut_alike(record: Record, pieces: list[Record]) -> list[Record]:
    """The record cut at the same columns as the pieces of its partner."""
    if isinstance(record, Rows):
        return [record]
    cut, start = list[Record](), 0
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
    for rows in _chunks(block.n_samples, TILE // (q * p)):
        left = [a.samples(rows) for a, _ in pairs]
        for columns in _chunks(rows.stop if lower else other.n_samples, ASPECT * TILE // (q2 * p2)):
            tile = out[rows.start * q : rows.stop * q, columns.start * q2 : columns.stop * q2]
            for k, (a, (_, b)) in enumerate(zip(left, pairs, strict=True)):
                a.add_block(b.samples(columns), tile, work, fresh=fresh and k == 0)  # type: ignore[arg-type]


def _chunks(n: int, step: int) -> Iterator[slice]:
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


def _by_rows(record: Record, other: Record, other_rows: int) -> bool:
    """Whether forming the rows is the cheaper way to this part of G."""
    if isinstance(record, Rows) or isinstance(other, Rows) or record.scale is not None or other.scale is not None:
        return True
    return _rows_flops(record, other_rows) <= ROWS_MARGIN * record.flops(other_rows)


def _rows_flops(record: Record, other_rows: int) -> int:
    if isinstance(record, Rows):
        return record.flops(other_rows)
    n, q, p, _ = record.cotangents.shape
    return 2 * (2 * n * q * p + n * q * other_rows) * record.width


def _positions(record: Record) -> int:
    return 1 if isinstance(record, Rows) else record.inputs.positions


def _mirrored(lower: Tensor) -> Tensor:
    """The symmetric matrix whose lower triangle is given, by tiles in place."""
    size = min(TILE, len(lower))
    below = torch.ones(size, size, dtype=torch.bool, device=lower.device).tril_()
    for rows in _chunks(len(lower), TILE):
        diagonal = lower[rows, rows]
        height = len(diagonal)
        diagonal.copy_(torch.where(below[:height, :height], diagonal, diagonal.T))
        for columns in _chunks(rows.start, TILE):
            lower[columns, rows].copy_(lower[rows, columns].T)
    return lower
