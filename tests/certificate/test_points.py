"""What kind of point a problem stands at, by known landscapes, autograd's Hessian and a descent to the last digit."""

import pytest
import torch
from support.causes import normal
from support.certified import PROBLEMS, function, row_factors, tanh_net
from torch import Tensor, nn

import geodescent as gd
from geodescent import Problem
from geodescent._budget import Budget, spending
from geodescent.certificate import certificate_of, forecast_floor
from geodescent.problem import gradient, hessian, hessian_extremes, rounding_floor

# --- kinds of points -------------------------------------------------------------------------------------------------


def product(t: Tensor) -> Tensor:
    return t[0] * t[1]


def test_zero_cost_with_the_nullity_of_its_manifold() -> None:
    c = certificate_of(function(product, (2.0, 0.5), (1.0,)), describe_point=True)
    assert (c.point.kind, c.point.nullity, c.point.saddle) == ("zero_cost", 1, False)


def test_the_origin_of_a_product_is_a_strict_saddle() -> None:
    c = certificate_of(function(product, (0.0, 0.0), (1.0,)), describe_point=True)
    assert (c.point.kind, c.point.rank, c.point.nullity, c.point.saddle) == ("critical", 0, 0, True)
    assert c.point.smallest_eigenvalue == pytest.approx(-1.0)
    assert (c.rank, c.sigma_min, c.guaranteed) == (0, None, False)


def test_a_local_minimum_of_an_underparametrised_model_is_no_saddle() -> None:
    X, y = normal(12, 2), normal(12, 1, seed=1)
    model = nn.Linear(2, 1).double()
    best = torch.linalg.lstsq(torch.cat([X, torch.ones(12, 1, dtype=torch.float64)], 1), y).solution[:, 0]
    with torch.no_grad():
        model.weight.copy_(best[None, :2]), model.bias.copy_(best[2:])
    c = certificate_of(Problem.of(model, X, y), describe_point=True)
    assert (c.point.kind, c.point.rank, c.point.nullity, c.point.saddle) == ("critical", 3, 0, False)
    assert c.floor == pytest.approx(c.cost, rel=1e-12)


def test_a_flat_direction_alone_makes_no_saddle() -> None:
    twice = function(lambda t: t.sum() * torch.ones(2).double(), (0.5, 0.5), (0.0, 2.0))
    point = certificate_of(twice, describe_point=True).point
    assert (point.kind, point.rank, point.nullity, point.saddle) == ("critical", 1, 1, False)


@pytest.mark.parametrize(("share", "kind"), [(1e-3, "moving"), (1e-5, "moving"), (1e-8, "critical")])
def test_a_point_is_critical_only_where_next_to_nothing_can_be_removed(share: float, kind: str) -> None:
    problem = function(lambda t: torch.stack([t[0], 0.0 * t[0]]), (0.0,), (share, 1.0))
    point = certificate_of(problem, describe_point=True).point
    assert point.kind == kind and point.gradient_ratio == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_start_is_still_moving(name: str) -> None:
    problem = PROBLEMS[name]()
    point = certificate_of(problem, describe_point=True).point
    assert point.kind == "moving" and point.saddle is None and point.gradient_ratio > 1e-3
    assert certificate_of(problem).point is None


def test_a_saddle_is_found_by_lanczos_too() -> None:
    with spending(Budget(hessian_order=0)):
        c = certificate_of(function(product, (0.0, 0.0), (1.0,)), describe_point=True)
        twice = function(lambda t: t.sum() * torch.ones(2).double(), (0.5, 0.5), (0.0, 2.0))
        flat = certificate_of(twice, describe_point=True)
    assert (c.point.saddle, c.point.nullity) == (True, None)
    assert (flat.point.kind, flat.point.saddle) == ("critical", None)


