"""The preconditioner of short solves: two small matrices for each layer, from one random cotangent a sample."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.jacobian import Columns, DenseInputs, IndexInputs, Jacobian, OuterColumns, random_sums
from geodescent.linalg import sum_of_squares, total

ROWS_OF_MOMENT = 16  # Times the order of a moment: so many vectors determine it well enough.
LEAST_OF_MOMENT = 16.0  # Units in the last place, of the largest entry of a moment: the least damping of its factor.
MORE_DAMPING = 10.0  # Times the damping with which a moment had no factor: rounding grows with its order.

SAMPLES_OF_SCALE = 32  # Samples: the mean square of the columns of a layer with positions is measured on so many.

Side = Callable[[Tensor], Tensor]
"""Multiplies a layer's matrix, from the left or from the right, by the inverse of a damped moment."""


@dataclass(frozen=True)
class Moment:
    """`Σ v vᵀ/n` of n vectors, as a matrix, as its diagonal, or by the vectors where these are few.

    Attributes:
        square: (d, d), or None.
        rows: v/√n, (n, d), or None.
        diagonal: (d,), or None.
        trace: of the moment.
        order: d.
    """

    square: Tensor | None
    rows: Tensor | None
    diagonal: Tensor | None
    trace: float
    order: int

    @classmethod
    def of(cls, vectors: Tensor, n: float) -> "Moment":
        """From vectors, (N, P, d), whose squares are divided by n; from evenly spaced ones where they are many.

        Their distance and the number of positions have no common divisor, so that all positions have their turn.

        Cost: 2·16·d³ flops at most.
        """
        positions, vectors = vectors.shape[1], vectors.flatten(0, 1)
        count, order = vectors.shape
        trace = total(sum_of_squares(vectors, 1)) / n
        every = max(1, count // (ROWS_OF_MOMENT * order))
        while math.gcd(every, positions) > 1:
            every -= 1
        some = vectors[::every] * math.sqrt(count / len(vectors[::every]) / n)
        if 2 * len(some) <= order:
            return cls(None, some, None, trace, order)
        return cls(some.T @ some, None, None, trace, order)

    @property
    def mean(self) -> float:
        """Of the diagonal."""
        return self.trace / self.order

    def inverse(self, damping: float, *, left: bool) -> Side:
        """`X ↦ (M + μ)⁻¹X`, or X(M + μ)⁻¹."""
        if self.diagonal is not None:
            damped = self.diagonal + damping
            return (lambda x: x / damped[:, None]) if left else (lambda x: x / damped)
        if self.rows is not None:  # Woodbury
            lower, damping = _factor(self.rows @ self.rows.T, damping)
            rows, solved = self.rows, torch.cholesky_solve(self.rows, lower)
            if left:
                return lambda x: (x - rows.T @ (solved @ x)) / damping
            return lambda x: (x - (x @ rows.T) @ solved) / damping
        assert self.square is not None
        inverse = torch.cholesky_inverse(_factor(self.square, damping)[0])
        return (lambda x: inverse @ x) if left else (lambda x: x @ inverse)


def _together(cotangents: Tensor, inputs: Tensor) -> float:
    """`Σ‖Σ_p g aᵀ‖²` over `Σ‖g‖² Σ‖a‖²/P`: what positions that act together add to the squares of a layer's columns.

    Args:
        cotangents: g, (N, P, o).
        inputs: a, (N, P, d).

    Cost: as much as a product, of `SAMPLES_OF_SCALE` samples.
    """
    if inputs.shape[1] == 1:
        return 1.0
    every = -(-len(inputs) // SAMPLES_OF_SCALE)
    g, a = cotangents[::every], inputs[::every]
    apart = total(sum_of_squares(g, (0, 1, 2))) * total(sum_of_squares(a, (0, 1, 2))) / (a.shape[0] * a.shape[1])
    return total(sum_of_squares(g.mT @ a, (0, 1, 2))) / apart if apart > 0.0 else 1.0


def _factor(matrix: Tensor, damping: float) -> tuple[Tensor, float]:
    """The Cholesky factor of M + μ, and μ, which is larger than asked for where rounding needs it."""
    largest = float(matrix.diagonal().max())
    damping = max(damping, LEAST_OF_MOMENT * torch.finfo(matrix.dtype).eps * largest)
    while True:
        damped = matrix.clone()
        damped.diagonal().add_(damping)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not (bool(failed) and damping < largest):
            return lower, damping
        damping *= MORE_DAMPING


@dataclass(frozen=True)
class SketchedFactor:
    """A layer's part of BᵀB as N·(S ⊗ A): S the second moment of its cotangents, A that of its inputs.

    Attributes:
        index: where the entries stand in θ, (o, d); (k,) of columns that are no layer.
        left, right: S and A; the left one None for columns that are no layer, whose diagonal of BᵀB/N is `right`.
    """

    index: Tensor
    left: Moment | None
    right: Moment

    @classmethod
    def of(cls, piece: Columns, drawn: Tensor) -> "SketchedFactor":
        """From one cotangent a sample, `Σ_q drawn[i,q] g[i,q]`."""
        n = len(drawn)
        if not piece.is_formable:
            return cls._of_products(piece, drawn)
        if not isinstance(piece, OuterColumns) or piece.scale is not None:
            squares = drawn.new_zeros(int(piece.index.max()) + 1)
            piece.add_column_squares(squares)
            index = piece.index.reshape(-1)
            diagonal = squares[index] / n
            return cls(index, None, Moment(None, None, diagonal, total(diagonal), len(diagonal)))
        cotangents = piece.cotangents.collect(drawn)
        positions = n * cotangents.shape[1]
        if isinstance(piece.inputs, DenseInputs):
            cotangents = cotangents * math.sqrt(_together(cotangents, piece.inputs.values))
        left = Moment.of(cotangents, n)
        if isinstance(piece.inputs, IndexInputs):
            counts = torch.bincount(piece.inputs.indices.reshape(-1), minlength=piece.inputs.size).to(drawn.dtype)
            return cls(piece.index, left, Moment(None, None, counts / positions, 1.0, piece.inputs.size))
        assert isinstance(piece.inputs, DenseInputs)
        return cls(piece.index, left, Moment.of(piece.inputs.values, positions))

    @classmethod
    def _of_products(cls, piece: Columns, drawn: Tensor) -> "SketchedFactor":
        """The same square for all columns, `‖Bᵀu‖²` of the random u over their number: they have products alone."""
        product = drawn.new_zeros(int(piece.index.max()) + 1)
        piece.rmv(drawn, product)
        index = piece.index.reshape(-1)
        size = len(index)
        diagonal = drawn.new_full((size,), total(product.square()) / (size * len(drawn)))
        return cls(index, None, Moment(None, None, diagonal, total(diagonal), size))

    @property
    def trace(self) -> float:
        """Of this part of BᵀB/N."""
        return self.right.trace if self.left is None else self.left.trace * self.right.trace

    def inverse(self, damping: float) -> Side:
        """`X ↦ (S + √μ/π)⁻¹ X (A + √μ π)⁻¹`, (o, d), where π² is the mean of A over that of S."""
        if self.left is None:
            return self.right.inverse(damping, left=False)
        ratio = math.sqrt(self.right.mean / self.left.mean) if self.left.mean > 0.0 < self.right.mean else 1.0
        by_left = self.left.inverse(math.sqrt(damping) / ratio, left=True)
        by_right = self.right.inverse(math.sqrt(damping) * ratio, left=False)
        return lambda x: by_right(by_left(x))


@dataclass(frozen=True)
class SketchedFactors:
    """One `SketchedFactor` for each piece of the columns of one block of rows, which share no parameter.

    Attributes:
        parts: of the pieces.
        n_samples: N.

    Source: Martens & Grosse, arXiv:1503.05671, section 6.3 for π; the cotangents are random, as there.
    Cost: a product with the cotangents of each layer, and small matrices.
    """

    parts: tuple[SketchedFactor, ...]
    n_samples: int

    @classmethod
    def of(cls, jacobian: Jacobian) -> "SketchedFactors":
        """From one random cotangent a sample, always the same ones for as many samples and outputs."""
        (block,) = jacobian.blocks
        if (sums := random_sums(jacobian)) is not None:
            ones = torch.ones(block.n_samples, 1, dtype=jacobian.dtype, device=jacobian.device)
            return cls(tuple(SketchedFactor.of(piece, ones) for piece in sums.columns), block.n_samples)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(block.n_samples, block.n_outputs, generator=generator, dtype=jacobian.dtype, device="cpu")
        drawn = drawn.to(jacobian.device)
        return cls(tuple(SketchedFactor.of(piece, drawn) for piece in block.columns), block.n_samples)

    @property
    def trace(self) -> float:
        """An estimate of `‖B‖_F²`."""
        return self.n_samples * sum(part.trace for part in self.parts)

    def damped(self, damping: float) -> Callable[[Theta], Theta]:
        """The product with the inverse of the blocks + μ, μ > 0; entries outside all parts count as zero columns."""
        n = self.n_samples
        solves = [(part.index, part.inverse(damping / n)) for part in self.parts]

        def solve(v: Theta) -> Theta:
            out = v / damping
            for index, inverse in solves:
                out[index.reshape(-1)] = inverse(v[index]).reshape(-1) / n
            return out

        return solve
