"""The Jacobian as blocks of rows × pieces of columns: products and Gram matrices, without forming D."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from geodescent._budget import require
from geodescent._errors import JacobianError
from geodescent._types import Gram, Outputs, Theta
from geodescent.jacobian._block import Block, rows_flops
from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._gram import by_rows, fill, formed_numbers, mirrored
from geodescent.jacobian._jacobian import Jacobian
from geodescent.jacobian._normal import add_normal, row_chunks
from geodescent.jacobian._recorded_block import AnyBlock

COMPACT = 2**22  # Entries of D, 32 MB in float64: up to here reading D is as fast as computing it from its pieces.


@dataclass(frozen=True)
class BlockJacobian:
    """`D`, m × K, as blocks of rows; each block is the sum of its pieces of columns.

    Attributes:
        blocks: one per named block of rows, stacked in this order.
        n_params: K.
        dtype, device: of everything it returns.
    """

    blocks: tuple[AnyBlock, ...]
    n_params: int
    dtype: torch.dtype
    device: torch.device

    @property
    def n_residuals(self) -> int:
        """m."""
        return sum(block.n_rows for block in self.blocks)

    @property
    def holds_rows(self) -> bool:
        """Whether rows of D can be formed; False for a large D that is only known by its products."""
        return all(block.is_formable for block in self.blocks)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_residuals, self.n_params

    @property
    def columns(self) -> list[Columns]:
        """All pieces of all blocks."""
        return [piece for block in self.blocks for piece in block.columns]

    def mv(self, v: Theta) -> Outputs:
        """`D v`, (K,) → (m,)."""
        return torch.cat([block.mv(v).reshape(-1) for block in self.blocks])

    def rmv(self, u: Outputs) -> Theta:
        """`Dᵀ u`, (m,) or (N, Q) → (K,)."""
        out = u.new_zeros(self.n_params)
        for block, rows in zip(self.blocks, self._split(u.reshape(-1)), strict=True):
            block.rmv(rows.reshape(block.n_samples, block.n_outputs), out)
        return out

    def product_flops(self) -> float:
        """Flops of one product with D and one with Dᵀ, with the cost of calling small kernels added."""
        return sum(block.product_flops() for block in self.blocks)

    def gram_flops(self) -> float:
        """Flops of the square Gram matrix, each piece by its cheaper route."""
        return 0.5 * sum(block.gram_flops(self.n_residuals) for block in self.blocks)

    def gram(self, other: Jacobian | None = None) -> Gram:
        """`G = D Dᵀ` (m, m), or the block `D D'ᵀ` (m, m') against another set of samples; sample-major rows.

        Computed tile by tile from the inputs and cotangents of the layers; of a square G only the lower triangle.

        Cost: for a linear layer 2(N²d_in + m²d_out) flops instead of 2m²·d_in·d_out; m² numbers, two tiles, and
            m·d_out for cotangents that are kept as a chain. Blocks of different maps are formed as rows, (m + m')K.
        Raises:
            MemoryPlanError: G does not fit.
            JacobianError: the other is over another θ, or does not hold its rows.
        """
        m, m2 = self.n_residuals, (self if other is None else other).n_residuals
        need = (m * m2 + self._unmade(other)) * self.dtype.itemsize
        require(need, self.device, what=f"the Gram matrix of {m} × {m2} rows", instead="Use the Krylov lift.")
        out = torch.empty(m, m2, dtype=self.dtype, device=self.device)
        left = tuple(block.settled() for block in self.blocks)
        right = left if other is None else tuple(block.settled() for block in other.blocks)
        for i, (block, rows) in enumerate(zip(left, _offsets(left), strict=True)):
            for j, (block2, rows2) in enumerate(zip(right, _offsets(right), strict=True)):
                if other is not None or j <= i:
                    lower = other is None and i == j
                    fill(block, block2, out[rows, rows2], self.n_params, lower=lower)
        return out if other is not None else mirrored(out)

    def mean_gram(self) -> Gram:
        """`K̄ = (1/Q) Σ_q G_qq` (N, N): the average over the outputs of a sample.

        N counts the samples of all blocks. Entries between blocks with different numbers of outputs are zero, which
        keeps K̄ positive semidefinite.

        Cost: of one block, a Gram matrix of N rows; of several, Q of them.
        """
        if len(self.blocks) == 1:
            (block,) = self.blocks
            averaged = Block(tuple(c.averaged() for c in block.columns), block.n_samples, 1)
            return BlockJacobian((averaged,), self.n_params, self.dtype, self.device).gram()
        n = sum(block.n_samples for block in self.blocks)
        require(n * n * self.dtype.itemsize, self.device, what=f"K̄ of {n} × {n}", instead="Use the Krylov lift.")
        out = torch.zeros(n, n, dtype=self.dtype, device=self.device)
        home = torch.cat([torch.full((b.n_samples,), b.n_outputs, device=self.device) for b in self.blocks])
        for n_outputs in {block.n_outputs for block in self.blocks}:
            chosen = tuple(block for block in self.blocks if block.n_outputs == n_outputs)
            part = BlockJacobian(chosen, self.n_params, self.dtype, self.device)
            where = torch.nonzero(home == n_outputs)[:, 0]
            for unit in torch.eye(n_outputs, dtype=self.dtype, device=self.device):
                out[where[:, None], where] += part.mixed(unit[:, None]).gram() / n_outputs
        return out

    def coupling(self) -> Tensor:
        """`Σ_i D_i D_iᵀ` (Q, Q): the Gram matrices of single samples, summed; for blocks with the same Q."""
        n_outputs = self._one_number_of_outputs()
        out = torch.zeros(n_outputs, n_outputs, dtype=self.dtype, device=self.device)
        for piece in self.columns:
            out += piece.coupling()
        return out

    def mixed(self, matrix: Tensor) -> "BlockJacobian":
        """The Jacobian of other outputs, `Σ_q matrix[q, r] x_q`, for blocks with the same Q.

        The matrix is (Q, R), or one a sample, (N, Q, R): a row metric of Q × Q blocks.
        """
        self._one_number_of_outputs()
        sizes = [block.n_samples for block in self.blocks]
        parts = [matrix] * len(sizes) if matrix.dim() == 2 else torch.split(matrix, sizes)
        pairs = zip(self.blocks, parts, strict=True)
        blocks = tuple(block.mixed(part) for block, part in pairs)
        return BlockJacobian(blocks, self.n_params, self.dtype, self.device)

    def sketched(self, seed: int) -> "BlockJacobian":
        """The Jacobian of one random sum of the outputs of each sample, `Σ_q ±x_q`: the mean of its DᵀD is DᵀD.

        Of a recorded call its columns take one backward pass, whatever Q.
        """
        generator = torch.Generator().manual_seed(seed)
        blocks = list[AnyBlock]()
        for block in self.blocks:
            signs = torch.randint(0, 2, (block.n_samples, block.n_outputs, 1), generator=generator, device="cpu")
            blocks.append(block.mixed((2 * signs - 1).to(self.device, self.dtype)))
        return BlockJacobian(tuple(blocks), self.n_params, self.dtype, self.device)

    def made(self) -> "BlockJacobian":
        """The same with all columns known, in place of products with a recorded call."""
        return BlockJacobian(tuple(block.made() for block in self.blocks), self.n_params, self.dtype, self.device)

    def normal(self) -> Tensor:
        """`DᵀD` (K, K), accumulated over chunks of samples.

        Cost: at most about N·K² multiply-adds where layers have one position; K² numbers and a chunk.
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
            del rows  # the next ones need the memory
        return out

    def compact(self) -> "BlockJacobian":
        """The same with its rows formed, where one output and a small m·K make products cheaper with them."""
        m, k = self.shape
        if any(block.n_outputs > 1 or not block.is_made for block in self.blocks) or m * k > COMPACT:
            return self
        rows = DenseColumns(
            self.dense()[:, None], torch.arange(k, device=self.device), " + ".join(c.label for c in self.columns)
        )
        return BlockJacobian((Block((rows,), m, 1),), k, self.dtype, self.device)

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
            for piece in block.columns:
                out += piece.row_squares()
            diagonals.append(out.reshape(-1))
        return torch.cat(diagonals)

    def scaled(self, *, rows: Outputs | None = None, columns: Theta | None = None) -> "BlockJacobian":
        """`diag(rows) D diag(columns)`: the weights of rows and the metric of θ applied to D; None for ones."""
        if rows is None and columns is None:
            return self
        parts = [None] * len(self.blocks) if rows is None else self._split(rows.reshape(-1))
        blocks = tuple(
            block.scaled(None if part is None else part.reshape(block.n_samples, block.n_outputs), columns)
            for block, part in zip(self.blocks, parts, strict=True)
        )
        return BlockJacobian(blocks, self.n_params, self.dtype, self.device)

    def to(self, dtype: torch.dtype) -> "BlockJacobian":
        """The same Jacobian, converted to another precision."""
        if dtype == self.dtype:
            return self
        return BlockJacobian(tuple(block.to(dtype) for block in self.blocks), self.n_params, dtype, self.device)

    def routes(self) -> list[dict[str, object]]:
        """How each piece enters G: module, route (`contracted` or `rows`), entries of θ, flops of the square G."""
        pieces = list[dict[str, object]]()
        for block in self.blocks:
            for piece in block.kinds:
                formed = by_rows(piece, piece, block.n_rows)
                flops = rows_flops(piece, block.n_rows) if formed else piece.flops(block.n_rows)
                route, flops = "rows" if formed else "contracted", round(flops * block.times_kinds)
                pieces.append({"module": piece.label, "route": route, "params": piece.width, "flops": flops})
        return pieces

    def _one_number_of_outputs(self) -> int:
        """Q, the same for every block."""
        numbers = sorted({block.n_outputs for block in self.blocks})
        if len(numbers) > 1:
            raise JacobianError(f"the blocks of rows have {numbers} outputs a sample: this needs one number for all.")
        return numbers[0]

    def _unmade(self, other: Jacobian | None) -> int:
        """How many numbers `gram` holds beside G: cotangents that it forms, and rows of blocks of different maps."""
        if other is not None and (other.n_params != self.n_params or not other.blocks):
            raise JacobianError(
                "a Gram matrix of two Jacobians needs two that hold their rows, over one θ: these have "
                f"{self.n_params} and {other.n_params} parameters, in {len(self.blocks)} and {len(other.blocks)} "
                "blocks."
            )
        blocks = self.blocks if other is None else (*self.blocks, *other.blocks)
        partners = self.blocks if other is None else other.blocks
        formed = max(formed_numbers(block, partner, self.n_params) for block in self.blocks for partner in partners)
        return formed + sum(piece.unmade for block in blocks for piece in block.columns)

    def _split(self, rows: Tensor) -> Sequence[Tensor]:
        return torch.split(rows, [block.n_rows for block in self.blocks])


def _offsets(blocks: Sequence[Block]) -> list[slice]:
    ends = [0]
    for block in blocks:
        ends.append(ends[-1] + block.n_rows)
    return [slice(a, b) for a, b in pairwise(ends)]


def stacked(jacobians: Sequence[Jacobian]) -> Jacobian:
    """Several Jacobians over the same θ, one under the other.

    Raises: JacobianError, where one of them does not hold its rows, as that of a DataLoader.
    """
    first = jacobians[0]
    if len(jacobians) == 1:
        return first
    if not all(jacobian.blocks for jacobian in jacobians):
        raise JacobianError(
            "a Jacobian that is streamed from a DataLoader cannot stand beside other blocks of rows: pass its data as "
            "tensors."
        )
    blocks = tuple(block for jacobian in jacobians for block in jacobian.blocks)
    return BlockJacobian(blocks, first.n_params, first.dtype, first.device)
