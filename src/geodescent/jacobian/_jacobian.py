"""The Jacobian `D = ∂x/∂θ` as blocks of rows × records of layers: products and Gram matrices, never D unless asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from geodescent._budget import require
from geodescent._types import Gram, Outputs, Theta
from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._gram import Block, by_rows, fill, mirrored, rows_flops
from geodescent.jacobian._normal import add_normal, row_chunks

COMPACT = 2**22  # numbers of D, 32 MB in float64: what is as soon read as made anew from the records
CALLS = 2e6  # flops in the time that the calls of one record's products take, beside their own


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
    def records(self) -> list[Columns]:
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

    def product_flops(self) -> float:
        """Of one product with D and one with Dᵀ, with what the calls of small operations cost beside them."""
        return sum(
            CALLS + 4.0 * block.n_samples * (r.width + block.n_outputs * r.index.shape[0])
            for block in self.blocks
            for r in block.records
        )

    def gram(self, other: "Jacobian | None" = None) -> Gram:
        """`G = D Dᵀ` (m, m), or the block `D D'ᵀ` (m, m') against another set of samples; sample-major rows.

        Layer by layer from inputs and cotangents (THEORY 5.1), by tiles; the square one computes its lower triangle.

        Cost: for a linear layer 2(N²d_in + m²d_out) flops instead of 2m²·d_in·d_out; m² numbers, two tiles, and the
        m·d_out of cotangents that are kept as a chain.
        Raises: MemoryPlanError, where G does not fit.
        """
        m, m2 = self.n_residuals, (self if other is None else other).n_residuals
        need = (m * m2 + self._unmade() + (0 if other is None else other._unmade())) * self.dtype.itemsize
        require(need, self.device, what=f"the Gram matrix of {m} × {m2} rows", instead="Use the Krylov lift.")
        out = torch.empty(m, m2, dtype=self.dtype, device=self.device)
        left = self._settled()
        right = left if other is None else other._settled()
        for i, (block, rows) in enumerate(zip(left.blocks, left._offsets(), strict=True)):
            for j, (block2, rows2) in enumerate(zip(right.blocks, right._offsets(), strict=True)):
                if other is not None or j <= i:
                    fill(block, block2, out[rows, rows2], lower=other is None and i == j)
        return out if other is not None else mirrored(out)

    def mean_gram(self) -> Gram:
        """`K̄ = (1/Q) Σ_q G_qq` (N, N): the average over outputs (THEORY 5.3), for one block of rows."""
        (block,) = self.blocks
        averaged = Block(tuple(r.averaged() for r in block.records), block.n_samples, 1)
        return Jacobian((averaged,), self.n_params, self.dtype, self.device).gram()

    def coupling(self) -> Tensor:
        """`Σ_i D_i D_iᵀ` (Q, Q), for one block of rows: how much the outputs of a sample move together."""
        (block,) = self.blocks
        out = torch.zeros(block.n_outputs, block.n_outputs, dtype=self.dtype, device=self.device)
        for record in block.records:
            out += record.coupling()
        return out

    def mixed(self, matrix: Tensor) -> "Jacobian":
        """The Jacobian of other outputs, `Σ_q matrix[q, r] x_q`, for one block of rows.

        The matrix is (Q, R), or one a sample, (N, Q, R): a row metric of Q × Q blocks.
        """
        (block,) = self.blocks
        records = tuple(r.mixed(matrix) for r in block.records)
        mixed = Block(records, block.n_samples, matrix.shape[-1])
        return Jacobian((mixed,), self.n_params, self.dtype, self.device)

    def normal(self) -> Tensor:
        """`DᵀD` (K, K), accumulated over chunks of samples.

        Cost: at most about N·K² multiply-adds where layers have one position (`_normal`); K² numbers and a chunk.
        Raises: MemoryPlanError, where it does not fit.
        """
        k = self.n_params
        size = k * k * self.dtype.itemsize
        require(size, self.device, what=f"the normal matrix of {k} × {k}", instead="Use another lift.")
        out = torch.zeros(k, k, dtype=self.dtype, device=self.device)
        for block in self.blocks:
            add_normal(block, out)
        return mirrored(out)

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

    def compact(self) -> "Jacobian":
        """The same with its rows formed, where few parameters and one output make them the cheaper way to multiply."""
        m, k = self.shape
        if len(self.blocks) > 1 or self.blocks[0].n_outputs > 1 or m * k > COMPACT:
            return self
        where = torch.arange(k, device=self.device)
        rows = DenseColumns(self.dense()[:, None], where, " + ".join(r.label for r in self.records))
        return Jacobian((Block((rows,), m, 1),), k, self.dtype, self.device)

    def row_chunks(self) -> Iterator[Tensor]:
        """D from top to bottom in chunks of whole samples."""
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        for block in self.blocks:
            yield from row_chunks(block, self.n_params, like=like)

    def row_squares(self) -> Outputs:
        """The diagonal of G, (m,)."""
        diagonals = []
        for block in self.blocks:
            out = torch.zeros(block.n_samples, block.n_outputs, dtype=self.dtype, device=self.device)
            for record in block.records:
                out += record.row_squares()
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
                formed = by_rows(record, record, block.n_rows)
                flops = rows_flops(record, block.n_rows) if formed else record.flops(block.n_rows)
                route = "rows" if formed else "contracted"
                found.append({"module": record.label, "route": route, "params": record.width, "flops": flops})
        return found

    def _unmade(self) -> int:
        """Numbers that `_settled` makes."""
        return sum(record.unmade for record in self.records)

    def _settled(self) -> "Jacobian":
        return Jacobian(tuple(block.settled() for block in self.blocks), self.n_params, self.dtype, self.device)

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
