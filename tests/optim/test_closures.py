"""Closures of every kind: their Jacobian, its routes, and their second derivative."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.steps import F64, problem
from torch import Tensor, nn

import geodescent as gd
from geodescent.outputs import ClosureMap


class TimeFirst(nn.Module):
    """A layer that sees the samples on its second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(2, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(x.unflatten(1, (5, 2)).transpose(0, 1))).mean(0))


class Scaled(nn.Module):
    """A parameter that no rule accounts for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(10, 3), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.inner(x)) * self.scale


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv1d(1, 3, 4), nn.GroupNorm(3, 3), nn.Linear(21, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.norm(self.conv(x[:, None]))).flatten(1))


class Grid(nn.Module):
    """A layer that is called on points of its own, as many as there are samples in no way."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.grid = nn.Linear(10, 3), nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        points = torch.linspace(-1.0, 1.0, 7, dtype=x.dtype)[:, None]
        return torch.tanh(self.head(x)) @ torch.tanh(self.grid(points)).T


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 1))


def inner_derivative(model: nn.Module, x: Tensor) -> Tensor:
    """A differential equation's residual: it takes derivatives itself."""
    x = x.clone().requires_grad_(True)
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return slope.sum(1) - u[:, 0]


CLOSURES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], set[str]]] = {
    "plain": (small, lambda model, x: model(x), set()),
    "time first": (TimeFirst, lambda model, x: model(x), set()),
    "a free parameter": (Scaled, lambda model, x: model(x), {"scale"}),
    "convolution": (Conv, lambda model, x: model(x), set()),
    "twice": (small, lambda model, x: model(x) * model(2.0 * x), set()),
    "rows sample by sample": (small, lambda model, x: model(torch.stack([x, -x], 1).flatten(0, 1)).view(-1, 2), set()),
    "rows copy by copy": (small, lambda model, x: model(torch.cat([x, -x])).view(2, -1).T, {"0.weight", "2.weight"}),
    "neighbours": (
        small,
        lambda model, x: model(x) - model(x).roll(1, 0),
        {"0.weight", "0.bias", "2.weight"},
    ),
    "inner derivative": (small, inner_derivative, {"0.weight", "2.weight"}),
    "a layer on a grid": (Grid, lambda model, x: model(x), {"grid.weight", "grid.bias"}),
    "by hand": (small, lambda model, x: torch.sin(x @ model[0].weight.T) + 0.1 * model(x), {"0.weight"}),
}


@pytest.mark.parametrize("name", CLOSURES)
def test_the_jacobian_of_a_closure_is_autograds(name: str) -> None:
    """Row by row, as autograd gives it; the parameters whose guessed layout is wrong go through rows."""
    make, outputs, expected_rest = CLOSURES[name]
    torch.manual_seed(3)
    model, x = make().double(), torch.randn(6, 10, dtype=F64)
    asked = ClosureMap.of(model, lambda: outputs(model, x))
    values, jacobian = asked.linearise()
    parameters = list(model.parameters())
    own = outputs(model, x)
    rows = [torch.autograd.grad(e, parameters, retain_graph=True, allow_unused=True) for e in own.reshape(-1)]
    parts = [[torch.zeros_like(p) if g is None else g for g, p in zip(row, parameters, strict=True)] for row in rows]
    expected = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in parts])
    assert torch.allclose(values.reshape(-1), own.detach().reshape(-1), rtol=1e-14, atol=1e-14)
    assert torch.allclose(jacobian.dense(), expected, rtol=1e-11, atol=1e-12)
    by_rows = {part for route in jacobian.routes() for part in str(route["module"]).split(" + ")}
    by_rows &= {parameter for parameter, _ in model.named_parameters()}
    assert expected_rest <= by_rows
    assert expected_rest or not by_rows
    assert name != "a layer on a grid" or expected_rest == by_rows
    again = asked.linearise()[1]
    assert torch.allclose(again.dense(), expected, rtol=1e-11, atol=1e-12)
    assert again.routes() == jacobian.routes()


@pytest.mark.parametrize("name", CLOSURES)
def test_the_second_derivative_of_a_closure_is_a_second_difference(name: str) -> None:
    """By its rate: halving the length cuts the difference's own error four times."""
    make, outputs, _ = CLOSURES[name]
    torch.manual_seed(3)
    model, x = make().double(), torch.randn(6, 10, dtype=F64)
    asked = ClosureMap.of(model, lambda: outputs(model, x))
    theta, v = asked.theta, torch.randn(asked.n_params, dtype=F64)
    exact = asked.second_derivative(theta, v)

    def error(h: float) -> float:
        difference = (asked(theta + h * v) - 2.0 * asked(theta) + asked(theta - h * v)) / h**2
        return float((difference - exact).norm())

    assert 3.5 < error(2e-2) / error(1e-2) < 4.5


def test_the_second_derivative_is_that_of_the_sample_map() -> None:
    model, x, _ = problem()
    asked, sample_map = ClosureMap.of(model, lambda: model(x)), gd.SampleMap(model, x)
    v = torch.randn(asked.n_params, dtype=F64)
    ours, theirs = asked.second_derivative(asked.theta, v), sample_map.second_derivative(asked.theta, v)
    assert float((ours - theirs).abs().max()) <= 1e-13 * float(theirs.abs().max())


def test_what_others_write_into_the_parameters_is_seen() -> None:
    """The graph of the first call is of no use where a parameter was written since, though its values be the same."""
    model, x, _ = problem()
    asked, twin = (ClosureMap.of(model, lambda: model(x)) for _ in range(2))
    expected = twin.linearise()[1].dense()
    with torch.no_grad():
        model[2].weight.copy_(model[2].weight.clone())
    assert torch.equal(asked.linearise()[1].dense(), expected)
    asked = ClosureMap.of(model, lambda: model(x))
    model[2].weight.data.mul_(2.0)  # as old optimizers write: autograd does not see it
    values, jacobian = asked.linearise()
    assert torch.equal(values, model(x).detach())
    assert torch.equal(jacobian.dense()[:, :160], 2.0 * expected[:, :160])


class Once(torch.autograd.Function):
    """tanh, made to be differentiated once: autograd takes its derivative for a constant, without a word."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        value = torch.tanh(z)
        ctx.slope = (1.0 - value.square()).detach()
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.detach() * ctx.slope


def test_an_operation_of_one_derivative_gets_the_difference_instead() -> None:
    model, x, _ = problem()
    honest = ClosureMap.of(model, lambda: torch.tanh(model(x)))
    once = ClosureMap.of(model, lambda: Once.apply(model(x)))
    once.linearise()
    v = torch.randn(once.n_params, dtype=F64)
    ours, theirs = once.second_derivative(once.theta, v), honest.second_derivative(honest.theta, v)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_layer_on_a_vector_has_no_samples_whatever_its_length(n: int, code: int) -> None:
    """A hypernetwork whose code, or the weights that it makes, are as many numbers as there are samples."""

    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.make = nn.Parameter(torch.randn(code)), nn.Linear(code, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.make(self.code).view(2, 1)

    torch.manual_seed(0)
    one = Hyper().double()
    two = copy.deepcopy(one)
    x, y = torch.randn(n, 2, dtype=torch.float64), torch.randn(n, 1, dtype=torch.float64)
    first, second = gd.GeoDescent(one), gd.GeoDescent(two)
    for _ in range(2):
        assert second.step(lambda: (two(x), y)) == pytest.approx(first.step(x, y), rel=1e-6, abs=1e-12)
