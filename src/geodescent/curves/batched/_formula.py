"""One formula at the parameters of many data sets: values, derivatives, parameters that enter linearly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import vmap

from geodescent._errors import InputError
from geodescent.outputs import value_and_derivative

STRAIGHT = 1e-11
"""Share of the values: a formula that differs from its tangent by less is linear in the parameters that were moved."""
PROBE_MOVES = (
    1.0,
    -0.7,
    3.0,
)  # Factors on a random move of about the parameters' own size: where the tangent is compared.
COMPARED_SETS = 4  # Data sets at whose starts the tangent is compared.


@dataclass(frozen=True)
class BatchedFormula:
    """`f(x, θ₁, …, θ_K)` for one data set, called for all at once.

    Attributes:
        function: f, in operations of torch.
        x: (…, n) for all data sets, or (b, …, n) with one for each.
        shared: whether it is the first.
    """

    function: Callable[..., Tensor]
    x: Tensor
    shared: bool

    def __getitem__(self, rows: Tensor | slice) -> "BatchedFormula":
        return self if self.shared else replace(self, x=self.x[rows])

    def values(self, theta: Tensor) -> Tensor:
        """f (b, n) at θ (b, K)."""

        def single(x: Tensor, parameters: Tensor) -> Tensor:
            return self.function(x, *parameters.unbind())

        return vmap(single, in_dims=(None if self.shared else 0, 0))(self.x, theta)

    def columns(self, theta: Tensor, which: Sequence[int]) -> tuple[Tensor, Tensor]:
        """f (b, n), and its derivatives by some of the parameters, (len(which), b, n)."""
        if not which:
            values = self.values(theta)
            return values, values.new_zeros(0, *values.shape)
        directions = torch.eye(theta.shape[1], dtype=theta.dtype, device=theta.device)[list(which)]

        def along(direction: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_derivative(self.values, (theta,), (direction.expand_as(theta),))

        values, derivatives = vmap(along)(directions)
        return values[0], derivatives

    def check(self, theta: Tensor) -> None:
        """Raises InputError unless f takes these parameters and returns one real number a point, in torch."""
        points = self.x.shape[-1]
        try:
            values, _ = self[:1].columns(theta[:1], range(theta.shape[1]))
        except Exception as error:
            raise InputError(
                f"f cannot be called and differentiated for all data sets at once: {type(error).__name__}: {error}. "
                "Write it for one data set, f(x, a, b, ...) with x as in xdata and numbers a, b, in operations of "
                "torch (torch.exp, torch.where), without if, float() or .item() of its arguments."
            ) from error
        if values.shape != (1, points):
            raise InputError(
                f"f returns a tensor of shape {tuple(values.shape[1:])} for a data set of {points} points, not "
                f"({points},). A constant c is written c + torch.zeros_like(x); of several predictors x has (k, n)."
            )
        if values.dtype != torch.float64:
            raise InputError(
                f"f returns {values.dtype}, but x and the parameters are torch.float64: what else f uses must be so "
                "too, tensor.double()."
            )


def linear_parameters(formula: BatchedFormula, theta: Tensor) -> tuple[int, ...]:
    """The parameters that f is linear in, all together, as far as a few random moves tell."""
    draw = torch.Generator().manual_seed(0)

    def random(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=draw, dtype=like.dtype, device="cpu").to(like.device)

    formula, theta = formula[:COMPARED_SETS], theta[:COMPARED_SETS]
    theta = torch.where(theta != 0.0, theta * (1.0 + 0.1 * random(theta)), 0.1 * random(theta))
    values, columns = formula.columns(theta, range(theta.shape[1]))
    found: list[int] = []
    for j in range(theta.shape[1]):
        together = torch.zeros_like(theta)
        together[:, [*found, j]] = 1.0
        move = together * theta * (1.0 + random(theta).abs())
        tangent = torch.einsum("kbn,bk->bn", columns, move)
        size = values.abs() + (columns.abs() * move.T[:, :, None].abs()).sum(0)
        bent = [
            ((formula.values(theta + far * move) - values - far * tangent).abs() <= STRAIGHT * (1.0 + abs(far)) * size)
            for far in PROBE_MOVES
        ]
        if columns[j].any() and all(bool(straight.all()) for straight in bent):
            found.append(j)
    return tuple(found)
