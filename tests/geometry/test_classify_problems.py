"""Kinds of points of problems of several blocks, and of output maps of one's own."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent.geometry import classify, critical_manifold

ONE = torch.ones(1, dtype=torch.float64)


def formula(
    name: str, f: Callable[[Tensor], Tensor], theta: Tensor, target: Tensor, weight: float = 1.0
) -> gd.RowBlock:
    return gd.RowBlock(name, gd.FunctionMap(f, theta), target, weight=weight)


def tug_of_war(theta: float) -> gd.Problem:
    """One row that wants θ = 0 and three of weight 3 that want θ = 1: `C = θ²/2 + 3(θ − 1)²/2`, least at ¾."""
    start, three = torch.tensor([theta], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    data = formula("data", lambda t: t, start, torch.zeros(1).double())
    return gd.Problem((data, formula("pull", lambda t: t.expand(3), start, three, weight=3.0)))


def test_the_blocks_of_a_problem_are_weighed_against_each_other() -> None:
    landscape = classify(tug_of_war(0.75))
    assert (landscape.kind, landscape.dimension, landscape.distance) == ("isolated", 0, 0.0)
    assert landscape.cost == pytest.approx(0.375, rel=1e-12)
    assert landscape.smallest_eigenvalue == pytest.approx(4.0, rel=1e-9)
    assert (landscape.n_residuals, landscape.n_params) == (4, 1)
    assert classify(tug_of_war(0.7503)).distance == pytest.approx(3e-4, rel=1e-6)
    away = classify(tug_of_war(0.5))
    slope, squares = 0.5 - 3.0 * 0.5, 0.5**2 + 3.0 * 0.5**2
    assert away.kind == "regular"
    assert away.gradient_ratio == pytest.approx(abs(slope) / (4.0 * squares) ** 0.5, rel=1e-9)


def test_a_walk_keeps_every_block_critical() -> None:
    """One row asks for ‖θ‖² = 2, one of weight 2 for ‖θ‖² = 1: the walk is along a circle between, at C > 0."""
    start = torch.tensor([0.6, 0.8], dtype=torch.float64) * (4.0 / 3.0) ** 0.5
    square = [formula("far", lambda t: t.square().sum()[None], start, 2.0 * ONE)]
    square += [formula("near", lambda t: t.square().sum()[None], start, ONE, weight=2.0)]
    path = critical_manifold(gd.Problem(tuple(square)), steps=10, step_size=0.02)
    assert len(path.theta) == 11 and path.length == pytest.approx(0.2 * (4.0 / 3.0) ** 0.5, rel=1e-2)
    assert torch.allclose(path.theta.square().sum(1), torch.tensor(4.0 / 3.0, dtype=torch.float64), rtol=1e-9)
    assert torch.allclose(path.cost, torch.tensor(1.0 / 3.0, dtype=torch.float64), rtol=1e-12)  # ½(⅔)² + 2·½(⅓)²


class OwnMap:
    """`x = (θ₁θ₂, θ₁, 1)` with D as a matrix or as two products, and no graph for autograd."""

    shape, dtype, device = (3,), torch.float64, torch.device("cpu")

    def __init__(self, theta: tuple[float, float], *, as_products: bool) -> None:
        self.theta, self.as_products = torch.tensor(theta, dtype=torch.float64), as_products

    def __call__(self, theta: Tensor) -> Tensor:
        return torch.stack([theta[0] * theta[1], theta[0], torch.ones_like(theta[0])])

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
        zero, one = torch.zeros_like(theta[0]), torch.ones_like(theta[0])
        d = torch.stack([torch.stack([theta[1], theta[0]]), torch.stack([one, zero]), torch.stack([zero, zero])])
        products = (lambda v: d @ v, lambda u: d.T @ u)
        return self(theta), gd.MatrixJacobian(products, shape=(3, 2)) if self.as_products else gd.MatrixJacobian(d)

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return torch.stack([2.0 * direction[0] * direction[1], *torch.zeros(2, dtype=torch.float64)])

    def write(self, theta: Tensor) -> None:
        self.theta = theta.clone()


@pytest.mark.parametrize("as_products", [False, True])
@pytest.mark.parametrize(
    ("theta", "target", "kind", "dimension", "smallest"),
    [
        ((0.0, 0.0), (0.0, 0.0, 0.0), "critical_submanifold", 1, 0.0),  # the line θ₁ = 0
        ((0.0, 0.0), (2.0, 0.0, 0.0), "strict_saddle", 0, (1.0 - 17.0**0.5) / 6.0),
        ((0.0, 0.3), (0.0, 0.0, 1.0), "zero_cost", 1, 0.0),
        ((0.1, 0.3), (0.0, 0.0, 1.0), "regular", None, None),
    ],
)
def test_a_map_of_ones_own_is_classified_by_differences_of_its_gradient(
    as_products: bool,
    theta: tuple[float, float],
    target: tuple[float, ...],
    kind: str,
    dimension: int | None,
    smallest: float | None,
) -> None:
    """`C = [(θ₁θ₂ − a)² + θ₁² + …]/6`: at the origin ∇²C = [[1, −a], [−a, 0]]/3."""
    block = gd.RowBlock("own", OwnMap(theta, as_products=as_products), torch.tensor(target, dtype=torch.float64))
    landscape = classify(gd.Problem((block,)))
    assert (landscape.kind, landscape.dimension) == (kind, dimension), str(landscape)
    assert landscape.smallest_eigenvalue == (None if smallest is None else pytest.approx(smallest, abs=1e-8))
