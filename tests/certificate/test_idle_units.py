"""Units that do not act on their own are named by layer and unit; all others are left in peace."""

import pytest
import torch
import torch.nn.functional as F
from support.causes import Functional, awake, causes_in, conv, made, mlp, normal
from torch import Tensor, nn

from geodescent import Problem
from geodescent.certificate import idle_units

# --- planted: units --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "shape", "layer", "units"), [
    (lambda: mlp(3, 60, 2, act=nn.ReLU), (50, 3), "0", [5]),
    (lambda: mlp(3, 60, 60, 2, act=nn.ReLU), (90, 3), "2", [0, 58]),
    (lambda: conv(nn.ReLU), (20, 1, 8, 8), "0", [4]),
    (lambda: made(Functional, F.relu), (60, 4), "second", [1, 2]),
    (lambda: nn.Sequential(nn.Linear(4, 30), nn.ReLU(inplace=True), nn.Linear(30, 2)).double(), (80, 4), "0", [9]),
])  # fmt: skip
def test_dead_units_are_named_by_layer_and_unit(build, shape, layer, units):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = awake(build())
    module = dict(model.named_modules())[layer]
    with torch.no_grad():
        module.bias[units] = -1e3
    causes = causes_in(model, normal(*shape), normal(shape[0], 2, seed=1))
    (cause,) = causes["dead_units"]
    assert cause.where == {"layer": layer, "units": units} and cause.cost == 0.25
    assert cause.parameters_lost == len(units) * (module.weight[0].numel() + 1)
    assert set(causes) == {"dead_units"}


@pytest.mark.parametrize(("build", "shape", "layer", "units", "shift"), [
    (lambda: mlp(3, 30, 2), (40, 3), "0", [7], 40.0),
    (lambda: mlp(3, 30, 30, 2, act=nn.Sigmoid), (40, 3), "2", [0, 1], -60.0),
    (lambda: conv(nn.Tanh), (20, 1, 8, 8), "0", [3], 30.0),
    (lambda: made(Functional, torch.tanh), (30, 4), "first", [11], 15.0),
    (lambda: mlp(3, 30, 2, act=nn.Hardtanh), (40, 3), "0", [2], 9.0),
])  # fmt: skip
def test_saturated_units_are_named_by_layer_and_unit(build, shape, layer, units, shift):
    model = build()
    with torch.no_grad():
        dict(model.named_modules())[layer].bias[units] = shift
    causes = causes_in(model, normal(*shape), normal(shape[0], 2, seed=1))
    (cause,) = causes["saturated_units"]
    assert cause.where == {"layer": layer, "units": units} and cause.cost == 0.25
    assert set(causes) == {"saturated_units"}


@pytest.mark.parametrize(("build", "shape", "layer", "pair", "sign"), [
    (lambda: mlp(3, 30, 2), (40, 3), "0", [4, 21], 1.0),
    (lambda: mlp(3, 30, 30, 2), (40, 3), "2", [0, 29], -1.0),
    (lambda: conv(), (20, 1, 8, 8), "0", [1, 5], 1.0),
    (lambda: made(Functional, F.silu), (30, 4), "second", [3, 4], 1.0),
    (lambda: mlp(3, 60, 2, act=nn.ReLU).float(), (50, 3), "0", [7, 8], 1.0),
])  # fmt: skip
def test_duplicate_units_are_named_by_layer_and_unit(build, shape, layer, pair, sign):
    model = build()
    module = dict(model.named_modules())[layer]
    with torch.no_grad():
        module.weight[pair[1]] = sign * module.weight[pair[0]]
        module.bias[pair[1]] = sign * module.bias[pair[0]]
    X = normal(*shape).to(module.weight.dtype)
    causes = causes_in(model, X, normal(shape[0], 2, seed=1).to(X.dtype))
    (cause,) = causes["duplicate_units"]
    assert cause.where == {"layer": layer, "units": pair[1:], "groups": [pair]} and cause.cost == 0.25
    assert set(causes) == {"duplicate_units"}


def test_a_unit_far_out_whose_slope_can_be_felt_is_not_saturated():
    """tanh' is 2e-4 at 5 and 2e-7 at 8.5."""
    model = mlp(3, 30, 2)
    with torch.no_grad():
        model[0].weight[[7, 9]] *= 1e-2
        model[0].bias[[7, 9]] = torch.tensor([5.0, 8.5], dtype=torch.float64)
    (cause,) = causes_in(model, normal(40, 3), normal(40, 2))["saturated_units"]
    assert cause.where["units"] == [9]


