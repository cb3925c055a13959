"""Along the zero-cost manifold: the second objective falls, the cost stays at zero (THEORY 5.6)."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import RefineResult, combined_flow, refine, squared_norm


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fitted(width: int = 20) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network at zero cost with room to move."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2)).double()
    X, y = normal(8, 2), normal(8, 2, seed=1)
    gd.fit(model, X, y, target_cost=1e-24)
    return model, X, y


def cost(model: nn.Module, X: Tensor, y: Tensor) -> float:
    return float((model(X).detach() - y).square().sum()) / (2.0 * len(X))


@pytest.mark.slow
def test_5_6_the_norm_falls_at_zero_cost_to_where_its_gradient_is_horizontal() -> None:
    """At the end θ lies in range(Dᵀ): the condition of least norm."""
    model, X, y = fitted()
    before = squared_norm(model).item()
    outputs = gd.SampleMap(model, X)
    d = outputs.linearise()[1].dense()
    steepness = outputs.theta - torch.linalg.pinv(d) @ (d @ outputs.theta)
    path = refine(model, X, y, max_steps=400)
    assert path.points[1].vertical == pytest.approx(float(steepness.norm()), rel=1e-6)
    assert path.objective < 0.7 * before and path.objective == pytest.approx(squared_norm(model).item(), rel=1e-12)
    assert all(point.cost <= 1e-20 for point in path.points) and cost(model, X, y) <= 1e-20
    assert all(b.objective < a.objective for a, b in pairwise(path.points))
    outputs = gd.SampleMap(model, X)
    d = outputs.linearise()[1].dense()
    vertical = outputs.theta - torch.linalg.pinv(d) @ (d @ outputs.theta)
    assert float(vertical.norm()) < 0.02 * float(outputs.theta.norm())


@pytest.mark.slow
def test_5_6_an_objective_of_ones_own_falls_at_zero_cost() -> None:
    """The error on other data, of which the fit knew nothing."""
    model, X, y = fitted()
    there, wanted = normal(30, 2, seed=5), torch.zeros(30, 2, dtype=torch.float64)
    assert refine(model, X, y, max_seconds=0.0).result is RefineResult.max_seconds
    path = refine(model, X, y, objective=lambda m: (m(there) - wanted).square().mean(), max_steps=60)
    assert path.result is RefineResult.max_steps and len(path.points) == 61
    assert path.objective < 0.5 * path.points[0].objective and cost(model, X, y) <= 1e-20


def test_5_6_vertical_motion_leaves_the_outputs_to_first_order() -> None:
    """Halving a vertical step quarters what it moves the outputs by."""
    model, X, _ = fitted()
    outputs = gd.SampleMap(model, X)
    theta, (x0, jacobian) = outputs.theta, outputs.linearise()
    d = jacobian.dense()
    vertical = theta - torch.linalg.pinv(d) @ (d @ theta)
    moved = [float((outputs(theta - h * vertical) - x0).norm()) for h in (0.02, 0.01)]
    assert math.log2(moved[0] / moved[1]) == pytest.approx(2.0, abs=0.15)


def test_a_model_that_is_not_fitted_is_refused() -> None:
    model, X, y = fitted()
    with pytest.raises(gd.InputError, match="it is not on the zero-cost manifold"):
        refine(model, X, y + 1.0)


def test_after_an_exception_the_model_stands_at_a_point_of_zero_cost() -> None:
    model, X, y = fitted()
    calls = iter(range(100))

    def objective(m: nn.Module) -> Tensor:
        if next(calls) == 4:
            raise ValueError("enough")
        return squared_norm(m)

    with pytest.raises(ValueError, match="enough"):
        refine(model, X, y, objective=objective)
    assert cost(model, X, y) <= 1e-20


@pytest.mark.slow
def test_5_6_the_combined_flow_keeps_the_law_and_lowers_the_objective() -> None:
    """C₀e^{−2τ} whatever η; the larger it is, the smaller the norm at the same τ."""
    ends = []
    for strength in (0.0, 0.3, 1.0):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2)).double()
        path = combined_flow(model, normal(8, 2), normal(8, 2, seed=1), strength=strength, until=5.0)
        assert float(abs(path.cost / path.predicted_cost - 1.0).max()) < 1e-6
        assert path.objective[-1] == pytest.approx(squared_norm(model).item(), rel=1e-12)
        ends.append(float(path.objective[-1]))
    assert ends[0] > 1.1 * ends[1] > 1.1 * ends[2]


# --- whole problems ---------------------------------------------------------------------------------------------------


def two_blocks(model: nn.Module, X: Tensor, y: Tensor) -> gd.Problem:
    """Five weighted samples in one block, the other three in another of weight 3."""
    first = gd.RowBlock("first", gd.SampleMap(model, X[:5]), y[:5], weights=1.0 + normal(5, seed=2).abs())
    return gd.Problem((first, gd.RowBlock("second", gd.SampleMap(model, X[5:]), y[5:], weight=3.0)))


@pytest.mark.slow
def test_5_6_every_block_of_a_problem_stays_at_zero_cost() -> None:
    model, X, y = fitted()
    before = squared_norm(model).item()
    path = refine(two_blocks(model, X, y), max_steps=30)
    assert path.objective < 0.9 * before and path.objective == pytest.approx(squared_norm(model).item(), rel=1e-12)
    assert cost(model, X[:5], y[:5]) <= 1e-20 and cost(model, X[5:], y[5:]) <= 1e-20
    with pytest.raises(gd.InputError, match="it is not on the zero-cost manifold"):
        refine(two_blocks(model, X, torch.cat([y[:5], y[5:] + 1e-6])))


@pytest.mark.slow
def test_5_6_the_combined_flow_keeps_the_law_of_a_problem_of_blocks() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2)).double()
    X, y, weights = normal(8, 2), normal(8, 2, seed=1), 1.0 + normal(5, seed=2).abs()
    squares = (model(X).detach() - y).square().sum(1)
    cost0 = float((weights * squares[:5]).sum() / (2.0 * weights.sum()) + 3.0 * squares[5:].sum() / 6.0)
    path = combined_flow(two_blocks(model, X, y), strength=0.3, until=3.0)
    assert path.cost[0] == pytest.approx(cost0, rel=1e-12)
    assert float(abs(path.cost / path.predicted_cost - 1.0).max()) < 1e-6
    assert path.objective[-1] == pytest.approx(squared_norm(model).item(), rel=1e-12)


def test_5_6_a_problem_of_one_block_is_its_module_with_its_data() -> None:
    paths = []
    for whole in (False, True):
        model, X, y = fitted()
        arguments = (gd.Problem.of(model, X, y),) if whole else (model, X, y)
        paths.append([point.objective for point in refine(*arguments, max_steps=5).points])
    assert paths[0] == paths[1]


def test_an_objective_needs_a_module() -> None:
    theta = normal(3)
    block = gd.RowBlock("sum", gd.FunctionMap(lambda t: t.sum()[None], theta), theta.sum()[None])
    with pytest.raises(gd.InputError, match="an objective is of a module: the problem's first block has none"):
        refine(gd.Problem((block,)))
    with pytest.raises(gd.InputError, match="an objective is of a module"):
        combined_flow(gd.Problem((replace(block, target=block.target + 1.0),)), until=1.0)
    with pytest.raises(gd.InputError, match="η must not be negative"):
        combined_flow(*fitted(), strength=-1.0, until=1.0)


def test_the_norm_is_of_what_is_moved_and_what_is_frozen_stays() -> None:
    model, X, y = fitted()
    model[0].requires_grad_(False)
    still, theta = model[0].weight.clone(), gd.SampleMap(model, X).theta
    assert squared_norm(model).item() == pytest.approx(0.5 * float(theta.square().sum()), rel=1e-14)
    path = refine(model, X, y, max_steps=5)
    assert path.points[0].objective == pytest.approx(0.5 * float(theta.square().sum()), rel=1e-14)
    assert path.objective < path.points[0].objective and torch.equal(model[0].weight, still)
