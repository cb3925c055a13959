"""The eigenvectors of the second moments of gradients, for the two sides of each layer's matrix."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Theta

LONGEST_SIDE = 1024  # Rows or columns: a longer side is not rotated, because that takes longer than the gradient.


@dataclass(frozen=True)
class Side:
    """One side of a layer's matrix.

    Attributes:
        begin, shape: where the layer's entries begin in the order of `Eigenbases`, and (o, d).
        is_left: whether the rows are meant, o of them.
        moment: where its square matrix stands among those of all sides.
    """

    begin: int
    shape: tuple[int, int]
    is_left: bool
    moment: slice

    @property
    def order(self) -> int:
        """Of the square matrix."""
        return self.shape[0 if self.is_left else 1]

    def layer(self, v: Tensor) -> Tensor:
        """The layer's entries of a vector as a matrix, (o, d): a view."""
        return v[self.begin : self.begin + self.shape[0] * self.shape[1]].view(self.shape)

    def square(self, squares: Tensor) -> Tensor:
        """The side's own matrix of all, a view."""
        return squares[self.moment].view(self.order, self.order)


@dataclass(frozen=True)
class Eigenbases:
    """Which entries of θ are the matrices of layers, and the sides of these that are rotated.

    The moments `Σ GGᵀ` and `Σ GᵀG` of all sides are one vector, as are their eigenvectors; so they are saved with a
    run as vectors like θ are.

    Attributes:
        entries: of θ, (K,): those of the layers first, one after the other, and then all others.
        sides: of the layers.
        size: of the vector of moments.
    """

    entries: Tensor
    sides: tuple[Side, ...]
    size: int

    @classmethod
    def of(cls, layers: list[Tensor], n_params: int) -> "Eigenbases":
        """Of the places of the layers' entries in θ, each (o, d)."""
        sides, begin, size = list[Side](), 0, 0
        for index in layers:
            o, d = index.shape
            for is_left, order in ((True, o), (False, d)):
                if 1 < order <= LONGEST_SIDE:
                    sides.append(Side(begin, (o, d), is_left, slice(size, size + order * order)))
                    size += order * order
            begin += o * d
        device = layers[0].device if layers else torch.device("cpu")
        inside = torch.zeros(n_params, dtype=torch.bool, device=device)
        flat = [index.reshape(-1) for index in layers]
        for index in flat:
            inside[index] = True
        return cls(torch.cat([*flat, (~inside).nonzero()[:, 0]]), tuple(sides), size)

    @property
    def flops(self) -> float:
        """Of a step: the moments of a gradient, its rotation, and that of the step back."""
        return sum(6.0 * side.shape[0] * side.shape[1] * side.order for side in self.sides)

    def moments(self, gradient: Tensor) -> Tensor:
        """`GGᵀ` and `GᵀG` of a gradient in this order."""
        out = gradient.new_empty(self.size)
        for side, layer, square in self._with(gradient, out):
            torch.mm(layer, layer.mT, out=square) if side.is_left else torch.mm(layer.mT, layer, out=square)
        return out

    def first(self, moments: Tensor) -> Tensor:
        """The eigenvectors of all moments."""
        out = torch.empty_like(moments)
        for side in self.sides:
            side.square(out).copy_(torch.linalg.eigh(side.square(moments))[1].flip(1))
        return out

    def following(self, moments: Tensor, bases: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Nearly the eigenvectors of moments that changed a little, by one step of orthogonal iteration.

        Args:
            bases: the last ones.
            squares: second moments of rotated gradients, (K,), which are given the new order of the eigenvectors.
        """
        bases, squares = bases.clone(), squares.clone()
        for side, layer, basis in self._with(squares, bases):
            moment = side.square(moments)
            image = moment @ basis
            order = (basis * image).sum(0).argsort(descending=True)
            basis.copy_(torch.linalg.qr(image[:, order])[0])
            layer.copy_(layer[order] if side.is_left else layer[:, order])
        return bases, squares

    def rotated(self, v: Tensor, bases: Tensor, *, back: bool = False) -> Tensor:
        """`QᵀVP` of each layer's V, in this order; back, `QVPᵀ`."""
        v = v.clone()
        for side, layer, basis in self._with(v, bases):
            basis = basis if side.is_left == back else basis.mT
            layer.copy_(basis @ layer if side.is_left else layer @ basis)
        return v

    def ordered(self, theta: Theta) -> Tensor:
        """A vector like θ in this order."""
        return theta[self.entries]

    def as_theta(self, v: Tensor) -> Theta:
        """The inverse of `ordered`."""
        return torch.empty_like(v).index_copy_(0, self.entries, v)

    def _with(self, v: Tensor, squares: Tensor) -> Iterator[tuple[Side, Tensor, Tensor]]:
        return ((side, side.layer(v), side.square(squares)) for side in self.sides)
