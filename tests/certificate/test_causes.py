"""Causes of rank loss: planted ones are named with kind, place and cost; clean problems are left in peace."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_wine
from torch import Tensor, nn

from geodescent.certificate import Cause, causes_of, units_of
from geodescent.problem import NEARLY, Problem
from geodescent.problem._alike import near_groups


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(model: nn.Module) -> nn.Module:
    """Every unit on, for some sample: torch's own start leaves a ReLU unit dead here and there."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.bias.abs_().mul_(0.1)
                module.weight[:, ::2].abs_()
    return model


def mlp(*sizes: int, act: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), act())]
        return awake(nn.Sequential(*layers[:-1]).double())


def conv(act: type[nn.Module] = nn.GELU, *, channels: int = 1, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 6, 3),
            act(),
            nn.Conv2d(6, 4, 3),
            nn.GroupNorm(2, 4),
            act(),
            nn.Flatten(),
            nn.Linear(64, 2),
        )
        return awake(net.double())


class Functional(nn.Module):
    """An MLP whose activations are functions, not modules."""

    def __init__(self, activation, width: int = 24) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 2)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.second(self.activation(self.first(x)))))


class Tokens(nn.Module):
    """An embedding model with integer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.first, self.last = nn.Embedding(11, 8), nn.Linear(8, 16), nn.Linear(16, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(self.embedding(tokens).mean(1))))


class Pair(nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 30), nn.SiLU(), nn.Linear(30, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(torch.cat([a, b], 1))


def made(build, *args, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return awake(build(*args).double())


def found(model, X, y, weights=None, floor: float | None = 0.25) -> dict[str, list[Cause]]:
    problem = Problem.of(model, X, y, weights=weights)
    _, jacobian = problem.linearise(problem.theta)
    by_kind: dict[str, list[Cause]] = {}
    for cause in causes_of(problem, problem.theta, jacobian=jacobian, floor=floor):
        by_kind.setdefault(cause.kind, []).append(cause)
    return by_kind


# --- clean: nothing is named -----------------------------------------------------------------------------------------


def digits(n: int) -> Tensor:
    X = torch.tensor(load_digits().data[:n] / 16.0)
    return X[:, X.std(0) > 0]


def wine() -> Tensor:
    X = torch.tensor(load_wine().data)
    return (X - X.mean(0)) / X.std(0)


CLEAN = {
    "tanh": lambda: (mlp(4, 30, 30, 2), normal(40, 4), 2),
    "relu": lambda: (mlp(3, 60, 2, act=nn.ReLU), normal(50, 3), 2),
    "gelu conv": lambda: (conv(), normal(20, 1, 8, 8), 2),
    "relu conv": lambda: (conv(nn.ReLU), normal(20, 1, 8, 8), 2),
    "digits": lambda: (mlp(digits(60).shape[1], 32, 3, act=nn.GELU), digits(60), 3),
    "wine": lambda: (mlp(13, 40, 1, act=nn.SiLU), wine(), 1),
    "functional tanh": lambda: (made(Functional, torch.tanh), normal(30, 4), 2),
    "functional relu": lambda: (made(Functional, F.relu), normal(60, 4), 2),
    "tokens": lambda: (made(Tokens), torch.randint(0, 11, (40, 5), generator=torch.Generator().manual_seed(1)), 1),
    "two inputs": lambda: (made(Pair), (normal(30, 2), normal(30, 3, seed=1)), 1),
    "linear": lambda: (mlp(12, 1), normal(9, 12), 1),
    "float32": lambda: (mlp(4, 30, 2).float(), normal(40, 4).float(), 2),
}


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_named_on_a_clean_problem(name):
    model, X, q = CLEAN[name]()
    n = len(X[0]) if isinstance(X, tuple) else len(X)
    dtype = next(model.parameters()).dtype
    assert found(model, X, normal(n, q, seed=2).to(dtype)) == {}


# --- planted: samples ------------------------------------------------------------------------------------------------


def brute_force_conflict(y: Tensor, groups: list[list[int]], w: Tensor) -> float:
    spread = 0.0
    for group in groups:
        mean = sum(w[i] * y[i] for i in group) / sum(w[i] for i in group)
        spread += sum(float(w[i] * ((y[i] - mean) ** 2).sum()) for i in group)
    return spread / (2.0 * float(w.sum()))


IDENTICAL = {
    "tanh": (lambda: mlp(4, 30, 2), (40, 4), [[3, 17]], None),
    "three of one": (lambda: mlp(4, 50, 2, act=nn.GELU), (40, 4), [[0, 8, 39], [5, 6]], None),
    "conv": (lambda: conv(), (20, 1, 8, 8), [[2, 11]], None),
    "weighted": (lambda: mlp(4, 30, 2), (40, 4), [[1, 2], [4, 9, 33]], "weights"),
    "linear": (lambda: mlp(60, 2), (20, 60), [[18, 19]], None),
}


@pytest.mark.parametrize("conflict", [True, False])
@pytest.mark.parametrize("name", IDENTICAL)
def test_identical_inputs_are_named_with_their_exact_cost(name, conflict):
    build, shape, groups, weighted = IDENTICAL[name]
    X, y = normal(*shape), normal(shape[0], 2, seed=1)
    for group in groups:
        X[group] = X[group[0]].clone()
        y[group] = y[group] if conflict else y[group[0]].clone()
    w = 0.5 + normal(shape[0], seed=3).abs() if weighted else torch.ones(shape[0], dtype=torch.float64)
    (cause,) = found(build(), X, y, w if weighted else None)["identical_inputs"]
    assert cause.where["groups"] == groups and cause.where["conflict"] == [conflict] * len(groups)
    assert cause.exact
    if conflict:
        assert cause.cost == pytest.approx(brute_force_conflict(y, groups, w), rel=1e-12)
    else:
        assert cause.cost == 0.0
    assert ("nothing can remove" in cause.sentence) == conflict


def test_identical_tokens_and_dicts_are_named():
    tokens = torch.randint(0, 11, (30, 6), generator=torch.Generator().manual_seed(1))
    tokens[4] = tokens[7]
    (cause,) = found(made(Tokens), tokens, normal(30, 1))["identical_inputs"]
    assert cause.where["groups"] == [[4, 7]]
    a, b = normal(30, 2), normal(30, 3, seed=1)
    a[5], b[5] = a[6], b[6]
    a[9] = a[8]  # half an input is no duplicate
    (cause,) = found(made(Pair), {"a": a, "b": b}, normal(30, 1))["identical_inputs"]
    assert cause.where["groups"] == [[5, 6]]


def test_a_sample_of_weight_zero_is_no_duplicate():
    X, w = normal(20, 4), torch.ones(20, dtype=torch.float64)
    X[3], w[3] = X[4], 0.0
    assert found(mlp(4, 30, 2), X, normal(20, 2), w) == {}


@pytest.mark.parametrize(("build", "shape", "distance"), [
    (lambda: mlp(4, 30, 2), (40, 4), 1e-8),
    (lambda: mlp(60, 20, 2, act=nn.SiLU), (30, 60), 1e-7),
    (lambda: conv(), (20, 1, 8, 8), 1e-10),
    (lambda: mlp(1, 50, 2, act=nn.GELU), (25, 1), 1e-9),
])  # fmt: skip
def test_nearly_identical_inputs_are_named(build, shape, distance):
    X, y = normal(*shape), normal(shape[0], 2, seed=1)
    X[7] = X[3] + distance * normal(*shape[1:], seed=2)
    causes = found(build(), X, y)
    (cause,) = causes["nearly_identical_inputs"]
    assert set(causes) == {"nearly_identical_inputs"}
    assert cause.where["groups"] == [[3, 7]] and cause.where["conflict"] == [True]
    ones = torch.ones(len(y), dtype=torch.float64)
    assert cause.cost == pytest.approx(brute_force_conflict(y, [[3, 7]], ones), rel=1e-12)


def test_near_groups_are_those_of_all_pairs():
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[150:] = points[:50] + NEARLY * (2.0 * torch.rand(50, 3, dtype=torch.float64) - 0.5)
    pairs = torch.nonzero((points[:, None] - points[None]).abs().amax(2).triu(1) + torch.eye(200).tril() <= NEARLY)
    expected = sorted([i, j] for i, j in pairs.tolist() if i < j)
    assert sorted(near_groups(points)) == expected and 0 < len(expected) < 50


# --- planted: columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "shape", "columns", "layer", "lost"), [
    (lambda: mlp(6, 30, 2), (40, 6), [2], "0", 30),
    (lambda: nn.Sequential(nn.Flatten(), *mlp(12, 20, 2, act=nn.ReLU)), (40, 3, 4), [0, 7], "1", 40),
    (lambda: conv(channels=3), (20, 3, 8, 8), [1], "0", 54),
    (lambda: made(Functional, F.silu), (30, 4), [3], "first", 24),
])  # fmt: skip
def test_constant_inputs_are_named_by_layer_and_column(build, shape, columns, layer, lost):
    X = normal(*shape)
    if len(shape) == 4:
        X[:, columns] = 0.7
    else:
        X.view(shape[0], -1)[:, columns] = torch.linspace(-1.0, 3.0, len(columns), dtype=torch.float64)
    causes = found(build(), X, normal(shape[0], 2, seed=1))
    (cause,) = causes["constant_inputs"]
    assert cause.where == {"layer": layer, "columns": columns}
    assert (cause.parameters_lost, cause.cost) == (lost, 0.25)


def test_constant_columns_of_a_table_behind_other_inputs_are_named():
    a, b = normal(30, 2), normal(30, 3, seed=1)
    b[:, 1] = 4.0
    (cause,) = found(made(Pair), (a, b), normal(30, 1))["constant_inputs"]
    assert cause.where == {"layer": "X", "columns": [1]}


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
    causes = found(model, normal(*shape), normal(shape[0], 2, seed=1))
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
    causes = found(model, normal(*shape), normal(shape[0], 2, seed=1))
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
    causes = found(model, X, normal(shape[0], 2, seed=1).to(X.dtype))
    (cause,) = causes["duplicate_units"]
    assert cause.where == {"layer": layer, "units": pair[1:], "groups": [pair]} and cause.cost == 0.25
    assert set(causes) == {"duplicate_units"}


def test_opposite_relu_units_are_no_duplicates():
    model = mlp(3, 60, 2, act=nn.ReLU)
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = -model[0].weight[0].clone(), -model[0].bias[0]
    assert found(model, normal(50, 3), normal(50, 2)) == {}


def test_units_are_seen_over_all_chunks_of_samples():
    model = mlp(3, 40, 2, act=nn.ReLU)
    with torch.no_grad():
        model[0].weight[6], model[0].bias[6] = torch.tensor([1.0, 0.0, 0.0]), -50.0
        model[0].weight[9], model[0].bias[9] = model[0].weight[8], model[0].bias[8]
    X = normal(2500, 3)
    maps = [Problem.of(model, X, normal(2500, 2)).blocks[0].map]
    assert [(u.kind, u.units) for u in units_of(maps, maps[0].theta)] == [("dead_units", [6]), ("duplicate_units", [9])]
    X[2400, 0] = 99.0  # one sample wakes the unit
    assert [u.kind for u in units_of([maps[0].on(X)], maps[0].theta)] == ["duplicate_units"]


@pytest.mark.parametrize(("sizes", "n"), [((3, 4, 2), 40), ((1, 1), 3), ((5, 6, 1), 50)])
def test_too_few_parameters_are_named(sizes, n):
    model = mlp(*sizes)
    k = sum(p.numel() for p in model.parameters())
    (cause,) = found(model, normal(n, sizes[0]), normal(n, sizes[-1], seed=1), floor=0.125)["too_few_parameters"]
    assert cause.where == {"n_params": k, "n_residuals": n * sizes[-1]} and cause.cost == 0.125
    assert f"Use at least {n * sizes[-1]} parameters" in cause.sentence


def test_the_model_is_left_without_hooks():
    model = mlp(3, 10, 2)
    found(model, normal(10, 3), normal(10, 2))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# --- planted: units that nothing hears -------------------------------------------------------------------------------


def asleep(model: nn.Module, x: Tensor) -> dict[tuple[str, str], list[int]]:
    problem = Problem.of(model, x, normal(len(x), model(x).shape[1]))
    jacobian = problem.linearise(problem.theta)[1]
    return {(u.kind, u.layer): u.units for u in units_of([problem.blocks[0].map], problem.theta, jacobian)}


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
