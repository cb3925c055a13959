"""What conjugate gradients on G are preconditioned with: the diagonal blocks of G, over outputs made independent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent import linalg
from geodescent._budget import fits
from geodescent.jacobian import Jacobian

BLOCKS_BYTES = 5e8  # of the blocks and their factors: more outputs than fit share blocks


@dataclass(frozen=True)
class OutputBlocks:
    """`(V ⊗ I) diag(G_b) (V ⊗ I)ᵀ`: one N × N block for each group of rotated outputs.

    V holds the eigenvectors of the mean coupling `Σ_i D_i D_iᵀ` of a sample's outputs: rotated by it, outputs are
    independent on average, and the diagonal blocks are nearly all of G. The outputs of one group share the average of
    their blocks; one group of all of them is K̄ ⊗ I_Q (THEORY 5.3), for which no rotation is needed.

    Attributes:
        rotation: V, (Q, Q), or None for the identity.
        blocks: G_b, (N, N) each, of equally many neighbouring outputs (the last may have fewer).
        n_outputs: Q.

    Cost: N²(d_in + Q·d_out) a linear layer for the blocks; N³/3 a block and damping; N²Q a product.
    """

    rotation: Tensor | None
    blocks: tuple[Tensor, ...]
    n_outputs: int

    @classmethod
    def averaged(cls, jacobian: Jacobian) -> "OutputBlocks | None":
        """One block, K̄; None where there are several blocks of rows, or no room."""
        if not _groups(jacobian):
            return None
        return cls(None, (jacobian.mean_gram(),), jacobian.blocks[0].n_outputs)

    @classmethod
    def rotated(cls, jacobian: Jacobian) -> "OutputBlocks | None":
        """As many blocks as there is room for; None as above."""
        groups, q = _groups(jacobian), jacobian.blocks[0].n_outputs
        if groups <= 1:
            return cls.averaged(jacobian)
        rotation = torch.linalg.eigh(jacobian.coupling()).eigenvectors
        blocks = tuple(jacobian.mixed(part).mean_gram() for part in rotation.split(-(-q // groups), dim=1))
        return cls(rotation, blocks, q)

    @staticmethod
    def flops(jacobian: Jacobian) -> float:
        """What the blocks and their factors at one damping cost; 0 where there are none."""
        n, width = jacobian.blocks[0].n_samples, sum(sum(record.index.shape) for record in jacobian.records)
        return _groups(jacobian) * n**2 * (n / 3.0 + 2.0 * width)

    def damped(self, damping: float) -> Callable[[Tensor], Tensor] | None:
        """The product with the inverse of the blocks + μ; None where that is singular.

        The factors are made in the blocks' own precision and applied in float32: a triangular solve is stable, and the
        product stays symmetric and positive definite.
        """
        factors = []
        for block in self.blocks:
            factor = linalg.definite(block, damping=damping)
            if isinstance(factor, linalg.EighFactor) and damping == 0.0:
                return None
            factors.append(factor.to(torch.float32))
        size = -(-self.n_outputs // len(factors))

        def solve(z: Tensor) -> Tensor:
            columns = z.view(-1, self.n_outputs)
            columns = columns if self.rotation is None else columns @ self.rotation
            parts = zip(factors, columns.float().split(size, dim=1), strict=True)
            solved = torch.cat([factor.solve(part) for factor, part in parts], dim=1).to(z.dtype)
            return (solved if self.rotation is None else solved @ self.rotation.T).reshape(-1)

        return solve


def _groups(jacobian: Jacobian) -> int:
    """How many blocks there is room for."""
    block = jacobian.blocks[0]
    bytes_each = 1.5 * block.n_samples**2 * jacobian.dtype.itemsize
    if len(jacobian.blocks) > 1 or not fits(bytes_each, jacobian.device):
        return 0
    room = max(1, int(BLOCKS_BYTES / bytes_each))
    return -(-block.n_outputs // -(-block.n_outputs // min(block.n_outputs, room)))
