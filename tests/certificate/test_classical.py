"""Few parameters and many rows: identifiable or not, by name, standard errors, and never a call for more parameters."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit
from support.causes import mlp, named_causes, normal
from torch import nn

import geodescent as gd
from geodescent import Problem, RowBlock
from geodescent._budget import Budget, spending
from geodescent.certificate import certificate_of

T = torch.linspace(0.1, 4.0, 60, dtype=torch.float64)
ONE = torch.ones((), dtype=torch.float64)
FORMULAS = {
    "product": (lambda p: p["a"] * p["b"] * torch.exp(-p["rate"] * T), {("a", "b")}),
    "sum": (lambda p: (p["a"] + p["b"]) * torch.exp(-p["rate"] * T), {("a", "b")}),
    "idle": (lambda p: p["a"] * torch.exp(-p["rate"] * T) + 0.0 * p["b"], {("b",)}),
    "three": (lambda p: (p["a"] + p["b"] + p["rate"]) * T, {("a", "b", "rate")}),
    "two pairs": (lambda p: (p["a"] + p["b"]) * T + p["c"] * p["d"] * T.sin(), {("a", "b"), ("c", "d")}),
    "ratio of tiny constants": (lambda p: p["a"] * 1e-9 / (p["b"] * 1e-9) * T + p["rate"], {("a", "b")}),
    "all told": (lambda p: p["a"] * torch.exp(-p["rate"] * T) + p["b"], set()),
}


def formula(name: str, values: dict[str, float] | None = None) -> gd.FunctionMap:
    f, _ = FORMULAS[name]
    names = ("a", "b", "c", "d") if name == "two pairs" else ("a", "b", "rate")
    return gd.FunctionMap(f, {n: ONE * (values or {}).get(n, 1.0 + 0.3 * i) for i, n in enumerate(names)})


@pytest.mark.parametrize("name", FORMULAS)
def test_parameters_that_cannot_be_told_apart_are_named(name: str) -> None:
    groups = FORMULAS[name][1]
    c = certificate_of(Problem.over(formula(name), normal(60)), describe_point=True)
    assert c.identifiable is not None and set(c.identifiable.confounded) == groups
    text = " ".join(str(c).split())
    for group in groups:
        said = f"{group[0]} has no effect on the outputs" if len(group) == 1 else "cannot be told apart"
        assert said in text and all(n in text for n in group)
    assert ("not identifiable" in text) == bool(groups)
    undetermined = set(itertools.chain(*groups))
    for parameter, error in zip(c.identifiable.names, c.identifiable.standard_errors, strict=True):
        assert (error is None) == (parameter in undetermined)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_nobody_is_told_to_use_more_parameters(name: str) -> None:
    problem = Problem.over(formula(name), normal(60))
    for c in (certificate_of(problem, describe_point=True), gd.fit(problem, max_steps=20).certificate):
        text = " ".join(str(c).split())
        assert "more parameters" not in text and "Use at least" not in text and "a classical fit" in text
        assert str(c).splitlines()[-1].startswith("  ") or "in short" in str(c).splitlines()[-1]
        assert c.meaning in text and c.advice in text


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e7])
@pytest.mark.parametrize("small", [False, True], ids=["by D", "by the normal matrix"])
def test_standard_errors_are_those_of_curve_fit(unit: float, small: bool) -> None:
    """Of a weighted fit, σ = 1/√w; in any units of a parameter."""
    y, w = 2.5 * torch.exp(-1.3 * T) + 0.4 + 0.02 * normal(60), 0.5 + normal(60, seed=1).abs()
    f = gd.FunctionMap(
        lambda p: p["a"] / unit * torch.exp(-p["rate"] * T) + p["b"], {"a": ONE * unit, "rate": ONE, "b": ONE}
    )
    problem = Problem((RowBlock("data", f, y, weights=w),))
    gd.fit(problem)
    with spending(Budget(spectrum_numbers=0.0 if small else 2e7)):
        known = certificate_of(problem, theta=f.theta, describe_point=True).identifiable
    x, sigma = T.numpy(), 1.0 / w.sqrt().numpy()
    popt, pcov = curve_fit(lambda t, a, k, b: a * np.exp(-k * t) + b, x, y.numpy(), p0=[1.0, 1.0, 1.0], sigma=sigma)
    scale = np.array([unit, 1.0, 1.0])
    assert known is not None and known.names == ("a", "rate", "b") and known.confounded == ()
    assert np.allclose(np.array(known.values) / scale, popt, rtol=1e-5)
    assert np.allclose(np.array(known.standard_errors) / scale, np.sqrt(np.diag(pcov)), rtol=1e-4)


def test_estimates_are_shown_where_the_fit_has_ended_and_not_before() -> None:
    y = 2.5 * torch.exp(-1.3 * T) + 0.4 + 0.02 * normal(60)
    problem = Problem.over(formula("all told"), y)
    before = str(gd.certify(problem))
    assert "estimates" not in before and "Go on with gd.fit" in before.split("in short")[1]
    text = str(gd.fit(problem).certificate)
    assert "estimates" in text and "±" in text and "standard errors" in text


def test_parameters_of_a_module_and_of_a_flat_theta_are_named_by_their_places() -> None:
    X = normal(40, 3)
    X[:, 2] = X[:, 1]
    (group,) = certificate_of(Problem.of(nn.Linear(3, 1).double(), X, normal(40))).identifiable.confounded
    assert group == ("weight[0, 1]", "weight[0, 2]")
    flat = gd.FunctionMap(lambda theta: (theta[0] + theta[2]) * T + theta[1], torch.ones(3, dtype=torch.float64))
    (group,) = certificate_of(Problem.over(flat, normal(60))).identifiable.confounded
    assert group == ("θ[0]", "θ[2]")


def test_other_regimes_say_nothing_of_it() -> None:
    many = certificate_of(Problem.of(mlp(3, 40, 1), normal(20, 3), normal(20, 1)))
    assert many.identifiable is None and "guaranteed" in str(many) and "in short" in str(many)
    large = certificate_of(Problem.of(mlp(4, 20, 1), normal(300, 4), normal(300, 1)))  # 121 parameters
    assert large.identifiable is None and "guaranteed" in str(large)
    weights = torch.zeros(60, dtype=torch.float64)
    weights[:3] = 1.0
    few_count = Problem((RowBlock("data", formula("all told"), normal(60), weights=weights),))
    assert certificate_of(few_count).identifiable is None  # three rows for three parameters


# --- conflicting samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 7])
def test_groups_that_conflict_are_named_up_to_five(n: int) -> None:
    X, y = normal(30, 4), normal(30, 1, seed=1)
    X[n : 2 * n] = X[:n]
    X[28], y[28] = X[29], y[29]  # a group without conflict is not among them
    (cause,) = named_causes(Problem.of(mlp(4, 60, 1), X, y))["identical_inputs"]
    named = "; ".join(f"{i}, {n + i}" for i in range(min(n, 5))) + ("; …" if n > 5 else "")
    assert f"in {n} of them ({named}) the targets differ" in cause.sentence and "28, 29" not in cause.sentence


def near_blocks(distance: float, labels: bool = False) -> Problem:
    """Sample 2 of the first block is sample 0 of the second but for a small distance."""
    X, Z = normal(6, 3), normal(5, 3, seed=7)
    Z[0] = X[2] + distance * normal(3, seed=9)
    model = mlp(3, 30, 1)
    target = normal(5, 1, seed=6)
    return Problem(
        (RowBlock("one", gd.SampleMap(model, X), normal(6, 1, seed=5)), RowBlock("two", gd.SampleMap(model, Z), target))
    )


@pytest.mark.parametrize("distance", [1e-8, 1e-10])
def test_nearly_identical_inputs_across_blocks_are_named(distance: float) -> None:
    problem = near_blocks(distance)
    (cause,) = named_causes(problem)["nearly_identical_inputs"]
    assert cause.where["groups"] == [[("one", 2), ("two", 0)]] and "('one' 2, 'two' 0)" in cause.sentence
    assert cause.cost is not None and cause.cost > 0.0 and math.isfinite(cause.cost)


def test_no_more_are_named_across_blocks_than_there_are() -> None:
    assert "nearly_identical_inputs" not in named_causes(near_blocks(1e-3))
    identical = named_causes(near_blocks(0.0))
    assert "nearly_identical_inputs" not in identical and "identical_inputs" in identical
