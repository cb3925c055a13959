"""The derivative of the outputs by what a layer returned: as numbers, or as the chain of layers in between."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.jacobian._room import require_room
from geodescent.linalg import sum_of_squares

COPY_OF_COTANGENTS = "a copy of the cotangents"
CHUNK = 2**18  # Numbers formed at once where only their sums are needed: 2 MB in float64, which fit the cache.


@dataclass(frozen=True)
class DenseCotangents:
    """`g = ∂outputs/∂(what the layer returned)`, `(N, Q, P, o)`: P positions (tokens, pixels) of each sample."""

    values: Tensor

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    @property
    def size(self) -> int:
        return self.values.shape[3]

    @property
    def unmade(self) -> int:
        """How many numbers `dense` computes."""
        return 0

    def samples(self, chunk: slice) -> "DenseCotangents":
        return DenseCotangents(self.values[chunk])

    def part(self, chunk: slice) -> "DenseCotangents":
        return DenseCotangents(self.values[..., chunk])

    def to(self, dtype: torch.dtype) -> "DenseCotangents":
        if dtype != self.values.dtype:
            require_room(self.values.numel(), self.values.new_empty(0, dtype=dtype), COPY_OF_COTANGENTS)
        return DenseCotangents(self.values.to(dtype))

    def dense(self) -> Tensor:
        return self.values

    def scaled(self, rows: Tensor) -> "DenseCotangents":
        """Each output of each sample times a number of its own, (N, Q)."""
        require_room(self.values.numel(), self.values, COPY_OF_COTANGENTS)
        return DenseCotangents(self.values * rows[:, :, None, None])

    def times(self, factor: Tensor) -> "DenseCotangents":
        require_room(self.values.numel(), self.values, COPY_OF_COTANGENTS)
        return DenseCotangents(self.values * factor)

    def mixed(self, matrix: Tensor) -> "DenseCotangents":
        """For other outputs, `Σ_q matrix[q, r] x_q`; the matrix is (Q, R) or (N, Q, R)."""
        n, q = self.shape[:2]
        require_room(self.values.numel() / q * matrix.shape[-1], self.values, COPY_OF_COTANGENTS)
        mixed = matrix.mT @ self.values.reshape(n, q, -1)
        return DenseCotangents(mixed.view(n, -1, *self.shape[2:]))

    def averaged(self) -> "DenseCotangents":
        """For one output whose G is the mean over the outputs: those of all outputs side by side, `(N, 1, P, Q·o)`."""
        n, q, p, o = self.shape
        require_room(self.values.numel() * (1 if p == 1 else 2), self.values, COPY_OF_COTANGENTS)
        return DenseCotangents(self.values.transpose(1, 2).reshape(n, 1, p, q * o) / q**0.5)

    def apply(self, moved: Tensor) -> Tensor:
        """`(N, P, o) → (N, Q)`: the change of the outputs for a change of what the layer returned."""
        return (moved.flatten(1)[:, None] @ self.values.flatten(2).transpose(1, 2))[:, 0]

    def collect(self, u: Tensor) -> Tensor:
        """`(N, Q) → (N, P, o)`: the transpose of `apply`."""
        n, q, p, o = self.shape
        flat = self.values.flatten(2)
        collected = u * flat[:, 0] if q == 1 else (u[:, None] @ flat)[:, 0]  # a product of one row a sample is slow
        return collected.view(n, p, o)

    def squares(self, inner: Tensor) -> Tensor:
        """`Σ_pp' inner[i,p,p'] g[i,q,p]·g[i,q,p']`, (N, Q), for a·a' of each sample's positions, (N, P, P)."""
        if self.shape[2] == 1:
            squares = sum_of_squares(self.values[:, :, 0], 2) * inner[:, 0]
            return squares
        return ((self.values @ self.values.transpose(2, 3)) * inner[:, None]).sum((2, 3))

    def coupled(self, inner: Tensor) -> Tensor:
        """`Σ_ipp' inner[i,p,p'] g[i,q,p]·g[i,r,p']`, (Q, Q)."""
        weighted = torch.einsum("npt,nqto->nqpo", inner, self.values)
        return self.values.transpose(0, 1).flatten(1) @ weighted.transpose(0, 1).flatten(1).T

    def moment(self) -> Tensor:
        """`Σ g gᵀ` over samples, outputs and positions, (o, o)."""
        rows = self.values.flatten(0, 2)
        return rows.T @ rows


@dataclass(frozen=True)
class ChainedCotangents:
    """`g[i] = W_k ∘ s_{k,i} ⋯ W_1 ∘ s_{1,i}`: through linear layers and the slopes of elementwise functions.

    The weights and slopes between the layer and the outputs are kept in place of g; the weights are the same for all
    samples. A product with g is a pass through this chain, and the N·Q·o numbers of g are formed only where needed.

    Attributes:
        weights: W_1, (o_1, o), to W_k, (Q, o_{k−1}), from the layer outwards; at least one.
        slopes: s_1, (N, o), to s_k, (N, o_{k−1}): derivatives of the elementwise functions before each weight.
    """

    weights: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.slopes[0]), len(self.weights[-1]), 1, self.size))

    @property
    def size(self) -> int:
        return self.weights[0].shape[1]

    @property
    def unmade(self) -> int:
        return self.shape.numel()

    def samples(self, chunk: slice) -> "ChainedCotangents":
        return ChainedCotangents(self.weights, tuple(s[chunk] for s in self.slopes))

    def part(self, chunk: slice) -> "ChainedCotangents":
        (first, *weights), (slope, *slopes) = self.weights, self.slopes
        return ChainedCotangents((first[:, chunk], *weights), (slope[:, chunk], *slopes))

    def to(self, dtype: torch.dtype) -> "ChainedCotangents":
        return ChainedCotangents(tuple(w.to(dtype) for w in self.weights), tuple(s.to(dtype) for s in self.slopes))

    def dense(self) -> Tensor:
        *inner, (weight, slope) = zip(self.weights, self.slopes, strict=True)
        widest = sorted(w.shape[1] for w in self.weights)[-2:]  # each product is made beside the one before
        require_room(len(slope) * len(weight) * sum(widest), weight, "the cotangents")
        g = weight * slope[:, None]
        for weight, slope in reversed(inner):
            g = (g @ weight).mul_(slope[:, None])
        return g[:, :, None]

    def scaled(self, rows: Tensor) -> "Cotangents":
        if bool((rows == rows[:, :1]).all()):  # weights of samples, the same for all of their outputs
            return ChainedCotangents(self.weights, (self.slopes[0] * rows[:, :1], *self.slopes[1:]))
        return DenseCotangents(self.dense()).scaled(rows)

    def times(self, factor: Tensor) -> "ChainedCotangents":
        return ChainedCotangents((*self.weights[:-1], self.weights[-1] * factor), self.slopes)

    def mixed(self, matrix: Tensor) -> "Cotangents":
        if matrix.dim() == 3:
            return DenseCotangents(self.dense()).mixed(matrix)
        return ChainedCotangents((*self.weights[:-1], matrix.T @ self.weights[-1]), self.slopes)

    def averaged(self) -> "Cotangents":
        if len(self.weights) > 1:
            return DenseCotangents(self.dense()).averaged()
        return ChainedCotangents((self.weights[0].square().mean(0, keepdim=True).sqrt(),), self.slopes)

    def apply(self, moved: Tensor) -> Tensor:
        out = moved[:, 0]
        for weight, slope in zip(self.weights, self.slopes, strict=True):
            out = (out * slope) @ weight.T
        return out

    def collect(self, u: Tensor) -> Tensor:
        for weight, slope in zip(reversed(self.weights), reversed(self.slopes), strict=True):
            u = (u @ weight).mul_(slope)
        return u[:, None]

    def squares(self, inner: Tensor) -> Tensor:
        if len(self.weights) > 1:
            return DenseCotangents(self.dense()).squares(inner)
        return (self.slopes[0].square() @ self.weights[0].square().T) * inner[:, 0]

    def coupled(self, inner: Tensor) -> Tensor:
        if len(self.weights) > 1:
            return DenseCotangents(self.dense()).coupled(inner)
        return (self.weights[0] * (inner[:, 0, 0] @ self.slopes[0].square())) @ self.weights[0].T

    def moment(self) -> Tensor:
        if len(self.weights) > 1:
            return DenseCotangents(self.dense()).moment()
        return (self.weights[0].T @ self.weights[0]) * (self.slopes[0].T @ self.slopes[0])


Cotangents = DenseCotangents | ChainedCotangents