def test_units_that_are_the_same_on_the_first_samples_alone_are_no_duplicates():
    """Opposite on the others: both are as large, and which samples agree is all that tells them apart."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Tanh(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    X = normal(1500, 1).repeat(1, 2)
    X[1024:, 1] *= -1.0
    assert causes_in(model, X, normal(1500, 1))["too_few_parameters"]
    assert "duplicate_units" not in causes_in(model, X, normal(1500, 1))
    assert causes_in(model, X[:1024], normal(1024, 1))["duplicate_units"][0].where["groups"] == [[0, 1]]


def test_a_silenced_unit_that_fires_on_some_samples_alone_is_not_called_dead():
    """Behind a functional ReLU, on the first of two passes."""
    model = made(Functional, F.relu)
    with torch.no_grad():
        model.last.weight[:, 3] = 0.0
        model.second.weight[3], model.second.bias[3] = 0.0, 1.0
        model.first.weight[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
        model.first.bias[0] = 0.0
        model.second.weight[3, 0], model.second.bias[3] = 1.0, -1.0
    X = normal(1500, 4)
    X[:, 0] = -5.0
    X[:1024:2, 0] = 5.0
    causes = causes_in(model, X, normal(1500, 2))
    assert "dead_units" not in causes and causes["unheard_units"][0].where["units"] == [3]


def test_opposite_relu_units_are_no_duplicates():
    model = mlp(3, 60, 2, act=nn.ReLU)
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = -model[0].weight[0].clone(), -model[0].bias[0]
    assert causes_in(model, normal(50, 3), normal(50, 2)) == {}


def test_units_are_seen_over_all_chunks_of_samples():
    model = mlp(3, 40, 2, act=nn.ReLU)
    with torch.no_grad():
        model[0].weight[6], model[0].bias[6] = torch.tensor([1.0, 0.0, 0.0]), -50.0
        model[0].weight[9], model[0].bias[9] = model[0].weight[8], model[0].bias[8]
    X = normal(2500, 3)
    maps = [Problem.of(model, X, normal(2500, 2)).blocks[0].map]
    assert [(u.kind, u.units) for u in idle_units(maps, maps[0].theta)] == [
        ("dead_units", [6]),
        ("duplicate_units", [9]),
    ]
    X[2400, 0] = 99.0  # one sample wakes the unit
    assert [u.kind for u in idle_units([maps[0].on(X)], maps[0].theta)] == ["duplicate_units"]


@pytest.mark.parametrize(("sizes", "n"), [((3, 4, 2), 40), ((1, 1), 3), ((5, 6, 1), 50)])
def test_too_few_parameters_are_named(sizes, n):
    model = mlp(*sizes)
    k = sum(p.numel() for p in model.parameters())
    (cause,) = causes_in(model, normal(n, sizes[0]), normal(n, sizes[-1], seed=1), floor=0.125)["too_few_parameters"]
    assert cause.where == {"n_params": k, "n_residuals": n * sizes[-1]} and cause.cost == 0.125
    assert "zero cost is out of reach" in cause.sentence and "a least cost above zero" in cause.sentence


def test_rows_of_weight_zero_ask_for_no_parameters():
    model, weights = mlp(1, 1), torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    assert "too_few_parameters" in causes_in(model, normal(3, 1), normal(3, 1, seed=1))
    assert "too_few_parameters" not in causes_in(model, normal(3, 1), normal(3, 1, seed=1), weights)


def test_the_model_is_left_without_hooks():
    model = mlp(3, 10, 2)
    causes_in(model, normal(10, 3), normal(10, 2))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# --- planted: units that nothing hears -------------------------------------------------------------------------------


def asleep(model: nn.Module, x: Tensor) -> dict[tuple[str, str], list[int]]:
    problem = Problem.of(model, x, normal(len(x), model(x).shape[1]))
    jacobian = problem.linearise(problem.theta)[1]
    return {(u.kind, u.layer): u.units for u in idle_units([problem.blocks[0].map], problem.theta, jacobian)}


def test_units_behind_zero_weights_are_unheard_and_nothing_else():
    model = mlp(3, 6, 2)
    with torch.no_grad():
        model[0].weight[4], model[0].bias[4] = model[0].weight[1], model[0].bias[1]
        model[2].weight[:, [1, 4]] = 0.0
    assert asleep(model, normal(9, 3)) == {("unheard_units", "0"): [1, 4]}


def test_faint_weights_are_heard():
    model = mlp(3, 4, 2)
    with torch.no_grad():
        model[2].weight[:, 2] *= 1e-12
    assert asleep(model, normal(9, 3)) == {}


def test_columns_that_add_up_to_zero_are_heard():
    layers = nn.Linear(1, 2, bias=False), nn.Softshrink(0.0), nn.Linear(2, 1, bias=False)
    model = nn.Sequential(*layers).double()
    assert ("unheard_units", "0") not in asleep(
        model, torch.tensor([[1.0], [-1.0], [2.0], [-2.0]], dtype=torch.float64)
    )


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_with_nothing_to_say_is_not_unheard(bias):
    model = mlp(3, 4, 5, 2, act=nn.ReLU)
    model[2] = nn.Linear(4, 5, bias=bias).double()
    with torch.no_grad():
        model[0].bias[:] = -1e3
    assert ("unheard_units", "2") not in asleep(model, normal(9, 3))
