"""The preconditioner of conjugate gradients on BᵀB: two small matrices for each layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._budget import budget
from geodescent._deadline import SMALL_SHARE, in_time, require_time
from geodescent._types import Theta
from geodescent.jacobian import (
    Columns,
    Cotangents,
    DenseCotangents,
    DenseInputs,
    Jacobian,
    OuterColumns,
    require_room,
    same_columns,
)
from geodescent.linalg import EIGH_FLOPS, sum_of_squares, total

COTANGENTS_A_ROW = 16  # Cotangents for each row of a layer: more of them change neither axes nor diagonal much.
ROTATED = "a rotated copy of the factors of a layer"
WIDEST = 1024  # Order of a factor: the eigenvectors of a wider one cost more than the iterations they save.


@dataclass(frozen=True)
class LayerFactor:
    """One layer's part of `BᵀB`, as `(V ⊗ U) diag(λ) (V ⊗ U)ᵀ`.

    V holds the eigenvectors of `Σ g gᵀ`, U those of `Σ a aᵀ`; λ is the diagonal of BᵀB in these axes. V and λ are
    computed from as many samples as give `COTANGENTS_A_ROW` cotangents for each row of the layer, λ from fewer where
    the rows of these would be too many. Over several blocks of rows the moments and the diagonals of all blocks add up.

    Attributes:
        index: where the entries stand in θ, (o, d).
        left, right: V, (o, o), and U, (d, d); None for the identity.
        diagonal: λ, (o, d).

    Source: George et al., arXiv:1806.03884 (EKFAC); the axes are those of Martens & Grosse, arXiv:1503.05671.
    Cost: N·P·d² and some 2·`COTANGENTS_A_ROW`·o³ flops, and the two eigenproblems, o³ + d³; the rows of those samples
        for λ where a layer has P > 1 positions.
    """

    index: Tensor
    left: Tensor | None
    right: Tensor | None
    diagonal: Tensor

    @classmethod
    def of(cls, pieces: Sequence[Columns]) -> "LayerFactor":
        """The factors of pieces for the same parameters, one a block of rows.

        Plain rows count as a layer of one output whose inputs are the rows.
        """
        layers = [p for p in pieces if isinstance(p, OuterColumns)]
        if len(layers) < len(pieces):
            return cls._of_rows([p.rows().values.flatten(0, 1) for p in pieces], pieces[0].index.reshape(-1))
        if any(p.scale is not None or not isinstance(p.inputs, DenseInputs) for p in layers):
            return cls(layers[0].index, None, None, _added([_squares(p) for p in layers]))
        chosen = [_some(p) for p in layers]
        shares = [share for _, share in chosen]
        left = _axes([p.cotangents for p, _ in chosen], [shares[0] / share for share in shares])
        right = _axes([DenseInputs(p.inputs.dense()) for p in layers], [1.0] * len(layers))
        diagonal = _added([_turned_squares(p, left, right) / share for p, share in chosen])
        return cls(layers[0].index, left, right, diagonal)

    @classmethod
    def _of_rows(cls, rows: list[Tensor], index: Tensor) -> "LayerFactor":
        values = rows[0] if len(rows) == 1 else torch.cat(rows)
        axes = _axes([DenseInputs(values[:, None])], [1.0])
        require_room(values.numel(), values, ROTATED)
        return cls(index[None], None, axes, sum_of_squares(_turned(values, axes), 0)[None])

    def raised(self, other: Tensor) -> "LayerFactor":
        """With the mean of other contributions to the diagonal of BᵀB, (K,), added to λ."""
        return replace(self, diagonal=self.diagonal + total(other[self.index]) / self.index.numel())

    def solve(self, v: Theta, damping: float, out: Theta) -> None:
        """Writes this layer's entries of `(BᵀB + μ)⁻¹ v`, by its approximation of BᵀB."""
        turned = _turned(_turned(v[self.index], self.right).T, self.left).T / (self.diagonal + damping)
        back = turned if self.right is None else turned @ self.right.T
        out[self.index.reshape(-1)] = (back if self.left is None else self.left @ back).reshape(-1)


