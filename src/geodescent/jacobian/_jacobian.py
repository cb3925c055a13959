"""The protocol of a Jacobian `D = ∂x/∂θ`, m × K: products, Gram matrices, rows."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from geodescent._types import Gram, Outputs, Theta
from geodescent.jacobian._recorded_block import AnyBlock


@runtime_checkable
class Jacobian(Protocol):
    """`D`, m × K, by its products, Gram and normal matrices; D itself is formed only on request.

    `BlockJacobian` is what output maps return, `MatrixJacobian` the same from a matrix or from two functions.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(m, K)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of everything returned."""
        ...

    @property
    def device(self) -> torch.device:
        """Of everything returned."""
        ...

    @property
    def blocks(self) -> tuple[AnyBlock, ...]:
        """The blocks of rows; empty where rows are never held in memory."""
        ...

    @property
    def holds_rows(self) -> bool:
        """Whether rows of D can be formed at an affordable cost, which preconditioners need."""
        ...

    @property
    def n_residuals(self) -> int:
        """m."""
        ...

    @property
    def n_params(self) -> int:
        """K."""
        ...

    def mv(self, v: Theta) -> Outputs:
        """`D v`, (K,) → (m,)."""
        ...

    def rmv(self, u: Outputs) -> Theta:
        """`Dᵀ u`, (m,) → (K,)."""
        ...

    def gram(self, other: "Jacobian | None" = None) -> Gram:
        """`G = D Dᵀ`, (m, m), or the block `D D'ᵀ`, (m, m'), against another Jacobian over the same θ."""
        ...

    def mean_gram(self) -> Gram:
        """`K̄ = (1/Q) Σ_q G_qq`, (N, N): the average of G over the outputs of a sample."""
        ...

    def normal(self) -> Tensor:
        """`DᵀD`, (K, K)."""
        ...

    def dense(self) -> Tensor:
        """D itself, (m, K)."""
        ...

    def row_chunks(self) -> Iterator[Tensor]:
        """D from top to bottom in chunks of rows."""
        ...

    def row_squares(self) -> Outputs:
        """The diagonal of G, (m,)."""
        ...

    def scaled(self, *, rows: Outputs | None = None, columns: Theta | None = None) -> "Jacobian":
        """`diag(rows) D diag(columns)`; None for ones."""
        ...

    def mixed(self, matrix: Tensor) -> "Jacobian":
        """The Jacobian of other outputs, `Σ_q matrix[q, r] x_q`; the matrix is (Q, R), or (N, Q, R)."""
        ...

    def to(self, dtype: torch.dtype) -> "Jacobian":
        """The same Jacobian, converted to another precision."""
        ...

    def compact(self) -> "Jacobian":
        """The same with its rows formed, where that makes products cheaper."""
        ...

    def product_flops(self) -> float:
        """Flops of one product with D and one with Dᵀ."""
        ...

    def gram_flops(self) -> float:
        """Flops of the square Gram matrix."""
        ...

    def routes(self) -> list[dict[str, object]]:
        """How each piece of the columns enters G: module, route, entries of θ, flops."""
        ...
