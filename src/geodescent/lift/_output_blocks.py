"""The preconditioner of conjugate gradients on G: its diagonal blocks, over outputs rotated to be independent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._budget import allowed_bytes
from geodescent._deadline import PIECE_SHARE, in_time, require_time
from geodescent.jacobian import Block, BlockJacobian, Jacobian, require_room
from geodescent.linalg import EighFactor, definite

BLOCKS_BYTES = 5e8  # Bytes of the blocks and their factors: where more outputs would not fit, outputs share blocks.
FACTOR_SIZES = 1.5  # Matrices of a block's size that it needs: itself, and its factor in float32.

Solver = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OutputBlocks:
    """`(V ⊗ I) diag(G_b) (V ⊗ I)ᵀ`: one N × N block for each group of rotated outputs.

    V holds the eigenvectors of the mean coupling `Σ_i D_i D_iᵀ` of a sample's outputs: rotated by it, outputs are
    independent on average, and the diagonal blocks are nearly all of G. The outputs of one group share the average of
    their blocks; one group of all of them is K̄ ⊗ I_Q, for which no rotation is needed.

    Attributes:
        rotation: V, (Q, Q), or None for the identity.
        blocks: G_b, (N, N) each, of equally many neighbouring outputs (the last may have fewer).
        n_outputs: Q.
        rows: which rows of the problem these are; None for all.

    Cost: N²(d_in + Q·d_out) a linear layer for the blocks; N³/3 a block and damping; N²Q a product.
    """

    rotation: Tensor | None
    blocks: tuple[Tensor, ...]
    n_outputs: int
    rows: Tensor | None = None

    @classmethod
    def averaged(cls, jacobian: BlockJacobian, rows: Tensor | None = None) -> "OutputBlocks":
        """One block, K̄, for blocks of rows with the same Q."""
        return cls(None, (jacobian.mean_gram(),), jacobian.blocks[0].n_outputs, rows)

    @classmethod
    def rotated(cls, jacobian: BlockJacobian, rows: Tensor | None = None) -> "OutputBlocks":
        """As many blocks as fit into memory, for blocks of rows with the same Q."""
        if _groups(jacobian) <= 1:
            return cls.averaged(jacobian, rows)
        rotation = torch.linalg.eigh(jacobian.coupling()).eigenvectors
        blocks = tuple(jacobian.mixed(part).mean_gram() for part in torch.split(rotation, _share(jacobian), dim=1))
        return cls(rotation, blocks, jacobian.blocks[0].n_outputs, rows)

    def damped(self, damping: float) -> Solver | None:
        """The product with the inverse of the blocks + μ, on these rows; None where that is singular.

        The factors are made in the blocks' own precision and applied in float32: a triangular solve is stable, and the
        product stays symmetric and positive definite.
        """
        factors = []
        for block in self.blocks:
            require_time("blocks of G as a preconditioner")
            require_room(FACTOR_SIZES * block.numel(), block, "the factor of a block of G")
            factor = definite(block, damping=damping)
            if isinstance(factor, EighFactor) and damping == 0.0:
                return None
            factors.append(factor.to(torch.float32))
        size = -(-self.n_outputs // len(factors))

        def solve(z: Tensor) -> Tensor:
            columns = z.view(-1, self.n_outputs)
            columns = columns if self.rotation is None else columns @ self.rotation
            parts = zip(factors, torch.split(columns.float(), size, dim=1), strict=True)
            solved = torch.cat([factor.solve(part) for factor, part in parts], dim=1).to(z.dtype)
            return (solved if self.rotation is None else solved @ self.rotation.T).reshape(-1)

        return solve


@dataclass(frozen=True)
class RowBlocks:
    """The preconditioner of all rows: `OutputBlocks` for each number of outputs a sample, without their coupling."""

    parts: tuple[OutputBlocks, ...]

    @classmethod
    def of(cls, jacobian: Jacobian) -> "RowBlocks | None":
        """None where the Jacobian cannot form its rows, or the blocks do not fit."""
        parts = _by_outputs(jacobian)
        if not parts or not all(_groups(part) for part, _ in parts):
            return None
        if not in_time(cls.flops(jacobian), "blocks of G as a preconditioner", share=PIECE_SHARE):
            return None
        return cls(tuple(OutputBlocks.rotated(part, rows) for part, rows in parts))

    @staticmethod
    def flops(jacobian: Jacobian) -> float:
        """What the blocks and their factors at one damping cost; 0 where there are none."""
        parts = [part for part, _ in _by_outputs(jacobian)]
        return sum(map(_flops, parts)) if all(map(_groups, parts)) else 0.0

    def damped(self, damping: float) -> Solver | None:
        """The product with the inverse of all blocks + μ; None where that is singular."""
        solvers = [part.damped(damping) for part in self.parts]
        pairs = [(part.rows, solver) for part, solver in zip(self.parts, solvers, strict=True) if solver is not None]
        if len(pairs) < len(solvers):
            return None
        if len(pairs) == 1:
            return pairs[0][1]

        def solve(z: Tensor) -> Tensor:
            out = torch.empty_like(z)
            for rows, solver in pairs:
                assert rows is not None
                out[rows] = solver(z[rows])
            return out

        return solve


def _by_outputs(jacobian: Jacobian) -> list[tuple[BlockJacobian, Tensor | None]]:
    """The blocks of rows by their number of outputs, and which rows they are; none where none can be formed."""
    if not jacobian.holds_rows:
        return []
    numbers = list(dict.fromkeys(block.n_outputs for block in jacobian.blocks))
    if len(numbers) == 1:
        return [(BlockJacobian(jacobian.blocks, jacobian.n_params, jacobian.dtype, jacobian.device), None)]
    ends = torch.tensor([0, *(block.n_rows for block in jacobian.blocks)], device="cpu").cumsum(0).tolist()
    parts = list[tuple[BlockJacobian, Tensor | None]]()
    for number in numbers:
        chosen = [i for i, block in enumerate(jacobian.blocks) if block.n_outputs == number]
        rows = torch.cat([torch.arange(ends[i], ends[i + 1], device=jacobian.device) for i in chosen])
        blocks = tuple(jacobian.blocks[i] for i in chosen)
        parts.append((BlockJacobian(blocks, jacobian.n_params, jacobian.dtype, jacobian.device), rows))
    return parts


def _flops(jacobian: BlockJacobian) -> float:
    """Of the blocks, each a Gram matrix of the average of its outputs, and of their factors at one damping."""
    n, block = sum(block.n_samples for block in jacobian.blocks), jacobian.blocks[0]
    outputs = torch.eye(block.n_outputs, dtype=jacobian.dtype, device=jacobian.device)[:, : _share(jacobian)]
    few = (piece.samples(slice(0, 1)).to(jacobian.dtype) for piece in block.kinds)
    one = tuple(piece.mixed(outputs).averaged() for piece in few)
    return _groups(jacobian) * (0.5 * n * Block(one, 1, 1).gram_flops(n) + n**3 / 3.0)


def _share(jacobian: BlockJacobian) -> int:
    """How many outputs share a block."""
    return -(-jacobian.blocks[0].n_outputs // _groups(jacobian))


def _groups(jacobian: BlockJacobian) -> int:
    """How many blocks fit into memory."""
    n, q = sum(block.n_samples for block in jacobian.blocks), jacobian.blocks[0].n_outputs
    bytes_each = FACTOR_SIZES * n**2 * jacobian.dtype.itemsize
    allowed = allowed_bytes(jacobian.device)
    if bytes_each > allowed:
        return 0
    room = max(1, int(min(BLOCKS_BYTES, allowed) / bytes_each))
    return -(-q // -(-q // min(q, room)))
