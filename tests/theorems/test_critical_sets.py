"""Any rank: the projected flow, its critical set and its floor (1.5).

docs/theory/critical_sets.md says what it means.
"""

import numpy as np
import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.theorems import F64, PROBLEMS, adapted, assert_rate, diabetes, lifted_problem, range_basis
from torch import nn

import geodescent as gd


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_5_the_outputs_follow_the_projected_residual(name: str) -> None:
    """`dx/dτ = −P(x − y)` at any rank, P from the dense singular vectors."""
    _, dense, residual, velocity = lifted_problem(name)
    basis = range_basis(dense)
    assert_close(dense @ velocity, -(basis @ (basis.T @ residual)), 1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_5_the_cost_falls_by_the_projected_residual(name: str) -> None:
    """`dC/dτ = −‖P(x − y)‖²/N`: central differences of C along the lift come to it at second order."""
    problem, dense, residual, velocity = lifted_problem(name)
    reachable = range_basis(dense).T @ residual
    slope = -float(reachable @ reachable) / problem.n_samples
    assert slope < 0.0
    deviations = []
    for h in (2e-3, 1e-3):
        ahead, behind = (problem.cost(problem.theta + s * velocity) for s in (h, -h))
        deviations.append(abs((ahead - behind) / (2.0 * h) - slope))
    assert_rate(*deviations, expected=4.0)


@pytest.mark.parametrize("name", ["duplicates", "K < m"])
def test_1_5_the_critical_set_is_that_of_gradient_descent(name: str) -> None:
    """`P(x − y) = 0 ⇔ Dᵀ(x − y) = 0`, with C > 0 and so rank D < m."""
    model, x, _ = PROBLEMS[name]()
    dense, outputs = naive_jacobian(model, x), model(x).detach()
    basis = range_basis(dense)
    assert basis.shape[1] < len(dense)
    normal = torch.randn(len(dense), dtype=F64)
    normal = normal - basis @ (basis.T @ normal)
    lift = gd.NormalLift() if name == "K < m" else gd.GramLift()
    for along, moves in ((torch.zeros(len(dense), dtype=F64), False), (basis[:, 0], True)):
        target = outputs - (normal + along)[:, None]
        problem = gd.Problem.of(model, x, target)
        velocity = adapted(problem, problem.theta, lift)
        gradient = dense.T @ problem.residual(problem.theta) / problem.n_samples
        assert problem.cost(problem.theta) > 0.1
        assert (float(torch.linalg.vector_norm(velocity)) > 1e-6) is moves
        assert (float(torch.linalg.vector_norm(gradient)) > 1e-6) is moves


@pytest.mark.slow
def test_1_5_the_curve_where_rank_is_lost() -> None:
    """`C(τ) = F + (C₀ − F)e^{−2τ}` for a model linear in θ, F the spread of the targets of identical inputs."""
    x, y = diabetes(9)
    x[1] = x[2] = x[0]
    spread = float((y[:3] - y[:3].mean()).square().sum()) / (2 * 9)
    flow = gd.flow(nn.Linear(10, 1).double(), x, y, until=6.0)
    assert flow.floor == pytest.approx(spread, rel=1e-10)
    assert np.all(flow.rank == 7)
    assert flow.law.startswith("F + (C₀ − F)")
    law = spread + (flow.cost0 - spread) * np.exp(-2.0 * flow.time)
    assert float(np.max(np.abs(flow.cost / law - 1.0))) < 1e-8
    assert float(np.max(np.abs(flow.predicted_cost / law - 1.0))) < 1e-10
    assert flow.cost[-1] > spread
