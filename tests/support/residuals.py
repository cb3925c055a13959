"""Residuals of equations as output maps, each with what torch.func knows of it."""

from collections.abc import Callable

import torch
from support.fields import Paired, by_func, coordinates, fields_of, perceptron
from support.maps import Case
from torch import Tensor, nn

from geodescent import pde

NAMES = ("t", "x")
Field = dict[tuple[int, ...], Tensor]
"""Derivatives of all fields at points, each (N, F)."""
SECOND = [(), (0,), (1,), (0, 1), (1, 1)]


def burgers(u, t, nu):
    return u.t + u * u.x - nu * u.xx + t * u.tx


def of_fields(u, v, kappa):
    return u.t - kappa * v.x * u, kappa**2 * v.xx + u


def case_of(
    dtype: torch.dtype,
    term: pde.Term | pde.Total,
    oracle: Callable[[Callable[[Tensor], Field], dict[str, Tensor]], Tensor],
    *,
    net: nn.Module | None = None,
    fields: tuple[str, ...] = ("u",),
    unknowns: dict[str, float] | None = None,
    beside: tuple[pde.Term, ...] = (),
) -> Case:
    """The map of a term, and its rows by torch.func.

    Args:
        oracle: derivatives of the fields as a function of points, and the unknowns → rows.
        beside: other terms of the system.
    """
    net = (perceptron(torch.tanh, n_fields=len(fields)) if net is None else net).to(dtype)
    system = pde.System(net, [term, *beside], coordinates=NAMES, fields=fields, unknowns=unknowns)
    block = system.problem().blocks[0]

    def function(theta: Tensor) -> Tensor:
        known = fields_of(system.module, theta)
        named = {name: theta[entry] for name, entry in system.problem().unknowns.items()}
        return oracle(lambda points: by_func(known, points, SECOND), named).reshape(block.map.shape)

    return Case(block.map, function, system.module)


def of_burgers(dtype: torch.dtype) -> Case:
    points = coordinates(5, dtype=dtype)

    def oracle(derivatives: Callable[[Tensor], Field], unknowns: dict[str, Tensor]) -> Tensor:
        u = {key: values[:, 0] for key, values in derivatives(points).items()}
        return u[0,] + u[()] * u[1,] - unknowns["nu"] * u[1, 1] + points[:, 0] * u[0, 1]

    return case_of(dtype, pde.Term("burgers", burgers, points), oracle, unknowns={"nu": 0.3})


def of_two_fields(dtype: torch.dtype) -> Case:
    points = coordinates(4, dtype=dtype)

    def oracle(derivatives: Callable[[Tensor], Field], unknowns: dict[str, Tensor]) -> Tensor:
        found, kappa = derivatives(points), unknowns["kappa"]
        u, v = ({key: values[:, k] for key, values in found.items()} for k in range(2))
        return torch.stack([u[0,] - kappa * v[1,] * u[()], kappa**2 * v[1, 1] + u[()]], 1)

    other = pde.Term("other", lambda u, other: u - other, points)
    known, two = {"other": 2.0, "kappa": 0.7}, pde.Term("two", of_fields, points)
    return case_of(dtype, two, oracle, fields=("u", "v"), unknowns=known, beside=(other,))


def of_pairs(dtype: torch.dtype) -> Case:
    left, right = coordinates(4, dtype=dtype), -coordinates(4, dtype=dtype)

    def oracle(derivatives: Callable[[Tensor], Field], unknowns: dict[str, Tensor]) -> Tensor:
        a, b = derivatives(left), derivatives(right)
        return torch.cat([a[()] - b[()] * left[:, 1:], a[1,] - b[1,]], 1)

    term = pde.Term("around", lambda u, x: (u[0] - u[1] * x[0], u[0].x - u[1].x), (left, right))
    return case_of(dtype, term, oracle)


def of_a_total(dtype: torch.dtype) -> Case:
    points = pde.Box(x=(-1.0, 0.5), t=(0.0, 2.0)).inside(12)
    swapped, weights = points.points[:, [1, 0]].to(dtype), points.weights.to(dtype)

    def oracle(derivatives: Callable[[Tensor], Field], unknowns: dict[str, Tensor]) -> Tensor:
        u = {key: values[:, 0] for key, values in derivatives(swapped).items()}
        return 3.0 * (weights * (u[()] ** 2 + unknowns["c"] * u[1, 1])).mean()

    term = pde.Total("norm", lambda u, c: u**2 + c * u.xx, points, 1.0)
    return case_of(dtype, term, oracle, unknowns={"c": 0.4})


def of_a_bilinear_layer(dtype: torch.dtype) -> Case:
    """No rule for streams: all by torch.func."""
    points = coordinates(4, dtype=dtype)

    def oracle(derivatives: Callable[[Tensor], Field], unknowns: dict[str, Tensor]) -> Tensor:
        u, v = ({key: values[:, k] for key, values in derivatives(points).items()} for k in range(2))
        return u[0,] * v[()] + v[1, 1]

    term = pde.Term("bilinear", lambda u, v: u.t * v + v.xx, points)
    return case_of(dtype, term, oracle, net=Paired(), fields=("u", "v"))
