"""Problems of PINA and DeepXDE as systems: the same rows as the system written by hand, also of their derivatives."""

import logging
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.foreign import (
    CartesianDomain,
    Condition,
    Data,
    Disk,
    Labelled,
    Measured,
    Residual,
    SlopesAlike,
    Union,
    grad,
    gradients,
    labelled,
    laplacian,
    pina_problem,
)
from torch import Tensor

import geodescent as gd
from geodescent import pde

F64 = torch.float64
SQUARE = CartesianDomain({"x": [-1, 1], "t": [0, 1]})
START = CartesianDomain({"x": [-1, 1], "t": 0.0})
WALLS = Union([CartesianDomain({"x": -1.0, "t": [0, 1]}), CartesianDomain({"x": 1.0, "t": [0, 1]})])


def assert_same_rows(ours: pde.System, theirs: pde.System) -> None:
    """Residual, D and second derivative of every term, at the θ of one network."""
    pairs = list(zip(ours.problem().blocks, theirs.problem().blocks, strict=True))
    assert len(pairs) == len(theirs.terms)
    for own, other in pairs:
        theta = other.map.theta
        v = torch.randn(len(theta), dtype=F64, generator=torch.Generator().manual_seed(2))
        (x, jacobian), (y, expected) = own.map.linearise(theta), other.map.linearise(theta)
        for found, right in (
            (x, y),
            (jacobian.dense(), expected.dense()),
            (own.map.second_derivative(theta, v), other.map.second_derivative(theta, v)),
            (own.map(theta), y),
        ):
            assert float((found - right).norm()) <= 1e-13 * float(right.norm()), own.name
        assert own.weight == other.weight
        assert torch.equal(own.target, other.target)


# --- PINA -----------------------------------------------------------------------------------------------------------


def burgers(points: Labelled, fields: Labelled) -> Tensor:
    u = fields.extract(["u"])
    slope, change = (grad(u, points, [name]).as_subclass(Tensor) for name in ("x", "t"))
    return change + u.as_subclass(Tensor) * slope - 0.01 * laplacian(u, points, ["x"])


def start(points: Labelled, fields: Labelled) -> Tensor:
    return (fields.extract(["u"]) + torch.sin(torch.pi * points.extract(["x"]))).as_subclass(Tensor)


def burgers_of_pina() -> Any:
    conditions = {
        "D": SimpleNamespace(domain="D", equation=Residual(burgers)),
        "t0": SimpleNamespace(domain="t0", equation=Residual(start)),
        "walls": SimpleNamespace(domain="walls", equation=Residual(lambda points, fields: fields - 0.0)),
    }
    return pina_problem(conditions, {"D": SQUARE, "t0": START, "walls": WALLS})


def test_a_problem_of_pina_has_the_rows_of_the_system() -> None:
    net = pde.mlp(2, [6, 5], 1)
    system = pde.from_pina(burgers_of_pina(), net, points=100)
    box = pde.Box(x=(-1.0, 1.0), t=(0.0, 1.0))
    left, right = (box.side(x=x).points(10).points for x in (-1.0, 1.0))
    by_hand = pde.System(
        net,
        [
            pde.Term("D", lambda u: u.t + u * u.x - 0.01 * u.xx, box.inside(100)),
            pde.Term("t0", lambda u, x: u + torch.sin(torch.pi * x), box.side(t=0.0).points(10)),
            pde.Term("walls", lambda u: u, torch.cat([left, right])),
        ],
        coordinates=("x", "t"),
    )
    assert_same_rows(system, by_hand)
    assert [len(block.map.points[0]) for block in system.problem().blocks] == [100, 10, 20]


def test_only_the_derivatives_that_an_equation_uses_are_computed() -> None:
    """And a residual on fresh points is that of the equation there."""
    system = pde.from_pina(burgers_of_pina(), points=100)
    inside, at_start, _ = (block.map for block in system.problem().blocks)
    assert set(inside.equation.streams.derivatives) == {(), (0,), (1,), (0, 0)}
    assert set(at_start.equation.streams.derivatives) == {()}
    fresh = inside.fresh(3)
    assert len(fresh.points[0]) == 100 and not torch.equal(fresh.points, inside.points)
    assert torch.isfinite(fresh(fresh.theta)).all()


