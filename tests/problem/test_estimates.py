"""Coefficients with standard errors, each computed again by another path."""

import math

import pytest
import torch
from support.inverse import inverse
from support.models import normal
from torch import Tensor

import geodescent as gd
from geodescent import pde
from geodescent.problem import estimates

F64 = torch.float64
LINE = pde.Box(x=(0.0, 1.0))


def solved(problem: gd.Problem) -> Tensor:
    """The least-squares solution, by QR of weighted rows."""
    zero = torch.zeros(4, dtype=F64)
    residual, jacobian = problem.linearise(zero)
    return torch.linalg.lstsq(jacobian.dense(), -residual[:, None]).solution[:, 0]


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_the_standard_error_is_how_far_errors_of_the_data_move_the_solution(weight: float) -> None:
    """By derivatives of the solution by each datum, `σ² Σ (∂θ̂_k/∂y_i)²`; σ² with the freedom that the fit leaves."""
    weights = torch.linspace(0.5, 2.0, 12, dtype=F64)
    y = normal(12, 4) @ torch.ones(4, dtype=F64) + 0.1 * normal(12)
    at = solved(inverse(torch.zeros(4, dtype=F64), y, weights=weights, weight=weight))
    problem = inverse(at, y, weights=weights, weight=weight)
    shifted = [solved(inverse(at, y + step, weights=weights, weight=weight)) - at for step in torch.eye(12, dtype=F64)]
    moved = torch.stack(shifted)  # linear: exact for any length
    data = problem.blocks[0]
    off = (data.map(at) - data.target[:, 0]).square().sum()
    leverages = torch.stack([data.map(at + step)[i] - data.map(at)[i] for i, step in enumerate(moved)])
    variance = float(off / (12.0 - leverages.sum()))
    found = estimates(problem, at)
    for name, k in problem.unknowns.items():
        assert found[name].value == pytest.approx(float(at[k]), rel=1e-12)
        assert found[name].standard_error == pytest.approx(
            math.sqrt(variance * float(moved[:, k].square().sum())), rel=1e-8
        )


def test_standard_errors_are_those_of_many_repetitions() -> None:
    """The spread of the solutions of noisy data, against the mean of what each of them says."""
    torch.manual_seed(3)
    weights, theta = torch.ones(12, dtype=F64), torch.zeros(4, dtype=F64)
    base = (
        inverse(theta, torch.zeros(12, dtype=F64), weights=weights, weight=1.0).blocks[0].map(torch.ones(4, dtype=F64))
    )
    values, said = list[float](), list[float]()
    for _ in range(200):
        y = base + 0.3 * torch.randn(12, dtype=F64)
        at = solved(inverse(theta, y, weights=weights, weight=1.0))
        values.append(float(at[2]))
        said.append(estimates(inverse(at, y, weights=weights, weight=1.0), at)["kappa"].standard_error ** 2)
    spread = float(torch.tensor(values).var())
    assert sum(said) / len(said) == pytest.approx(spread, rel=0.25)


def test_without_data_there_is_no_standard_error() -> None:
    theta = torch.ones(4, dtype=F64)
    problem = inverse(theta, torch.zeros(12, dtype=F64), weights=torch.ones(12, dtype=F64), weight=1.0)
    bare = gd.Problem(problem.blocks, problem.unknowns)
    assert all(math.isnan(e.standard_error) and e.value == 1.0 for e in estimates(bare, theta).values())
    assert estimates(gd.Problem(problem.blocks), theta) == {}


def decay(product: bool = False) -> pde.System:
    """`u' + k u = 0` with 30 noisy values of e^(−2x), k = 2; or with a b for k."""
    torch.manual_seed(0)
    where = torch.rand(30, 1, dtype=F64)
    measured = torch.exp(-2.0 * where[:, 0]) + 0.05 * torch.randn(30, dtype=F64)
    values = pde.Term("values", lambda u: u, where, target=measured)
    if product:
        terms, unknowns = [pde.Term("decay", lambda u, a, b: u.x + a * b * u, LINE.inside(30))], {"a": 1.0, "b": 1.0}
    else:
        terms, unknowns = [pde.Term("decay", lambda u, k: u.x + k * u, LINE.inside(30))], {"k": 1.0}
    return pde.System(pde.mlp(1, [6], 1), [*terms, values], coordinates="x", unknowns=unknowns)


def test_weights_of_a_network_are_known_to_their_size() -> None:
    """By inverses: with σ², `A = BᵀB + P` and a covariance of `s²σ² A⁻¹ (B_dataᵀ B_data + P) A⁻¹`."""
    made = decay()
    solution = gd.fit(made, max_steps=40)
    problem, (k,) = made.problem(), made.problem().unknowns.values()
    residual, jacobian = problem.linearise(solution.theta)
    b, s, n = jacobian.dense(), float(problem.weighted(torch.ones_like(residual))[-1]), 30
    layers = {name: value for name, value in problem.blocks[0].map.layers().items() if "unknowns" not in name}
    prior = torch.zeros(len(solution.theta), dtype=F64)
    for entries in layers.values():
        prior[entries] = 1.0 / float(solution.theta[entries].square().mean())
    square = float((residual[n:] / s).square().sum())
    variance = square / n
    for _ in range(20):
        inverse = torch.linalg.inv(b.T @ b + torch.diag(s**2 * variance * prior))
        variance = square / (n - float(torch.trace(b[n:] @ inverse @ b[n:].T)))
    middle = b[n:].T @ b[n:] + torch.diag(s**2 * variance * prior)
    expected = math.sqrt(variance * s**2 * float((inverse @ middle @ inverse)[k, k]))
    found = solution.unknowns["k"]
    assert found.standard_error == pytest.approx(expected, rel=1e-3)
    assert abs(found.value - 2.0) < 3.0 * found.standard_error and not found.warning


def test_coefficients_that_nothing_tells_apart_have_no_finite_error() -> None:
    for found in gd.fit(decay(product=True), max_steps=40).unknowns.values():
        assert found.standard_error == math.inf
        assert "± inf (other values fit as well: fix it, or measure something that depends on it)" in str(found)
