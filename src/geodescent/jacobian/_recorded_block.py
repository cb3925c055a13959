"""The rows of one named block whose columns are made of a recorded call of a model, where something asks for them."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from geodescent._budget import fits
from geodescent._types import Theta
from geodescent.jacobian._block import CALL_FLOPS, Block
from geodescent.jacobian._columns import Columns
from geodescent.jacobian._room import bytes_of


class Recorded(Protocol):
    """A call of a model, recorded by autograd: D by products with the graph, and the columns of D by passes through it.

    Attributes:
        outline: columns of the same kinds for the same parameters, of two samples.
        passes: how many products take as long as the columns; infinite where they take a pass for each sample.
    """

    outline: Block
    passes: float

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        ...

    def mv(self, v: Theta) -> Tensor | None:
        """`D v`, (K,) → (N, Q); None where an operation has no such product."""
        ...

    def rmv(self, u: Tensor) -> Theta:
        """`Dᵀu`, (N, Q) → (K,)."""
        ...

    def columns(self, rows: Tensor | None, matrix: Tensor | None) -> tuple[Columns, ...]:
        """The columns of the outputs times `rows` (N, Q), and then mixed by a matrix (Q, R) or (N, Q, R)."""
        ...


@dataclass
class Tally:
    """How many products a call has served."""

    products: int = 0


@dataclass(eq=False)
class RecordedBlock:
    """`diag(rows) D diag(columns)` of N samples × Q outputs, by products until its columns are known.

    A product takes about as long as a pass through the graph, and the columns take one for each output. So products go
    through the graph until they have cost as much as the columns: whatever follows, that is at most twice the cost of
    the better choice. From the moment that anything asks for `columns`, this is a `Block`.

    Attributes:
        recorded: the call; None once the columns are known, so that the graph is given up.
        n_samples, n_outputs: N and Q.
        dtype: of everything returned.
        rows: (N, Q) of the outputs of the call, or None for ones.
        matrix: (Q, R) or (N, Q, R), by which they are mixed then, or None.
        scale: (K,) of the columns, or None for ones.
        tally: shared by all that was made of one call in this precision.
    """

    recorded: Recorded | None
    n_samples: int
    n_outputs: int
    dtype: torch.dtype
    rows: Tensor | None = None
    matrix: Tensor | None = None
    scale: Theta | None = None
    tally: Tally = field(default_factory=Tally)
    block: Block | None = None

    @property
    def n_rows(self) -> int:
        return self.n_samples * self.n_outputs

    @property
    def columns(self) -> tuple[Columns, ...]:
        """The pieces, made now if they were not."""
        return self.made().columns

    @property
    def kinds(self) -> tuple[Columns, ...]:
        """Pieces of the same kinds for the same parameters, of few samples: known before the columns are made."""
        return self.outline.columns

    @property
    def times_kinds(self) -> float:
        """How many times the samples of `kinds` it has."""
        return self.n_samples / self.outline.n_samples

    @property
    def is_formable(self) -> bool:
        return True

    @property
    def is_made(self) -> bool:
        """Whether its columns are known."""
        return self.recorded is None

    def made(self) -> Block:
        """The same with its columns known."""
        if self.block is None:
            assert self.recorded is not None
            made = Block(self.recorded.columns(self.rows, self.matrix), self.n_samples, self.n_outputs).to(self.dtype)
            self.block = made if self.scale is None else made.scaled(None, self.scale)
            self.recorded = self.rows = self.matrix = None
        return self.block

    def expecting(self, products: float) -> "Block | RecordedBlock":
        """With the columns known, where that takes less for so many products and they fit into memory."""
        return self.made() if self.recorded is None or self._repays_columns(products) else self

    def samples(self, chunk: slice) -> Block:
        return self.made().samples(chunk)

    def settled(self) -> Block:
        return self.made().settled()

    def mv(self, v: Theta) -> Tensor:
        recorded = self._by_products()
        product = None if recorded is None else recorded.mv(self._columns_times(v).to(recorded.dtype))
        if product is None:
            return self.made().mv(v)
        product = product if self.rows is None else product * self.rows
        return (product if self.matrix is None else _mixed(product, self.matrix)).to(self.dtype)

    def rmv(self, u: Tensor, out: Theta) -> None:
        recorded = self._by_products()
        if recorded is None:
            self.made().rmv(u, out)
            return
        u = u.to(recorded.dtype)
        u = u if self.matrix is None else _mixed(u, self.matrix.mT)
        u = u if self.rows is None else u * self.rows
        out += self._columns_times(recorded.rmv(u).to(self.dtype))

    def scaled(self, rows: Tensor | None, columns: Theta | None) -> "Block | RecordedBlock":
        if self.recorded is None:
            return self.made().scaled(rows, columns)
        scale = columns if self.scale is None or columns is None else self.scale * columns
        scale = self.scale if columns is None else scale
        if rows is None:
            return replace(self, scale=scale)
        rows = rows.to(self.recorded.dtype)
        if self.matrix is None:
            return replace(self, rows=rows if self.rows is None else self.rows * rows, scale=scale)
        return replace(self, matrix=self.matrix * rows[:, None], scale=scale)

    def mixed(self, matrix: Tensor) -> "Block | RecordedBlock":
        if self.recorded is None:
            return self.made().mixed(matrix)
        matrix = matrix.to(self.recorded.dtype)
        matrix = matrix if self.matrix is None else self.matrix @ matrix
        return replace(self, matrix=matrix, n_outputs=matrix.shape[-1])

    def to(self, dtype: torch.dtype) -> "Block | RecordedBlock":
        if self.recorded is None:
            return self.made().to(dtype)
        scale = None if self.scale is None else self.scale.to(dtype)
        return replace(self, dtype=dtype, scale=scale, tally=Tally())  # its columns would be made once more

    def product_flops(self) -> float:
        outline = self.outline
        calls = CALL_FLOPS * len(outline.columns)
        return calls + (outline.product_flops() - calls) * self.times_kinds

    def gram_flops(self, other_rows: int) -> float:
        return self.outline.gram_flops(other_rows) * self.n_samples / self.outline.n_samples

    @property
    def outline(self) -> Block:
        """The columns, or those of few samples until they are made."""
        return self.made() if self.recorded is None else self.recorded.outline

    def _by_products(self) -> Recorded | None:
        """The call, for one more product; None where the columns are the better choice by now."""
        if self.recorded is None or self._repays_columns(self.tally.products):
            return None
        self.tally.products += 1
        return self.recorded

    def _repays_columns(self, products: float) -> bool:
        """Whether so many products take as long as the columns of the call, and these fit into memory."""
        if self.recorded is None or products < self.recorded.passes:
            return False
        return fits(self.n_samples * bytes_a_sample((self,)), self.outline.columns[0].index.device)

    def _columns_times(self, v: Theta) -> Theta:
        return v if self.scale is None else v * self.scale


AnyBlock = Block | RecordedBlock


def _mixed(rows: Tensor, matrix: Tensor) -> Tensor:
    """`(N, Q) → (N, R)`, by one matrix or one a sample."""
    return rows @ matrix if matrix.dim() == 2 else (rows[:, None] @ matrix)[:, 0]


def bytes_a_sample(blocks: tuple[AnyBlock, ...]) -> float:
    """The memory of the columns for one more sample, made or not; the graph of a recorded call takes no more."""
    outlines = [block if isinstance(block, Block) else block.outline for block in blocks]
    return sum(_bytes_of_rows(outline.columns) / outline.n_samples for outline in outlines)


def _bytes_of_rows(columns: tuple[Columns, ...]) -> int:
    """Without the places of the parameters, which are as many for any number of samples."""
    return bytes_of(columns) - sum(piece.index.numel() * piece.index.element_size() for piece in columns)
