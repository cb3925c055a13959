"""From uses of parameters, recorded in a forward pass of streams, to columns of D."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.jacobian import Columns, DenseColumns, DenseCotangents, DenseInputs, OuterColumns


@dataclass(frozen=True)
class PointLayout:
    """Where samples stand in what layers see, (S, P·N, …): P points a sample, or all points one sample's.

    Attributes:
        n_points: N.
        one_sample: whether the rows of all points are summed.
    """

    n_points: int
    one_sample: bool

    def by_sample(self, tensor: Tensor) -> Tensor:
        """(Q, S, P·N, …) → (N, Q, S·P, …), or (1, Q, S·P·N, …)."""
        by_point = torch.unflatten(tensor, 2, (-1, self.n_points))
        if self.one_sample:
            return by_point.flatten(1, 3)[None]
        return by_point.movedim(3, 0).flatten(2, 3)

    def positions(self, tensor: Tensor) -> Tensor:
        """(Q, S, P·N, …, o) → (N, Q, positions, o); those of the value come first."""
        return self.by_sample(tensor).flatten(2, -2)


@dataclass(frozen=True)
class LayerColumns:
    """`z = Wa + b` at several positions of each sample; the bias is seen by the first ones, those of the value.

    Attributes:
        inputs: a, (N, P, d).
        cotangents: g, (N, Q, P, o).
        n_values: how many positions are those of the value.
        weight: where W stands in θ, (o, d), or None.
        bias: where b stands in θ, (o,), or None.
        label: the layer's name.
    """

    inputs: Tensor
    cotangents: Tensor
    n_values: int
    weight: Tensor | None
    bias: Tensor | None
    label: str

    def columns(self) -> Columns:
        """As outer products of `[a, 1]`, the 1 being 0 in derivatives."""
        if self.weight is None:
            assert self.bias is not None
            return DenseColumns(self.cotangents[:, :, : self.n_values].sum(2), self.bias, self.label)
        a, index = self.inputs, self.weight
        if self.bias is not None:
            first = a.new_zeros(*a.shape[:2], 1)
            first[:, : self.n_values] = 1.0
            a, index = torch.cat([a, first], 2), torch.cat([index, self.bias[:, None]], 1)
        return OuterColumns(DenseInputs(a), DenseCotangents(self.cotangents), index, self.label)

    def parts(self) -> list[tuple[Tensor, Tensor]]:
        """(entries of θ, columns for them (N, Q, …)), formed."""
        n, q, p, o = self.cotangents.shape
        found = list[tuple[Tensor, Tensor]]()
        if self.weight is not None:
            products = self.cotangents.transpose(2, 3).reshape(n, q * o, p) @ self.inputs
            found.append((self.weight, products.view(n, q, o, -1)))
        if self.bias is not None:
            found.append((self.bias, self.cotangents[:, :, : self.n_values].sum(2)))
        return found


@dataclass(frozen=True)
class FormedColumns:
    """Columns of parameters that enter elementwise: values (N, Q, …) for entries of θ."""

    values: Tensor
    index: Tensor
    label: str

    def columns(self) -> Columns:
        """As they are."""
        return DenseColumns(self.values.flatten(2), self.index.reshape(-1), self.label)

    def parts(self) -> list[tuple[Tensor, Tensor]]:
        """(entries of θ, columns for them (N, Q, …)), formed."""
        return [(self.index, self.values)]


Piece = LayerColumns | FormedColumns


def formed(pieces: list[Piece], n_params: int) -> DenseColumns:
    """All columns of D as one piece, (N, Q, K); those of parameters that are used several times are summed."""
    parts = [part for piece in pieces for part in piece.parts()]
    first = parts[0][1]
    rows = first.new_empty(*first.shape[:2], n_params)
    written = torch.zeros(n_params, dtype=torch.bool, device="cpu")
    for index, values in parts:
        is_turned = index.dim() == 2 and index.shape[1] > 1 and int(index[0, 1]) > int(index[0, 0]) + 1
        ordered, values = (index.T, values.transpose(-1, -2)) if is_turned else (index, values)
        entries = slice(int(ordered.reshape(-1)[0]), int(ordered.reshape(-1)[-1]) + 1)
        target = torch.unflatten(rows[:, :, entries], 2, ordered.shape or (1,))
        values = values.reshape(target.shape)
        target.add_(values) if bool(written[entries.start]) else target.copy_(values)
        written[entries] = True
    if not bool(written.all()):
        rows[:, :, ~written] = 0.0
    return DenseColumns(rows, torch.arange(n_params, device=first.device), "fields")
