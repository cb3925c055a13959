"""Causes of rank loss: planted ones are named with kind, place and cost; clean problems are left in peace."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_wine
from support.causes import Functional, Pair, Tokens, causes_in, conv, made, mlp, normal
from torch import Tensor, nn

import geodescent as gd
from geodescent.problem import NEARLY, near_groups

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
    assert causes_in(model, X, normal(n, q, seed=2).to(dtype)) == {}


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
    (cause,) = causes_in(build(), X, y, w if weighted else None)["identical_inputs"]
    assert cause.where["groups"] == groups and cause.where["conflict"] == [conflict] * len(groups)
    assert cause.exact
    if conflict:
        assert cause.cost == pytest.approx(brute_force_conflict(y, groups, w), rel=1e-12)
    else:
        assert cause.cost == 0.0
    assert ("nothing can remove" in cause.sentence) == conflict
    assert f"{sum(map(len, groups)) - len(groups)} too many" in cause.sentence


def test_identical_tokens_and_dicts_are_named():
    tokens = torch.randint(0, 11, (30, 6), generator=torch.Generator().manual_seed(1))
    tokens[4] = tokens[7]
    (cause,) = causes_in(made(Tokens), tokens, normal(30, 1))["identical_inputs"]
    assert cause.where["groups"] == [[4, 7]]
    a, b = normal(30, 2), normal(30, 3, seed=1)
    a[5], b[5] = a[6], b[6]
    a[9] = a[8]  # half an input is no duplicate
    (cause,) = causes_in(made(Pair), {"a": a, "b": b}, normal(30, 1))["identical_inputs"]
    assert cause.where["groups"] == [[5, 6]]


def test_a_sample_of_weight_zero_is_no_duplicate():
    X, w = normal(20, 4), torch.ones(20, dtype=torch.float64)
    X[3], w[3] = X[4], 0.0
    assert causes_in(mlp(4, 30, 2), X, normal(20, 2), w) == {}


@pytest.mark.parametrize(("build", "shape", "distance"), [
    (lambda: mlp(4, 30, 2), (40, 4), 1e-8),
    (lambda: mlp(60, 20, 2, act=nn.SiLU), (30, 60), 1e-7),
    (lambda: conv(), (20, 1, 8, 8), 1e-10),
    (lambda: mlp(1, 50, 2, act=nn.GELU), (25, 1), 1e-9),
])  # fmt: skip
def test_nearly_identical_inputs_are_named(build, shape, distance):
    X, y = normal(*shape), normal(shape[0], 2, seed=1)
    X[7] = X[3] + distance * normal(*shape[1:], seed=2)
    causes = causes_in(build(), X, y)
    (cause,) = causes["nearly_identical_inputs"]
    assert set(causes) == {"nearly_identical_inputs"}
    assert cause.where["groups"] == [[3, 7]] and cause.where["conflict"] == [True]
    ones = torch.ones(len(y), dtype=torch.float64)
    assert cause.cost == pytest.approx(brute_force_conflict(y, [[3, 7]], ones), rel=1e-12)


def test_identical_samples_count_once_among_the_nearly_identical():
    X = normal(40, 4)
    X[9] = X[3]
    X[21] = X[3] + 1e-9
    causes = causes_in(mlp(4, 30, 2), X, normal(40, 2, seed=1))
    assert causes["identical_inputs"][0].where["groups"] == [[3, 9]]
    assert causes["nearly_identical_inputs"][0].where["groups"] == [[3, 21]]


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
    causes = causes_in(build(), X, normal(shape[0], 2, seed=1))
    (cause,) = causes["constant_inputs"]
    assert cause.where == {"layer": layer, "columns": columns}
    assert (cause.parameters_lost, cause.cost) == (lost, 0.25)


def test_a_column_of_zeros_is_constant():
    X = normal(40, 6)
    X[:, 4] = 0.0
    (cause,) = causes_in(mlp(6, 30, 2), X, normal(40, 2, seed=1))["constant_inputs"]
    assert cause.where["columns"] == [4]


class Coded(nn.Module):
    """Its weights are made from a code, which a layer is called on as a single vector."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.code = nn.Linear(2, 4), nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.make(self.code).view(1, 4)


def test_a_layer_called_on_a_single_vector_has_no_columns_of_samples() -> None:
    """Also where the vector holds the numbers of the first two samples."""
    known = gd.certify(Coded().double(), torch.zeros(5, 1).double(), torch.ones(5, 4).double())
    assert known.n_residuals == 20


def test_constant_columns_of_a_table_behind_other_inputs_are_named():
    a, b = normal(30, 2), normal(30, 3, seed=1)
    b[:, 1] = 4.0
    (cause,) = causes_in(made(Pair), (a, b), normal(30, 1))["constant_inputs"]
    assert cause.where == {"layer": "X", "columns": [1]}