def test_a_fit_of_a_problem_of_pina_solves_it() -> None:
    def oscillation(points: Labelled, fields: Labelled) -> Tensor:
        u = fields.extract(["u"])
        return laplacian(u, points, ["t"]) + 4.0 * u.as_subclass(Tensor)

    def at_rest(points: Labelled, fields: Labelled) -> Tensor:
        u = fields.extract(["u"])
        return torch.cat([u.as_subclass(Tensor) - 1.0, grad(u, points, ["t"]).as_subclass(Tensor)], 1)

    conditions = {
        "D": SimpleNamespace(domain=CartesianDomain({"t": [0, 2]}), equation=Residual(oscillation)),
        "t0": SimpleNamespace(domain=CartesianDomain({"t": 0.0}), equation=Residual(at_rest)),
    }
    problem = pina_problem(conditions, {}, input_variables=["t"])
    system = pde.from_pina(problem, pde.mlp(1, [8, 8], 1), points=40)
    gd.fit(system, max_steps=60, initialise=False)
    t = torch.linspace(0.0, 2.0, 50, dtype=F64)[:, None]
    assert float((system(t) - torch.cos(2.0 * t)).abs().max()) < 1e-5


def test_unknowns_targets_inputs_and_two_fields_are_read() -> None:
    where = torch.rand(7, 2)
    values = torch.rand(7, 2)

    def exchange(points: Labelled, fields: Labelled, unknowns: Any) -> Tensor:
        u, v = (fields.extract([name]) for name in ("u", "v"))
        first = grad(u, points, ["t"]).as_subclass(Tensor) - unknowns["kappa"] * laplacian(v, points, ["x"])
        return torch.cat([first, (u * v).as_subclass(Tensor) - unknowns["kappa"]], 1)

    conditions = {
        "given": SimpleNamespace(input=labelled(where[:, [1, 0]], ["t", "x"]), equation=Residual(exchange, 3)),
        "data": SimpleNamespace(input=labelled(where, ["x", "t"]), target=labelled(values, ["u", "v"])),
    }
    kappa = torch.nn.Parameter(torch.tensor([0.3]))
    problem = pina_problem(conditions, {}, output_variables=["u", "v"], unknown_parameters={"kappa": kappa})
    net = pde.mlp(2, [5], 2)
    system = pde.from_pina(problem, net, weights={"given": 3.0})
    by_hand = pde.System(
        net,
        [
            pde.Term("given", lambda u, v, kappa: (u.t - kappa * v.xx, u * v - kappa), where.double(), weight=3.0),
            pde.Term("data", lambda u, v: (u, v), where.double(), target=values.double()),
        ],
        coordinates=("x", "t"),
        fields=("u", "v"),
        unknowns={"kappa": float(kappa.detach())},
    )
    assert_same_rows(system, by_hand)


def test_points_that_were_discretised_are_kept_and_other_domains_are_sampled() -> None:
    state = torch.get_rng_state()
    conditions = {
        "D": SimpleNamespace(domain="D", equation=Residual(lambda p, f: laplacian(f.extract(["u"]), p, ["x", "y"]))),
        "disk": SimpleNamespace(domain="disk", equation=Residual(lambda p, f: f - 1.0)),
    }
    given = labelled(torch.rand(5, 2, generator=torch.Generator().manual_seed(1)), ["x", "y"])
    domains = {"D": CartesianDomain({"x": [0, 1], "y": [0, 1]}), "disk": Disk()}
    problem = pina_problem(conditions, domains, input_variables=["x", "y"], discretised_domains={"D": given})
    system = pde.from_pina(problem, points={"D": 3, "disk": 50})
    inside, disk = (block.map.points[0] for block in system.problem().blocks)
    assert torch.equal(inside, given.as_subclass(Tensor).double())
    assert disk.shape == (50, 2) and float(disk.norm(dim=1).max()) < 1.0
    assert pde.from_pina(problem, points=30).problem().blocks[1].map.points.shape[1] == 30
    torch.set_rng_state(state)


def changed(**changes: Any) -> Any:
    problem = burgers_of_pina()
    problem.conditions = {**problem.conditions, **changes}
    return problem


@pytest.mark.parametrize(
    ("problem", "more", "sentence"),
    [
        (SimpleNamespace(conditions={}), {}, "without input_variables"),
        (changed(D=SimpleNamespace(domain="D")), {}, "condition 'D' has neither an equation nor a target"),
        (burgers_of_pina(), {"points": {"D": 10}}, "points says nothing of condition 't0'"),
        (burgers_of_pina(), {"weights": {"wall": 1.0}}, "weights names 'wall'"),
        (changed(D=SimpleNamespace(domain="D", equation=Residual(lambda p, f: p))), {}, "depends on no field"),
        (changed(D=SimpleNamespace(domain="D", equation=Residual(lambda p, f: f.extract(["v"])))), {}, "condition 'D'"),
        (changed(D=SimpleNamespace(domain=None, equation=Residual(lambda p, f: f))), {}, "cannot be sampled|no domain"),
    ],
)
def test_wrong_problems_of_pina_are_refused_in_words(problem: Any, more: Any, sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence) as caught:
        pde.from_pina(problem, **more)
    assert_told_once(caught.value)


# --- DeepXDE --------------------------------------------------------------------------------------------------------

