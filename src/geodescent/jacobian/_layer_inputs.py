"""The inputs of a layer: as numbers, or as indices where they are one-hot."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent.jacobian._room import require_room


@dataclass(frozen=True)
class DenseInputs:
    """Layer inputs a, `(N, P, d)`: P positions (tokens, pixels) of each sample."""

    values: Tensor

    @property
    def size(self) -> int:
        return self.values.shape[2]

    @property
    def positions(self) -> int:
        return self.values.shape[1]

    def samples(self, chunk: slice) -> "DenseInputs":
        return DenseInputs(self.values[chunk])

    def to(self, dtype: torch.dtype) -> "DenseInputs":
        if dtype != self.values.dtype:
            require_room(self.values.numel(), self.values.new_empty(0, dtype=dtype), "a copy of the inputs of a layer")
        return DenseInputs(self.values.to(dtype))

    def scaled(self, features: Tensor) -> "DenseInputs":
        """Each feature times a number of its own, (d,)."""
        require_room(self.values.numel(), self.values, "a copy of the inputs of a layer")
        return DenseInputs(self.values * features)

    def dense(self) -> Tensor:
        return self.values

    def inner(self, other: "LayerInputs", out: Tensor) -> Tensor:
        """`a · a'` of all pairs of positions, `(N·P, N'·P')`, written to `out`."""
        return torch.mm(self.values.flatten(0, 1), other.dense().flatten(0, 1).T, out=out)

    def inner_own(self) -> Tensor:
        """`a · a'` of the positions of each sample, `(N, P, P)`."""
        return self.values @ self.values.transpose(1, 2)

    def moment(self) -> Tensor:
        """`Σ a aᵀ` over samples and positions, (d, d)."""
        rows = self.values.flatten(0, 1)
        return rows.T @ rows

    def apply(self, matrix: Tensor) -> Tensor:
        """`(o, d) → (N, P, o)`: the matrix applied to every input."""
        return self.values @ matrix.T

    def collect(self, cotangents: Tensor) -> Tensor:
        """`(N, P, o) → (o, d)`: `Σ g aᵀ`."""
        return cotangents.flatten(0, 1).T @ self.values.flatten(0, 1)


@dataclass(frozen=True)
class IndexInputs:
    """One-hot layer inputs kept as indices `(N, P)` into d rows, as those of an embedding."""

    indices: Tensor
    size: int
    dtype: torch.dtype

    @property
    def positions(self) -> int:
        return self.indices.shape[1]

    def samples(self, chunk: slice) -> "IndexInputs":
        return replace(self, indices=self.indices[chunk])

    def to(self, dtype: torch.dtype) -> "IndexInputs":
        return replace(self, dtype=dtype)

    def dense(self) -> Tensor:
        ones = torch.ones((), dtype=self.dtype, device=self.indices.device)
        require_room(self.indices.numel() * self.size, ones, "one-hot inputs of an embedding")
        zeros = ones.new_zeros(*self.indices.shape, self.size)
        return zeros.scatter_(2, self.indices[:, :, None], ones.expand(*self.indices.shape, 1))

    def inner(self, other: "LayerInputs", out: Tensor) -> Tensor:
        if not isinstance(other, IndexInputs):
            return torch.mm(self.dense().flatten(0, 1), other.dense().flatten(0, 1).T, out=out)
        return out.copy_(self.indices.reshape(-1, 1) == other.indices.reshape(1, -1))

    def inner_own(self) -> Tensor:
        return (self.indices[:, :, None] == self.indices[:, None, :]).to(self.dtype)

    def apply(self, matrix: Tensor) -> Tensor:
        return matrix.T[self.indices]

    def collect(self, cotangents: Tensor) -> Tensor:
        out = cotangents.new_zeros(self.size, cotangents.shape[2])
        return out.index_add_(0, self.indices.reshape(-1), cotangents.flatten(0, 1)).T


LayerInputs = DenseInputs | IndexInputs
