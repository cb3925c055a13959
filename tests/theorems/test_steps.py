"""Steps: Euler, Gauss–Newton, damping and the gain ratio (1.8).

docs/theory/steps.md says what it means.
"""

import numpy as np
import pytest
import torch
from support.laws import assert_close
from support.theorems import F64, PROBLEMS, assert_rate, full_rank, lifted_problem, linearised, weighted_blocks
from torch import Tensor

import geodescent as gd
from geodescent.descent import Linearised


def euler(problem: gd.Problem, h: float) -> Tensor:
    """The displacement of an undamped Euler step."""
    lift = gd.GramLift() if problem.n_residuals <= problem.n_params else gd.NormalLift()
    here = Linearised.at(problem, problem.theta, lift=lift, dtype=F64)
    damped = here.damped(0.0)
    return gd.EulerWalk(h).displacement(here, damped, here.lift(damped, -here.residual)).theta


@pytest.mark.parametrize("name", ["full rank"])
def test_1_8_an_euler_step_shrinks_the_residual(name: str) -> None:
    """Residual × (1 − h) + O(h²)."""
    problem, _, residual, _ = lifted_problem(name)
    deviations = []
    for h in (2e-2, 1e-2):
        after = problem.residual(problem.theta + euler(problem, h))
        deviations.append(float(torch.linalg.vector_norm(after - (1.0 - h) * residual)))
    assert_rate(*deviations, expected=4.0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_8_the_full_step_is_gauss_newton(name: str) -> None:
    problem, dense, residual, _ = lifted_problem(name)
    oracle = torch.linalg.lstsq(dense, -residual[:, None], driver="gelsd", rcond=1e-12).solution[:, 0]
    assert_close(euler(problem, 1.0), oracle, 1e-7)


def test_1_8_the_full_step_of_weighted_blocks_is_weighted_gauss_newton() -> None:
    """Rows of block k times `√(λ w/N_k)`, by hand, and least squares of the rest."""
    problem, rows = weighted_blocks(width=1), []
    assert problem.n_params < problem.n_residuals  # else the weights would not matter
    for block in problem.blocks:
        x, jacobian = block.map.linearise(problem.theta)
        w = torch.ones(block.n_samples, dtype=F64) if block.weights is None else block.weights
        s = (block.weight * w / w.sum()).sqrt().repeat_interleave(block.n_outputs)
        rows.append(s[:, None] * torch.cat([jacobian.dense(), block.target.reshape(-1, 1) - x.reshape(-1, 1)], 1))
    system = torch.cat(rows)
    oracle = torch.linalg.lstsq(system[:, :-1], system[:, -1:], driver="gelsd", rcond=1e-12).solution[:, 0]
    assert_close(euler(problem, 1.0), oracle, 1e-7)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("relative", [1e-6, 1e-2, 1e2])
def test_1_8_the_push_through_identity(name: str, relative: float) -> None:
    """`Dᵀ(DDᵀ + μ)⁻¹ = (DᵀD + μ)⁻¹Dᵀ`: both routes, one scale, one answer."""
    _, residual, jacobian = linearised(name)
    left, right = gd.GramLift().prepare(jacobian), gd.NormalLift().prepare(jacobian)
    assert left.mean_square == pytest.approx(right.mean_square, rel=1e-12)
    damping = relative * left.mean_square
    assert_close(left.lift(residual, damping=damping).velocity, right.lift(residual, damping=damping).velocity, 1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_8_the_linear_models_cost_is_free(name: str) -> None:
    """`C_lin = μ²‖z‖²/(2N)` with z = (G + μ)⁻¹(x − y), and the misfit of every lift has that size."""
    problem, residual, jacobian = linearised(name)
    dense = jacobian.dense()
    damping = 1e-2 * gd.GramLift().prepare(jacobian).mean_square
    z = torch.linalg.solve(dense @ dense.T + damping * torch.eye(len(dense), dtype=F64), residual)
    for lift in (gd.GramLift(), gd.NormalLift(), gd.KrylovLift()):
        misfit = lift.prepare(jacobian).lift(-residual, damping=damping).misfit
        assert_close(misfit, damping * z, 1e-9)
        assert float(misfit @ misfit) / (2.0 * problem.n_samples) == pytest.approx(
            damping**2 * float(z @ z) / (2.0 * problem.n_samples), rel=1e-9
        )


def test_1_8_the_recorded_gain_is_the_fall_over_the_predicted_fall() -> None:
    model, x, y = full_rank()
    history = gd.fit(model, x, y, max_steps=6).history
    before, after, linear = history["cost"][:-1], history["cost"][1:], history["predicted"][1:]
    assert np.allclose(history["gain_ratio"][1:], (before - after) / (before - linear), rtol=1e-12)


def test_1_8_large_damping_is_gradient_descent() -> None:
    """`μ D_μ(x − y) → Dᵀ(x − y)`, the deviation falling as 1/μ."""
    _, residual, jacobian = linearised("full rank")
    gradient = jacobian.dense().T @ residual
    prepared = gd.GramLift().prepare(jacobian)
    deviations = []
    for relative in (1e4, 2e4):
        damping = relative * prepared.mean_square
        step = damping * prepared.lift(residual, damping=damping).velocity
        deviations.append(float(torch.linalg.vector_norm(step - gradient)))
    assert_rate(*deviations, expected=2.0)
