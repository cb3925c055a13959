"""What conjugate gradients on BᵀB are preconditioned with: two small matrices a layer."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.jacobian import (
    ROWS_LIMIT,
    Columns,
    Cotangents,
    DenseColumns,
    DenseCotangents,
    DenseInputs,
    Jacobian,
    OuterColumns,
)

ENOUGH = 16  # cotangents to a row of the layer: more of them change neither axes nor diagonal much
WIDEST = 1024  # of a factor: the eigenvectors of a wider one cost more than they save, and the axes stay


@dataclass(frozen=True)
class Kronecker:
    """One record's part of `BᵀB`, as `(V ⊗ U) diag(λ) (V ⊗ U)ᵀ`.

    V holds the eigenvectors of `Σ g gᵀ`, U those of `Σ a aᵀ`; λ is the diagonal of BᵀB in these axes. V and λ are taken
    from as many samples as give `ENOUGH` cotangents for each row of the layer: λ is exact for these, but for words that
    one sample repeats, and from fewer where their rows would be too many.

    Attributes:
        index: where the entries stand in θ, (o, d).
        left, right: V, (o, o), and U, (d, d); None for the identity.
        diagonal: λ, (o, d).

    Source: George et al., arXiv:1806.03884 (EKFAC); the axes are those of Martens & Grosse, arXiv:1503.05671.
    Cost: N·P·d² and some 2·`ENOUGH`·o³ flops, and the two eigenproblems, o³ + d³; the rows of those samples for λ
        where a layer has P > 1 positions.
    """

    index: Tensor
    left: Tensor | None
    right: Tensor | None
    diagonal: Tensor

    @classmethod
    def of(cls, record: Columns) -> "Kronecker":
        """The factors of a record; plain rows count as a layer of one output whose inputs are the rows."""
        if isinstance(record, DenseColumns):
            values, index = record.values.flatten(0, 1), record.index[None]
            axes = _axes(DenseInputs(values[:, None]))
            return cls(index, None, axes, _turned(values, axes).square().sum(0)[None])
        if record.scale is not None or not isinstance(record.inputs, DenseInputs):
            return cls(record.index, None, None, _squares(record))
        some, share = _some(record)
        left, right = _axes(some.cotangents), _axes(record.inputs)
        inputs = DenseInputs(_turned(some.inputs.dense(), right))
        turned = replace(some, inputs=inputs, cotangents=DenseCotangents(_turned(some.cotangents.dense(), left)))
        return cls(record.index, left, right, _squares(turned) / share)

    def solve(self, v: Theta, damping: float, out: Theta) -> None:
        """Writes the entries of `(BᵀB + μ)⁻¹ v`, as far as this part knows BᵀB."""
        turned = _turned(_turned(v[self.index], self.right).T, self.left).T / (self.diagonal + damping)
        back = turned if self.right is None else turned @ self.right.T
        out[self.index.reshape(-1)] = (back if self.left is None else self.left @ back).reshape(-1)


@dataclass(frozen=True)
class KroneckerBlocks:
    """One `Kronecker` for each record: BᵀB without what couples the layers."""

    parts: tuple[Kronecker, ...]

    @classmethod
    def of(cls, jacobian: Jacobian) -> "KroneckerBlocks | None":
        """None where there are several blocks of rows, whose records share entries of θ."""
        if len(jacobian.blocks) > 1:
            return None
        return cls(tuple(Kronecker.of(record) for record in jacobian.records))

    def damped(self, damping: float) -> Callable[[Theta], Theta]:
        """The product with the inverse of the blocks + μ, μ > 0."""

        def solve(v: Theta) -> Theta:
            out = v / damping  # what no record knows, BᵀB does not see
            for part in self.parts:
                part.solve(v, damping, out)
            return out

        return solve


def _some(record: OuterColumns) -> tuple[OuterColumns, float]:
    """As many evenly spaced samples as give `ENOUGH` cotangents for each row of the layer, and their share."""
    n, q, p, o = record.cotangents.shape
    step = max(1, n * q * p // (ENOUGH * o))
    return record.samples(slice(0, n, step)), len(range(0, n, step)) / n


def _axes(vectors: DenseInputs | Cotangents) -> Tensor | None:
    """The eigenvectors of the second moment of these vectors; None where they are too wide."""
    return None if vectors.size > WIDEST else torch.linalg.eigh(vectors.moment()).eigenvectors


def _turned(vectors: Tensor, axes: Tensor | None) -> Tensor:
    return vectors if axes is None else vectors @ axes


def _squares(record: OuterColumns) -> Tensor:
    """The diagonal of BᵀB, (o, d): exact, or for many positions from as many samples as may be formed at once."""
    n, q, p, _ = record.cotangents.shape
    inputs = record.inputs
    if p == 1:
        squares = record.cotangents.dense().square().sum(1)
        known = inputs if not isinstance(inputs, DenseInputs) else DenseInputs(inputs.dense().square())
        moments = known.collect(squares)
        return moments if record.scale is None else moments * record.scale.square()
    some = min(n, max(1, ROWS_LIMIT // max(1, q * record.width)))
    rows = record.samples(slice(0, n, -(-n // some))).rows().values
    return rows.square().sum((0, 1)).view(record.index.shape) * (n / len(rows))
