"""Closures and models that take derivatives of a network by its inputs themselves, as equations written by hand do."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.steps import F64
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import geodescent as gd
from geodescent.outputs import ClosureMap
from geodescent.outputs.graph import columns_of_leaves, rows_by_products

Net = nn.Sequential
INSIDE, WALL = torch.rand(2, 12, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
WALL = WALL[:5]
SYSTEM = r"pde\.System\(net, \[pde\.Term\("


def net(n_outputs: int = 1) -> Net:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, n_outputs)).double()


class Diffusion(nn.Module):
    """A network and a coefficient."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.kappa = net(), nn.Parameter(torch.tensor(0.7, dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def by(u: Tensor, x: Tensor, k: int) -> Tensor:
    """∂u/∂x_k, with its graph."""
    return torch.autograd.grad(u.sum(), x, create_graph=True)[0][:, k]


def laplacian(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    u = model(x)
    return by(by(u, x, 0), x, 0) + by(by(u, x, 1), x, 1)


def with_walls(model: nn.Module, inside: Tensor = INSIDE, wall: Tensor = WALL) -> Tensor:
    return torch.cat([laplacian(model, inside), 10.0 * model(wall)[:, 0]])


def two_fields(model: nn.Module, inside: Tensor = INSIDE, wall: Tensor = WALL) -> Tensor:
    x = inside.clone().requires_grad_()
    u, v = model(x).unbind(1)
    return torch.stack([by(u, x, 0) + by(v, x, 1), u * by(u, x, 0) - by(by(v, x, 1), x, 1)], 1)


def periodic(model: nn.Module, inside: Tensor = INSIDE, wall: Tensor = WALL) -> Tensor:
    ends = torch.stack([inside, inside + inside.new_tensor([1.0, 0.0])])
    left, right = (end.clone().requires_grad_() for end in ends)
    return by(model(left), left, 0) - by(model(right), right, 0)


def unknown(model: Any, inside: Tensor = INSIDE, wall: Tensor = WALL) -> Tensor:
    x = inside.clone().requires_grad_()
    u = model(x)
    return by(u, x, 1) - model.kappa * by(by(u, x, 0), x, 0)


def fourth_order(model: nn.Module, inside: Tensor = INSIDE, wall: Tensor = WALL) -> Tensor:
    x = inside.clone().requires_grad_()
    u = model(x)
    for _ in range(4):
        u = by(u, x, 0)
    return u


def weights_on_the_left(model: Any, inside: Tensor = INSIDE, wall: Tensor = WALL) -> Tensor:
    x = inside.clone().requires_grad_()
    hidden = torch.sin(model[2].weight @ torch.tanh(model[0].weight @ x.T))
    u = (model[4].weight @ hidden)[0]
    return by(u, x, 0) + u


CLOSURES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor]]] = {
    "a Laplacian and walls": (net, with_walls),
    "two fields": (lambda: net(2), two_fields),
    "periodic": (net, periodic),
    "an unknown": (Diffusion, unknown),
    "order four": (net, fourth_order),
    "weights on the left": (net, weights_on_the_left),
}


def rows_of(outputs: Tensor, parameters: list[Tensor]) -> Tensor:
    """D, one row after the other."""
    rows = [torch.autograd.grad(e, parameters, retain_graph=True, allow_unused=True) for e in outputs.reshape(-1)]
    parts = [[torch.zeros_like(p) if g is None else g for g, p in zip(row, parameters, strict=True)] for row in rows]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in parts])


@pytest.mark.parametrize("name", CLOSURES)
def test_rows_by_products_are_autograds(name: str) -> None:
    make, residual = CLOSURES[name]
    model = make()
    outputs = residual(model)
    parameters = list(model.parameters())
    expected = rows_of(outputs, parameters)
    parts = rows_by_products(outputs if outputs.dim() == 2 else outputs[:, None], parameters)
    assert all(part is not None for part in parts)
    found = torch.cat([part for part in parts if part is not None], 2).flatten(0, 1)
    assert float((found - expected).norm()) <= 1e-13 * float(expected.norm())
    asked = ClosureMap.of(model, lambda: residual(model))
    assert float((asked.linearise()[1].dense() - expected).norm()) <= 1e-13 * float(expected.norm())