@dataclass(frozen=True)
class LayerFactors:
    """One `LayerFactor` for each layer: BᵀB without the coupling between layers.

    Attributes:
        parts: no two of them have a parameter in common.
        rest: diagonal of BᵀB, (K,), of pieces that overlap them, such as a penalty on all parameters; None for none.
    """

    parts: tuple[LayerFactor, ...]
    rest: Tensor | None = None

    @classmethod
    def of(cls, jacobian: Jacobian) -> "LayerFactors | None":
        """None where the Jacobian cannot form its rows."""
        if not jacobian.holds_rows:
            return None
        groups, overlapping = _parted(jacobian)
        parts = tuple(map(_in_time, groups))
        if not overlapping:
            return cls(parts)
        rest = torch.zeros(jacobian.n_params, dtype=jacobian.dtype, device=jacobian.device)
        for piece in overlapping:
            rows = piece.rows()
            rest.index_add_(0, rows.index, sum_of_squares(rows.values, (0, 1)))
        return cls(tuple(part.raised(rest) for part in parts), rest)

    @property
    def trace(self) -> float:
        """`‖B‖_F²`, estimated from the samples that the factors are made of."""
        of_parts = sum(total(part.diagonal) for part in self.parts)
        if self.rest is None:
            return of_parts
        elsewhere = self.rest.clone()
        for part in self.parts:
            elsewhere[part.index] = 0.0
        return of_parts + total(elsewhere)

    def damped(self, damping: float) -> Callable[[Theta], Theta]:
        """The product with the inverse of the blocks + μ, μ > 0."""

        def solve(v: Theta) -> Theta:
            out = v / (damping if self.rest is None else self.rest + damping)  # for parameters outside all parts
            for part in self.parts:
                part.solve(v, damping, out)
            return out

        return solve


def factors_flops(jacobian: Jacobian) -> float:
    """Flops of the eigenvectors of all layers."""
    sizes = list[int]()
    for piece in (piece for block in jacobian.blocks for piece in block.kinds):
        sizes += [*piece.index.shape] if isinstance(piece, OuterColumns) else [piece.width]
    return sum(EIGH_FLOPS * float(size) ** 3 for size in sizes if size <= WIDEST)


def _in_time(group: Sequence[Columns]) -> LayerFactor:
    require_time("the factors of the layers")
    return LayerFactor.of(group)


def _parted(jacobian: Jacobian) -> tuple[list[list[Columns]], list[Columns]]:
    """Pieces for the same parameters together, in groups that share no parameter; and the pieces that overlap them."""
    if len(jacobian.blocks) == 1:
        return [[piece] for piece in jacobian.blocks[0].columns], []
    groups, overlapping = list[list[Columns]](), list[Columns]()
    taken = torch.zeros(jacobian.n_params, dtype=torch.bool, device="cpu")
    pieces = [piece for block in jacobian.blocks for piece in block.columns]
    for piece in sorted(pieces, key=lambda p: not isinstance(p, OuterColumns)):  # layers first
        where = piece.index.reshape(-1).cpu()
        home = next((group for group in groups if same_columns(group[0], piece)), None)
        if home is not None:
            home.append(piece)
        elif bool(taken[where].any()):
            overlapping.append(piece)
        else:
            taken[where] = True
            groups.append([piece])
    return groups, overlapping


def _some(piece: OuterColumns) -> tuple[OuterColumns, float]:
    """As many evenly spaced samples as give enough cotangents for each row of the layer, and their share."""
    n, q, p, o = piece.cotangents.shape
    step = max(1, n * q * p // (COTANGENTS_A_ROW * o))
    return piece.samples(slice(0, n, step)), len(range(0, n, step)) / n


def _axes(vectors: Sequence[DenseInputs | Cotangents], weights: Sequence[float]) -> Tensor | None:
    """The eigenvectors of the weighted sum of second moments; None where they are too wide."""
    size = vectors[0].size
    if size > WIDEST or not in_time(EIGH_FLOPS * size**3, "eigenvectors of factors of layers", share=SMALL_SHARE):
        return None
    moments = [v.moment() if weight == 1.0 else v.moment() * weight for v, weight in zip(vectors, weights, strict=True)]
    axes: Tensor = torch.linalg.eigh(_added(moments)).eigenvectors
    return axes


def _added(parts: list[Tensor]) -> Tensor:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


def _turned(vectors: Tensor, axes: Tensor | None) -> Tensor:
    return vectors if axes is None else vectors @ axes


def _turned_squares(piece: OuterColumns, left: Tensor | None, right: Tensor | None) -> Tensor:
    """The diagonal of BᵀB in these axes."""
    a, g = piece.inputs.dense(), piece.cotangents.dense()
    require_room(a.numel() * (right is not None) + g.numel() * (left is not None), g, ROTATED)
    turned = DenseInputs(_turned(a, right)), DenseCotangents(_turned(g, left))
    return _squares(replace(piece, inputs=turned[0], cotangents=turned[1]))


def _squares(piece: OuterColumns) -> Tensor:
    """The diagonal of BᵀB, (o, d): exact, or for many positions from as many samples as may be formed at once."""
    n, q, p, _ = piece.cotangents.shape
    inputs = piece.inputs
    if p == 1:
        squares = sum_of_squares(piece.cotangents.dense(), 1)
        known = inputs if not isinstance(inputs, DenseInputs) else DenseInputs(inputs.dense().square())
        moments = known.collect(squares)
        return moments if piece.scale is None else moments * piece.scale.square()
    some = min(n, max(1, budget().rows_numbers // max(1, q * piece.width)))
    rows = piece.samples(slice(0, n, -(-n // some))).rows().values
    return sum_of_squares(rows, (0, 1)).view(piece.index.shape) * (n / len(rows))
