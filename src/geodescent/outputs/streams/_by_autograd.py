"""The streams of any module's fields by `torch.func`: sample by sample, many at a time."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor
from torch.func import grad, vmap

from geodescent._budget import budget
from geodescent._errors import JacobianError
from geodescent._types import Theta
from geodescent.linalg import norm
from geodescent.outputs._autograd import random_rows
from geodescent.outputs._function import ModelFunction
from geodescent.outputs.streams._algebra import Streams
from geodescent.outputs.streams._columns_of_uses import FormedColumns, Piece, PointLayout

Function = Callable[[Tensor], Tensor]
FEW_POINTS = 4  # Points at which derivatives are compared with differences.
SAME_SLOPE = 1e-4  # Relative: central differences in float64 are good to 1e-7 and better.


@dataclass(frozen=True)
class StreamsByAutograd:
    """`θ ↦` streams of the fields at points, (S, P, N, F), by nested backward passes.

    Attributes: as of `StreamsByJets`, and

        bends: whether torch's second derivative along a line is right; else it is a difference of the first.
    """

    function: ModelFunction
    points: Tensor
    streams: Streams
    layout: PointLayout
    bends: bool = True

    def checked(self) -> "StreamsByAutograd":
        """Itself, with the second derivative along lines by differences where torch's is not right.

        Raises: JacobianError, where torch's first derivative is not right: of high order it is not for some layers.
        """
        points = self.points[:, : min(FEW_POINTS, self.points.shape[1])]
        few, theta = replace(self, points=points), self.function.theta
        direction = random_rows(theta.shape, theta)
        direction *= max(1.0, norm(theta)) / norm(direction)
        _, slope, bend = few.along_line(theta, direction)
        h = float(torch.finfo(theta.dtype).eps ** (1.0 / 3.0))
        ahead, behind = theta + h * direction, theta - h * direction
        off = _apart(slope, (few.values(ahead) - few.values(behind)) / (2.0 * h))
        if off > SAME_SLOPE:
            raise JacobianError(
                "torch's derivatives of the network, by coordinates and then by parameters, are off by "
                f"{off:.2g} of their size from differences: some layer has none of this order. Use linear layers and "
                "smooth elementwise functions."
            )
        slopes = [few.along_line(at, direction)[1] for at in (ahead, behind)]
        return replace(self, bends=_apart(bend, (slopes[0] - slopes[1]) / (2.0 * h)) <= SAME_SLOPE)

    def values(self, theta: Theta) -> Tensor:
        """Without a graph."""
        with torch.no_grad():
            return self.traced(theta)

    def traced(self, theta: Theta) -> Tensor:
        """With the graph that leads to θ."""
        found = self._at(theta, self.points.flatten(0, 1))
        return torch.unflatten(found, 1, self.points.shape[:2])

    def recorded(self, theta: Theta) -> "tuple[Tensor, RecordByAutograd]":
        """As leaves of a graph."""
        values = self.values(theta).detach().requires_grad_()
        return values, RecordByAutograd(self, theta.detach(), values)

    def along_line(self, theta: Theta, direction: Theta) -> tuple[Tensor, Tensor, Tensor]:
        """The streams and their first and second derivatives by s at θ + s·direction."""

        with torch.enable_grad():
            leaf = theta.detach().clone().requires_grad_()
            values = self.traced(leaf)
            first = _along(values, leaf, direction)
            second = _along(first, leaf, direction) if self.bends else self._difference(theta, direction)
        return values.detach(), first.detach(), second.detach()

    def _difference(self, theta: Theta, direction: Theta) -> Tensor:
        """The second derivative along a line by the central difference of the first."""
        h = float(torch.finfo(theta.dtype).eps ** (1.0 / 3.0)) * max(1.0, norm(theta)) / max(norm(direction), 1e-300)
        exact = replace(self, bends=True)
        slopes = [exact.along_line(at, direction)[1] for at in (theta + h * direction, theta - h * direction)]
        return (slopes[0] - slopes[1]) / (2.0 * h)

    def rows(self, theta: Theta, cotangents: Tensor) -> Tensor:
        """`Dᵀg` of single samples: cotangents (S, P, N, F) → (N, K)."""

        def inner(at: Theta, points: Tensor, g: Tensor) -> Tensor:
            return (self._at(at, points) * g).sum()

        chunk = max(1, budget().rows_numbers // (len(theta) * self.streams.n_points * 8))
        by_sample = vmap(grad(inner), (None, 1, 2), chunk_size=chunk)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # the notes say what is slow
            found: Tensor = by_sample(theta, self.points, cotangents)
        return found

    def _at(self, theta: Theta, points: Tensor) -> Tensor:
        """(n, d) → (S, n, F)."""
        views = self.function.views(theta)

        def fields(at: Tensor) -> Tensor:
            return self.function.standing_at(views, lambda: self.function.rows(at))

        n_fields = fields(points[:1]).shape[1]
        by_field = list[Tensor]()
        for k in range(n_fields):
            found = [_derived(fields, k, derivative)(points) for derivative in self.streams.derivatives]
            if self.streams.laplacian:
                found.append(torch.stack([_derived(fields, k, (i, i))(points) for i in self.streams.laplacian]).sum(0))
            by_field.append(torch.stack(found))
        return torch.stack(by_field, -1)


@dataclass(frozen=True)
class RecordByAutograd:
    """The streams at θ, of which cotangents are wanted."""

    source: StreamsByAutograd
    theta: Theta
    values: Tensor

    @property
    def nodes(self) -> list[Tensor]:
        """What cotangents are wanted of."""
        return [self.values]

    def pieces(self, gradients: list[Tensor]) -> list[Piece]:
        """The columns of D, from cotangents (Q, S, P, N, F)."""
        by_equation = torch.stack([self.source.rows(self.theta, g) for g in gradients[0]], 1)
        rows = by_equation.sum(0, keepdim=True) if self.source.layout.one_sample else by_equation
        every = torch.arange(len(self.theta), device=self.theta.device)
        return [FormedColumns(rows, every, "network")]


def _derived(fields: Function, field: int, derivative: tuple[int, ...]) -> Function:
    """The derivative of one field as a function of points; backwards, for not all operations have others nested."""

    return reduce(_slope, derivative, _column(fields, field))


def _column(fields: Function, k: int) -> Function:
    return lambda at: fields(at)[:, k]


def _slope(function: Function, k: int) -> Function:
    return lambda at: grad(lambda a: function(a).sum())(at)[:, k]


def _apart(ours: Tensor, differences: Tensor) -> float:
    """The largest relative distance of a stream."""
    size = differences.flatten(1).norm(dim=1)
    off = (ours - differences).flatten(1).norm(dim=1)
    return float((off / size.clamp_min(float(size.max()) * SAME_SLOPE + 1e-300)).max())


def _along(values: Tensor, leaf: Theta, direction: Theta) -> Tensor:
    """The derivative of values along the direction, with a graph: that of `gᵀD v` by g."""
    if not values.requires_grad:
        return torch.zeros_like(values)
    g = torch.zeros_like(values, requires_grad=True)
    (transposed,) = torch.autograd.grad((values * g).sum(), leaf, create_graph=True)
    if not transposed.requires_grad:
        return torch.zeros_like(values)
    (along,) = torch.autograd.grad((transposed * direction).sum(), g, create_graph=True, allow_unused=True)
    return torch.zeros_like(values) if along is None else along