@pytest.mark.parametrize("name", CLOSURES)
def test_rows_by_products_are_right_in_float32(name: str) -> None:
    """And as many rows as are told from each other in two digits."""
    make, residual = CLOSURES[name]
    model = make()
    exact = residual(model)
    expected = rows_of(exact, list(model.parameters()))
    single = residual(model.float(), INSIDE.float(), WALL.float())
    parts = rows_by_products(single if single.dim() == 2 else single[:, None], list(model.parameters()))
    assert all(part is not None for part in parts)
    found = torch.cat([part for part in parts if part is not None], 2).flatten(0, 1).double()
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


class Counted(TorchFunctionMode):
    """Counts passes backwards."""

    passes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.passes += func is torch.autograd.grad
        return func(*args, **(kwargs or {}))


def test_a_linearisation_takes_few_passes_backwards() -> None:
    """As many for twelve points as for a hundred; row by row it would be one a row."""
    counts = []
    for n in (12, 100):
        model, points = net(), torch.rand(n, 2, dtype=F64)
        asked = ClosureMap.of(model, lambda model=model, points=points: laplacian(model, points))
        asked.linearise()
        with Counted() as counted:
            asked.linearise()
        counts.append(counted.passes)
    assert counts[0] == counts[1] <= 12


def by_forward_mode(model: nn.Module) -> Tensor:
    along = torch.zeros_like(INSIDE)
    along[:, 0] = 1.0

    def slope(x: Tensor) -> Tensor:
        return torch.func.jvp(model, (x,), (along,))[1]

    return torch.func.jvp(slope, (INSIDE,), (along,))[1] + model(INSIDE)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_what_products_do_not_reach_goes_by_columns() -> None:
    model = net()
    outputs = by_forward_mode(model)
    parameters = list(model.parameters())
    expected = rows_of(outputs, parameters)
    columns = columns_of_leaves(outputs, parameters)
    assert columns is not None
    assert float((columns[:, 0] - expected).norm()) <= 1e-13 * float(expected.norm())
    asked = ClosureMap.of(model, lambda: by_forward_mode(model))
    assert float((asked.linearise()[1].dense() - expected).norm()) <= 1e-12 * float(expected.norm())


def test_rows_that_mix_are_not_taken_for_products() -> None:
    """Each output depends on all points: no row of a product belongs to one output."""
    model = net()
    outputs = (laplacian(model, INSIDE) - laplacian(model, INSIDE).mean())[:, None]
    assert all(part is None for part in rows_by_products(outputs, [model[0].weight, model[2].weight]))
    expected = rows_of(outputs, list(model.parameters()))
    asked = ClosureMap.of(model, lambda: laplacian(model, INSIDE) - laplacian(model, INSIDE).mean())
    assert float((asked.linearise()[1].dense() - expected).norm()) <= 1e-12 * float(expected.norm())


# --- what is said ---------------------------------------------------------------------------------------------------


def test_the_first_step_says_that_a_system_is_faster(caplog: pytest.LogCaptureFixture) -> None:
    model = net()
    optimizer = gd.GeoDescent(model)
    with caplog.at_level(logging.INFO, logger="geodescent"):
        costs = [optimizer.step(lambda: with_walls(model)) for _ in range(4)]
    (note,) = optimizer.stats["notes"]
    assert [record.getMessage() for record in caplog.records if record.name == "geodescent"] == [note]
    assert "The closure takes derivatives" in note and "three to five times faster" in note and note.count(". ") == 0
    assert "pde.System(net, [pde.Term('heat', lambda u: u.t - u.xx, points)], coordinates=('t', 'x'))" in note
    assert costs[-1] < costs[0]


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_a_closure_by_columns_hears_of_a_hundred_times() -> None:
    model = net()
    optimizer = gd.GeoDescent(model)
    optimizer.step(lambda: by_forward_mode(model))
    (note,) = optimizer.stats["notes"]
    assert "about a hundred times faster" in note