@pytest.mark.parametrize("name", ["wide", "weighted", "narrow"])
def test_hessian_is_that_of_autograd_and_lanczos_bounds_it(name: str) -> None:
    problem = PROBLEMS[name]()

    def cost(theta: Tensor) -> Tensor:
        block = problem.blocks[0]
        r = (block.map.traced(theta) - block.target).reshape(-1)
        return (r * row_factors(problem)).square().sum() / (2.0 * problem.n_samples)

    H, expected = hessian(problem, problem.theta), torch.autograd.functional.hessian(cost, problem.theta)
    assert torch.allclose(H, expected, rtol=1e-10, atol=1e-13)
    slope = torch.autograd.functional.jacobian(cost, problem.theta)
    assert torch.allclose(gradient(problem, problem.theta), slope, rtol=1e-10, atol=1e-13)
    values = torch.linalg.eigvalsh(expected)
    largest, smallest = hessian_extremes(problem, problem.theta)
    assert largest == pytest.approx(float(values[-1]), rel=1e-6) and smallest >= float(values[0]) - 1e-12


class Clamped(nn.Module):
    """Hardsigmoid, by operations that torch can differentiate any number of times."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x / 6.0 + 0.5, 0.0, 1.0)


def test_a_layer_that_can_be_differentiated_only_once_has_a_hessian() -> None:
    x, y = normal(7, 3), normal(7, 2)
    torch.manual_seed(0)
    ends = [nn.Linear(3, 3).double(), nn.Linear(3, 2).double()]
    once, twice = (gd.Problem.of(nn.Sequential(ends[0], m, ends[1]), x, y) for m in (nn.Hardsigmoid(), Clamped()))
    theta = once.theta
    assert torch.allclose(hessian(once, theta), hessian(twice, theta), atol=1e-8)
    assert hessian_extremes(once, theta) == pytest.approx(hessian_extremes(twice, theta), abs=1e-7)


def test_sparse_gradients_have_a_hessian() -> None:
    words, y = torch.tensor([[0, 1], [2, 1], [0, 3], [3, 3]]), normal(4, 2)
    dense, sparse = (nn.Sequential(nn.Embedding(4, 3, sparse=s), nn.Flatten(), nn.Tanh()) for s in (False, True))
    ends = nn.Linear(6, 2)
    sparse[0].weight = dense[0].weight
    problems = [gd.Problem.of(nn.Sequential(model, ends).double(), words, y) for model in (dense, sparse)]
    first, second = (hessian(problem, problem.theta) for problem in problems)
    assert torch.allclose(first, second, atol=1e-8)


# --- rounding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rounding_floor_is_where_descent_ends(dtype: torch.dtype, scale: float) -> None:
    """Gauss–Newton to the end: the best cost over the last steps is within a factor 10 of the estimate."""
    model = tanh_net(3, 40, 2)
    with torch.no_grad():
        model[-1].weight *= scale
        model[-1].bias *= scale
    X = normal(20, 3)
    y = (model(X).detach() + 0.05 * scale * normal(20, 2, seed=1)).to(dtype)
    problem = Problem.of(model.to(dtype), X.to(dtype), y)
    theta, costs = problem.theta, []
    for _ in range(25):
        costs.append(problem.cost(theta))
        residual, jacobian = problem.linearise(theta)
        theta = theta - (torch.linalg.pinv(jacobian.dense().double()) @ residual.double()).to(dtype)
    ends = sorted(costs[-15:])
    estimate = rounding_floor(problem, theta)
    assert ends[7] / 10.0 < estimate < ends[7] * 10.0, (ends, estimate)


def test_the_floor_is_forecast_where_a_fit_ends_before_it_begins() -> None:
    """Parameters grow on the way: the floor at the start is a hundredth of that at the end."""
    problem = Problem.of(tanh_net(3, 40, 2), normal(40, 3), normal(40, 2, seed=1))
    before, forecast = rounding_floor(problem, problem.theta), forecast_floor(problem, problem.theta)
    assert certificate_of(problem).rounding_floor == forecast
    assert certificate_of(problem, theta=problem.theta).rounding_floor == before
    solution = gd.fit(problem)
    after = rounding_floor(problem, solution.theta)
    assert before < 0.02 * after and 0.1 * after < forecast < 10.0 * after
    assert forecast_floor(problem, solution.theta) == pytest.approx(after)
