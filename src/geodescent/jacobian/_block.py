"""The rows of one named block, as pieces of columns."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.jacobian._columns import Columns
from geodescent.jacobian._outer_columns import OuterColumns

CALL_FLOPS = 2e6  # Flops: calling the kernels of one layer's products takes as long as this many, on two cores.


@dataclass(frozen=True)
class Block:
    """The rows of one named block: N samples × Q outputs, and the pieces that make up their columns."""

    columns: tuple[Columns, ...]
    n_samples: int
    n_outputs: int

    @property
    def n_rows(self) -> int:
        return self.n_samples * self.n_outputs

    @property
    def is_formable(self) -> bool:
        """Whether its rows can be formed; False for a large D that is only known by its products."""
        return all(piece.is_formable for piece in self.columns)

    @property
    def is_made(self) -> bool:
        """Whether its columns are known, as here."""
        return True

    def made(self) -> "Block":
        """The same with its columns known."""
        return self

    def samples(self, chunk: slice) -> "Block":
        """The rows of some samples."""
        n = len(range(*chunk.indices(self.n_samples)))
        return Block(tuple(c.samples(chunk) for c in self.columns), n, self.n_outputs)

    def settled(self) -> "Block":
        """The same, with everything computed that a Gram matrix reads more than once."""
        return Block(tuple(c.settled() for c in self.columns), self.n_samples, self.n_outputs)

    def mv(self, v: Theta) -> Tensor:
        """`D v`, (K,) → (N, Q)."""
        out = v.new_zeros(self.n_samples, self.n_outputs)
        for piece in self.columns:
            out += piece.mv(v)
        return out

    def rmv(self, u: Tensor, out: Theta) -> None:
        """Adds `Dᵀu`, u (N, Q), to `out`, (K,)."""
        for piece in self.columns:
            piece.rmv(u, out)

    def scaled(self, rows: Tensor | None, columns: Theta | None) -> "Block":
        """`diag(rows) D diag(columns)`; rows (N, Q), columns (K,); None for ones."""
        return Block(tuple(c.scaled(rows, columns) for c in self.columns), self.n_samples, self.n_outputs)

    def mixed(self, matrix: Tensor) -> "Block":
        """The rows of other outputs, `Σ_q matrix[q, r] x_q`; the matrix is (Q, R) or (N, Q, R)."""
        return Block(tuple(c.mixed(matrix) for c in self.columns), self.n_samples, matrix.shape[-1])

    def to(self, dtype: torch.dtype) -> "Block":
        """The same in another precision."""
        return Block(tuple(c.to(dtype) for c in self.columns), self.n_samples, self.n_outputs)

    def expecting(self, products: float) -> "Block":
        """Itself: its columns are known."""
        return self

    @property
    def kinds(self) -> tuple[Columns, ...]:
        """Pieces of the same kinds for the same parameters, of some samples: here those of all."""
        return self.columns

    @property
    def times_kinds(self) -> int:
        """How many times the samples of `kinds` it has."""
        return 1

    def product_flops(self) -> float:
        """Flops of one product with D and one with Dᵀ, with the cost of calling small kernels added."""
        return sum(
            CALL_FLOPS + 4.0 * self.n_samples * c.positions * (c.width + self.n_outputs * c.index.shape[0])
            for c in self.columns
        )

    def gram_flops(self, other_rows: int) -> float:
        """Flops of the products of its rows with others, each piece by its cheaper route."""
        return sum(float(min(rows_flops(c, other_rows), c.flops(other_rows))) for c in self.columns)


def rows_flops(columns: Columns, other_rows: int) -> int:
    """Flops of a block of G against `other_rows` rows, with the rows formed."""
    if not isinstance(columns, OuterColumns):
        return columns.flops(other_rows)
    n, q, p, _ = columns.cotangents.shape
    return 2 * (2 * n * q * p + n * q * other_rows) * columns.width