@pytest.mark.parametrize("shared", [False, True])
def test_closures_that_do_not_differentiate_hear_nothing(shared: bool) -> None:
    model = net()
    optimizer = gd.GeoDescent(model)
    extra = 0.1 if shared else 0.0  # a weight that is used beside its layer
    optimizer.step(lambda: model(INSIDE) + extra * torch.sin(INSIDE @ model[0].weight.T).sum(1, keepdim=True))
    assert optimizer.stats["notes"] == []


# --- models that differentiate in their forward pass ----------------------------------------------------------------


class Equation(nn.Module):
    """The residual of an equation as a module."""

    def __init__(self, residual: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.residual = net(), residual

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(self.net, x)


def by_grad(model: nn.Module, x: Tensor) -> Tensor:
    with torch.enable_grad():
        return laplacian(model, x)[:, None]


def by_jvp(model: nn.Module, x: Tensor) -> Tensor:
    along = torch.zeros_like(x)
    along[:, 0] = 1.0
    return torch.func.jvp(lambda y: torch.func.jvp(model, (y,), (along,))[1], (x,), (along,))[1] + model(x)


def by_hessian(model: nn.Module, x: Tensor) -> Tensor:
    hessian = torch.func.vmap(torch.func.hessian(lambda point: model(point[None])[0, 0]))(x)
    return hessian.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)


def by_jacrev(model: nn.Module, x: Tensor) -> Tensor:
    return torch.func.vmap(torch.func.jacrev(lambda point: model(point[None])[0, 0]))(x)


MODELS = {"autograd.grad": by_grad, "nested jvp": by_jvp, "hessian": by_hessian, "jacrev": by_jacrev}


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
def test_models_that_differentiate_are_done_right(name: str) -> None:
    model = Equation(MODELS[name])
    asked = gd.SampleMap(model, INSIDE)
    outputs, jacobian = asked.linearise()
    expected = rows_of(model(INSIDE), list(model.parameters()))
    assert float((jacobian.dense() - expected).norm()) <= 1e-12 * float(expected.norm())
    assert torch.equal(outputs, asked(asked.theta)) and not asked(asked.theta).requires_grad
    theta, v = asked.theta, torch.randn(asked.n_params, dtype=F64)
    exact = asked.second_derivative(theta, v)

    def error(h: float) -> float:
        difference = (asked(theta + h * v) - 2.0 * asked(theta) + asked(theta - h * v)) / h**2
        return float((difference - exact).norm())

    assert 3.5 < error(2e-2) / error(1e-2) < 4.5
    assert "The model takes derivatives" in asked.notes[0]


def test_a_fit_of_such_a_model_says_so() -> None:
    solution = gd.fit(Equation(by_grad), INSIDE, torch.ones(12, 1, dtype=F64), max_steps=8)
    assert solution.cost < 1e-3
    assert any("pde.System(net" in note for note in solution.stats["notes"])


def test_a_model_that_records_no_graph_is_refused_with_the_way_out() -> None:
    model = Equation(lambda net, x: laplacian(net, x)[:, None])
    for door in (lambda: gd.SampleMap(model, INSIDE), lambda: gd.fit(model, INSIDE, INSIDE[:, :1], max_steps=1)):
        with pytest.raises(gd.InputError, match=SYSTEM):
            door()


def test_an_operation_that_can_be_differentiated_once_goes_by_rows() -> None:
    """No product explains the use of the weight, and no pass through a graph of Dᵀu exists."""
    model = net()
    outputs = torch.nn.functional.hardsigmoid(0.1 * (INSIDE[:, None, :] * model[0].weight).sum(2))
    assert columns_of_leaves(outputs, [model[0].weight]) is None
    asked = ClosureMap.of(model, lambda: outputs_of(model))
    expected = rows_of(outputs_of(model), list(model.parameters()))
    assert float((asked.linearise()[1].dense() - expected).norm()) <= 1e-12 * float(expected.norm())


def outputs_of(model: nn.Module) -> Tensor:
    return torch.nn.functional.hardsigmoid(0.1 * (INSIDE[:, None, :] * model[0].weight).sum(2))
