"""An equation that takes derivatives by autograd, as one that is given them.

It is handed, in the place of a network's output, the Taylor polynomial of each field around each point,
`u + Σ_k ∂_k u h_k + ½ Σ_kl ∂_kl u h_k h_l + …` with h = x − x₀ = 0: what autograd finds as its derivatives by x are the
numbers that stand in it, and they lead back to the fields.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.outputs import MOST_ORDERS, Derivative
from geodescent.pde._hints import OF_TENSORS, first_sentence, hint_for

Residual = Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]
"""(points (N, d), fields (N, F), unknowns, each (N, 1)) → what is to vanish, (n, Q)."""
MADE_UP = 7919  # Seed: of the derivatives by which is found which of them an equation uses.
NETWORK = (20, 20, 20)  # Units: of the layers of the network, where none is passed.
Coefficients = dict[tuple[int, Derivative], Tensor]
"""(field, derivative) → its values at the points, (N,)."""


class ForeignEquation:
    """The equation of a term, from a residual of another package.

    Args:
        residual: what is to vanish; it takes derivatives of the fields by the points through autograd.
        coordinates, fields, unknowns: names; unknowns with their first values.
        points: (N, d), of the term.
        inputs: points that require grad → what the residual is given for them.

    Attributes:
        n_rows: of the residual at these points; fewer than N where an equation reads several points.

    Raises: InputError, where the residual cannot be computed or needs derivatives of too high an order.
    """

    def __init__(
        self,
        residual: Residual,
        coordinates: Sequence[str],
        fields: Sequence[str],
        unknowns: dict[str, float],
        points: Tensor,
        inputs: Callable[[Tensor], Tensor] = lambda points: points,
    ) -> None:
        self._residual, self._inputs = residual, inputs
        self._coordinates, self._fields, self._unknowns = tuple(coordinates), tuple(fields), tuple(unknowns)
        names = (*self._fields, *self._coordinates, *self._unknowns)
        self.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
        first = {name: points.new_full((len(points), 1), value) for name, value in unknowns.items()}
        self._wanted = self._used(points, first)

    def __call__(self, *arguments: Any) -> Tensor:
        """(n, Q), from fields with their derivatives, coordinates, and unknowns, each (N,)."""
        n_fields, n_coordinates = len(self._fields), len(self._coordinates)
        given = arguments[:n_fields], arguments[n_fields : n_fields + n_coordinates]
        fields, coordinates = ([_joined(part) for part in parts] for parts in given)
        points = torch.stack([torch.cat(parts) for parts in coordinates], 1)
        coefficients = {
            (k, derivative): torch.cat([_derivative(part, derivative, self._coordinates) for part in fields[k]])
            for k, derivative in self._wanted
        }
        pairs = zip(self._unknowns, arguments[n_fields + n_coordinates :], strict=True)
        times = len(coordinates[0])
        unknowns = {name: torch.cat([value] * times)[:, None] for name, value in pairs}
        rows = self._rows(points, coefficients, unknowns)
        return rows if torch.is_grad_enabled() else rows.detach()

    def _rows(self, points: Tensor, coefficients: Coefficients, unknowns: dict[str, Tensor]) -> Tensor:
        with torch.enable_grad():
            given = self._inputs(points.detach().clone().requires_grad_())
            h = given.as_subclass(Tensor) - points.detach()
            rows = self._residual(given, polynomials(coefficients, h, len(self._fields)), unknowns)
        rows = rows.as_subclass(Tensor)
        self.n_rows = len(rows)
        return rows if rows.dim() == 2 else rows[:, None]

    def _used(self, points: Tensor, unknowns: dict[str, Tensor]) -> tuple[tuple[int, Derivative], ...]:
        """The derivatives on which the residual depends, found with made-up ones up to the highest order."""
        generator = torch.Generator("cpu").manual_seed(MADE_UP)
        d = len(self._coordinates)
        every = [a for order in range(MOST_ORDERS + 1) for a in combinations_with_replacement(range(d), order)]
        shape = (len(self._fields) * len(every), len(points))
        made_up = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu").to(points) + 0.5
        leaves = [column.requires_grad_() for column in made_up.unbind(0)]
        keys = [(k, a) for k in range(len(self._fields)) for a in every]
        rows = self._rows(points, dict(zip(keys, leaves, strict=True)), unknowns)
        if not rows.requires_grad:
            raise InputError("the residual depends on no field: it has to be computed from the fields it is given.")
        along = (rows * (torch.rand(rows.shape, generator=generator, device="cpu").to(rows) + 0.5)).sum()
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(along, leaves, allow_unused=True)
        pairs = zip(keys, gradients, strict=True)
        used = tuple(key for key, g in pairs if g is not None and bool((g != 0.0).any()))
        if not used:
            raise InputError("the residual depends on no field: it has to be computed from the fields it is given.")
        return used


def failing(what: str, error: Exception) -> InputError:
    """The error of an equation, in words.

    Args:
        what: the term or the condition, by its name.
    """
    if isinstance(error, InputError):
        return InputError(f"{what}: {error}")
    text = f"{what}: its equation fails, {type(error).__name__}: {first_sentence(error)}."
    return InputError(f"{text}{hint_for(error, OF_TENSORS)}")


class FieldsThemselves:
    """The equation of a term with measured values of all fields."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in fields])

    def __call__(self, *fields: Any) -> tuple[Any, ...]:
        return fields


def polynomials(coefficients: Coefficients, h: Tensor, n_fields: int) -> Tensor:
    """`Σ_a ∂^a u h^a/a!`, (N, F); all derivatives by h exist, those that are not given as zeros.

    Args:
        h: (N, d), zero, with its graph.
    """
    open_end = 0.0 * h.sum(1) ** (MOST_ORDERS + 1)
    columns = [open_end] * n_fields
    for (k, derivative), value in coefficients.items():
        term = value
        for times, (axis, power) in enumerate(Counter(derivative).items()):
            factor = h[:, axis] if power == 1 else h[:, axis] ** power / math.factorial(power)
            term = value * factor if times == 0 else term * factor
        columns[k] = columns[k] + term
    return torch.stack(columns, 1)


def _joined(part: Any) -> tuple[Any, ...]:
    """What an equation is given for several points, also for one."""
    return part if isinstance(part, tuple) else (part,)


def _derivative(field: Any, derivative: Derivative, coordinates: tuple[str, ...]) -> Tensor:
    for k in derivative:
        field = getattr(field, coordinates[k])
    value: Tensor = field.value
    return value
