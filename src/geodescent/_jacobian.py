"""The Jacobian `D = ∂x/∂θ` as blocks of rows × records of layers: products and Gram matrices, never D unless asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._memory import require
from geodescent._records import Record, Rows, same_columns
from geodescent._types import Gram, Outputs, Theta

TILE = 1024  # rows of one tile of G: two buffers of 8 MB, small enough to stay near the cores
ROWS_LIMIT = 2**24  # numbers in rows formed at once, 128 MB in float64
ROWS_MARGIN = 2.0  # forming rows may cost this much more flops: contraction is bound by memory traffic (THEORY 5.1)


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
        out = torch.zeros(m, m2, dtype=self.dtype, device=self.device)
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

        Cost: m·K² multiply-adds, K² numbers and a chunk of rows.
        Raises: MemoryPlanError, where it does not fit.
        """
        k = self.n_params
        size = k * k * self.dtype.itemsize
        require(size, self.device, what=f"the normal matrix of {k} × {k}", instead="Use another lift.")
        out = torch.zeros(k, k, dtype=self.dtype, device=self.device)
        for rows in self.row_chunks():
            out.addmm_(rows.T, rows)
        return out

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
    """Adds `D D'ᵀ` of two blocks to `out`; with `lower`, only the tiles on and below the diagonal."""
    for record, record2 in _pairs(block, other):
        if not _by_rows(record, record2, other.n_rows):
            _tiles(record, record2, block, other, out, lower=lower)
            continue
        same = record is record2
        pieces: list[Record] = [*record.parts(ROWS_LIMIT)]
        pieces2 = pieces if same else _cut_alike(record2, pieces)
        for piece, piece2 in zip(pieces, pieces2, strict=True):
            rows = piece.rows()
            _tiles(rows, rows if same else piece2.rows(), block, other, out, lower=lower)


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


def _tiles(a: Record, b: Record, block: Block, other: Block, out: Tensor, *, lower: bool) -> None:
    q, q2 = block.n_outputs, other.n_outputs
    step = max(1, TILE // (q * _positions(a)))
    step2 = max(1, TILE // (q2 * _positions(b)))
    for start in range(0, block.n_samples, step):
        rows = slice(start, min(start + step, block.n_samples))
        left = a.samples(rows)
        for start2 in range(0, rows.stop if lower else other.n_samples, step2):
            columns = slice(start2, min(start2 + step2, other.n_samples))
            tile = out[rows.start * q : rows.stop * q, columns.start * q2 : columns.stop * q2]
            left.add_block(b.samples(columns), tile)  # type: ignore[arg-type]


def _pairs(block: Block, other: Block) -> list[tuple[Record, Record]]:
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
    n = len(lower)
    for start in range(0, n, TILE):
        rows = slice(start, min(start + TILE, n))
        diagonal = lower[rows, rows]
        diagonal.copy_(torch.tril(diagonal) + torch.tril(diagonal, -1).T)
        lower[: rows.start, rows].copy_(lower[rows, : rows.start].T)
    return lower
