"""D of a recorded call: products by passes through its graph, columns by the rules of layers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from geodescent._budget import reserved
from geodescent._deadline import PRODUCT, measuring, require_time
from geodescent._types import Theta
from geodescent.jacobian import Block, Columns
from geodescent.outputs._autograd import is_slope, random_rows

GRAPH_OF_GRADIENT = 2.0  # Times the graph of a call: what the graph of Dᵀu holds beside it.
BY_PASSES = "products with D"

Make = Callable[[Tensor, Tensor | None, Tensor | None], list[Columns]]
"""The columns for outputs, (N, R), that are attached to the graph, which is kept; and how they were made of the call's
outputs: times (N, Q), and then mixed by a matrix."""


@dataclass
class Twice:
    """Whether `D v` by two passes backwards is right for a model; None before the first.

    Where an operation can be differentiated only once autograd raises an error, or gives zeros without one.
    """

    is_right: bool | None = None


@dataclass(eq=False)
class RecordedCall:
    """One call of a model at θ, with its graph.

    `D v` is the derivative of `⟨Dᵀu, v⟩` by u, in which it is linear: a pass through the graph of Dᵀu, which is made
    at the first product.

    Attributes:
        outputs: (N, Q), attached.
        leaves: the parameters at θ, in the order of θ.
        make: makes columns.
        outline: those of two samples.
        passes: how many products take as long as the columns.
        graph_bytes: of the graph.
        twice: shared by all calls of the model.
        standing: asks a function while the model's parameters are the leaves, which checkpoints and rules read.
    """

    outputs: Tensor
    leaves: list[Tensor]
    make: Make
    outline: Block
    passes: float
    graph_bytes: float
    twice: Twice
    standing: Callable[[Callable[[], Any]], Any]
    _gradient: tuple[Tensor, list[Tensor | None]] | None = field(default=None, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of θ and the outputs."""
        return self.outputs.dtype

    def rmv(self, u: Tensor) -> Theta:
        """`Dᵀu`, (N, Q) → (K,): one pass, the first of which leaves its own graph for `mv`."""
        require_time(BY_PASSES)
        with measuring(PRODUCT, u.device):
            if self._gradient is None and self.twice.is_right and self._has_room:
                _, gradient = self.standing(lambda: self._gradient_of_outputs(u))
                return _flat(self.leaves, tuple(g if g is None else g.detach() for g in gradient))
            with torch.enable_grad():
                along = (self.outputs * u).sum()
            gradients = self.standing(
                lambda: torch.autograd.grad(along, self.leaves, retain_graph=True, allow_unused=True)
            )
            return _flat(self.leaves, gradients)

    def mv(self, v: Theta) -> Tensor | None:
        """`D v`, (K,) → (N, Q): one pass; None where autograd has no second derivative, or no memory for it."""
        if self.twice.is_right is False or not self._has_room:
            return None
        require_time(BY_PASSES)
        try:
            product = self.standing(lambda: self._along(v))
        except (RuntimeError, NotImplementedError):
            product = None
        if product is not None and self.twice.is_right is None:
            u = random_rows(product.shape, product)
            self.twice.is_right = is_slope(product, u, float(self.rmv(u) @ v))
        elif product is None:
            self.twice.is_right = False
        return product if self.twice.is_right else None

    def columns(self, rows: Tensor | None, matrix: Tensor | None) -> tuple[Columns, ...]:
        """The columns of the outputs times `rows` (N, Q), and then mixed by a matrix (Q, R) or (N, Q, R)."""
        with torch.enable_grad():
            outputs = self.outputs if rows is None else self.outputs * rows
            if matrix is not None:
                outputs = outputs @ matrix if matrix.dim() == 2 else (outputs[:, None] @ matrix)[:, 0]
        return tuple(self.standing(lambda: self.make(outputs, rows, matrix)))

    @property
    def _has_room(self) -> bool:
        """Whether the graph of Dᵀu is there, or fits into memory."""
        return self._gradient is not None or reserved(GRAPH_OF_GRADIENT * self.graph_bytes, self.outputs.device)

    def _along(self, v: Theta) -> Tensor | None:
        with measuring(PRODUCT, v.device), torch.enable_grad():
            u, gradient = self._gradient_of_outputs()
            parts = v.split_with_sizes([leaf.numel() for leaf in self.leaves])
            slope = sum(
                (
                    (g * part.view(g.shape)).sum()
                    for g, part in zip(gradient, parts, strict=True)
                    if g is not None and g.requires_grad
                ),
                u.new_zeros(()),
            )
            if not slope.requires_grad:
                return torch.zeros_like(u)
            (product,) = torch.autograd.grad(slope, u, retain_graph=True, allow_unused=True)
            return torch.zeros_like(u) if product is None else product

    def _gradient_of_outputs(self, at: Tensor | None = None) -> tuple[Tensor, list[Tensor | None]]:
        """u and Dᵀu with its graph, at the first call made at this u, and at 0 where there is none."""
        if self._gradient is None:
            u = torch.zeros_like(self.outputs) if at is None else at.detach().clone()
            u.requires_grad_()
            with torch.enable_grad():
                along = (self.outputs * u).sum()
                gradients = torch.autograd.grad(along, self.leaves, create_graph=True, allow_unused=True)
            self._gradient = u, [None if g is None else g.to_dense() for g in gradients]
        return self._gradient


def _flat(leaves: list[Tensor], gradients: tuple[Tensor | None, ...]) -> Theta:
    pairs = zip(leaves, gradients, strict=True)
    return torch.cat([leaf.new_zeros(leaf.numel()) if g is None else g.to_dense().reshape(-1) for leaf, g in pairs])