INSIDE = np.random.default_rng(0).uniform((-1.0, 0.0), (1.0, 1.0), (30, 2))
AT_WALLS = np.stack([np.array([-1.0] * 5 + [1.0] * 5), np.tile(np.linspace(0.0, 1.0, 5), 2)], 1)
AT_START = np.stack([np.linspace(-1.0, 1.0, 9), np.zeros(9)], 1)


def burgers_of_deepxde(x: Tensor, y: Tensor) -> Tensor:
    change, slope = gradients.jacobian(y, x, i=0, j=1), gradients.jacobian(y, x, i=0, j=0)
    return change + y * slope - 0.01 * gradients.hessian(y, x, i=0, j=0)


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that the class of the data belongs to has gradients that can be cleared."""
    gradients.clear()
    monkeypatch.setitem(sys.modules, "deepxde_like", SimpleNamespace(gradients=gradients))
    monkeypatch.setattr(Data, "__module__", "deepxde_like.data")


def test_data_of_deepxde_have_the_rows_of_the_system() -> None:
    conditions = [
        (Condition(lambda X: 0.0 * X[:, :1]), AT_WALLS),
        (Condition(lambda X: -np.sin(np.pi * X[:, :1])), AT_START),
        (SlopesAlike(), AT_WALLS),
        (Measured(AT_START, 0.1 * AT_START[:, :1]), AT_START),
    ]
    net = pde.mlp(2, [6, 5], 1)
    system = pde.from_deepxde(Data(burgers_of_deepxde, conditions, INSIDE), net, weights={"condition 1": 7.0})
    inside, walls, at_start = (torch.as_tensor(points) for points in (INSIDE, AT_WALLS, AT_START))
    by_hand = pde.System(
        net,
        [
            pde.Term("equation", lambda u: u.t + u * u.x - 0.01 * u.xx, inside),
            pde.Term("condition 1", lambda u: u, walls, weight=7.0),
            pde.Term("condition 2", lambda u, x: u + torch.sin(torch.pi * x), at_start),
            pde.Term("condition 3", lambda u: u[0].x - u[1].x, (walls[:5], walls[5:])),
            pde.Term("condition 4", lambda u: u, at_start, target=0.1 * at_start[:, :1]),
        ],
        coordinates=("x", "t"),
    )
    assert_same_rows(system, by_hand)
    assert not gradients.kept and gradients.cleared > 5


def test_an_unknown_of_deepxde_is_found_in_the_equation() -> None:
    variable = torch.tensor(0.4, requires_grad=True)

    def diffusion(x: Tensor, y: Tensor) -> list[Tensor]:
        return [gradients.jacobian(y, x, i=0, j=1) - variable * gradients.hessian(y, x, i=0, j=0), y - variable**2]

    net = pde.mlp(2, [5], 1)
    system = pde.from_deepxde(Data(diffusion, [], INSIDE), net, unknowns={"kappa": variable})
    by_hand = pde.System(
        net,
        [pde.Term("equation", lambda u, kappa: (u.t - kappa * u.xx, u - kappa**2), torch.as_tensor(INSIDE))],
        coordinates=("x", "t"),
        unknowns={"kappa": float(variable.detach())},
    )
    assert_same_rows(system, by_hand)


def test_fresh_points_of_deepxde_leave_numpys_state_alone() -> None:
    system = pde.from_deepxde(Data(burgers_of_deepxde, [], INSIDE))
    before = np.random.get_state()[1].copy()
    first, again = (system.problem().blocks[0].map.fresh(4).points for _ in range(2))
    assert torch.equal(first, again) and first.shape == (1, 30, 2)
    assert np.array_equal(np.random.get_state()[1], before)


def test_values_in_float32_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="geodescent"):
        pde.from_deepxde(Data(burgers_of_deepxde, [], INSIDE.astype(np.float32)))
    assert "set_default_float('float64')" in caplog.text


@pytest.mark.parametrize(
    ("data", "more", "sentence"),
    [
        (SimpleNamespace(pde=None), {}, "without bcs"),
        (Data(burgers_of_deepxde, [], INSIDE), {"weights": {"walls": 1.0}}, "weights names 'walls': the terms are eq"),
        (Data(lambda x, y: x, [], INSIDE), {}, "term 'equation': .* depends on no field"),
        (Data(lambda x, y: y[:, 3], [], INSIDE), {}, "term 'equation': its equation fails, IndexError"),
    ],
)
def test_wrong_data_of_deepxde_are_refused_in_words(data: Any, more: Any, sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence) as caught:
        pde.from_deepxde(data, **more)
    assert_told_once(caught.value)


def assert_told_once(error: gd.InputError) -> None:
    """A traceback shows no second error but that of a line of the user's."""
    assert error.__suppress_context__ or error.__context__ is None
    assert not isinstance(error.__cause__, gd.InputError) and str(error).count("InputError") == 0


def test_the_bridges_import_neither_package() -> None:
    assert not {"pina", "deepxde"} & set(sys.modules)
