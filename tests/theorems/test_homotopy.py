"""From gradient descent to the adapted flow (2.1).

docs/theory/homotopy.md says what it means.
"""

import pytest
import torch
from support.laws import assert_close
from support.theorems import F64, PROBLEMS, Linear, linearised, with_spectrum

import geodescent as gd


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("alpha", [1e-3, 0.5, 0.9])
def test_2_1_the_homotopy_is_the_damped_lift(name: str, alpha: float) -> None:
    """`(αI + (1−α)DᵀD)⁺Dᵀ = D_μ/(1−α)` with μ = α/(1−α)."""
    _, residual, jacobian = linearised(name)
    dense = jacobian.dense()
    operator = alpha * torch.eye(dense.shape[1], dtype=F64) + (1.0 - alpha) * dense.T @ dense
    expected = torch.linalg.solve(operator, dense.T @ residual)
    lifted = gd.GramLift().prepare(jacobian).lift(residual, damping=alpha / (1.0 - alpha))
    assert_close(lifted.velocity / (1.0 - alpha), expected, 1e-9)


def test_2_1_a_mode_decays_at_its_own_rate() -> None:
    """`σ²/(α + (1−α)σ²)` for singular value σ."""
    rows = with_spectrum(torch.tensor([2.0, 0.5, 0.1], dtype=F64), 5)
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    problem = gd.Problem.of(Linear(5), rows, torch.randn(3, 1, dtype=F64))
    residual, jacobian = problem.linearise(problem.theta)
    alpha = 0.3
    lifted = gd.GramLift().prepare(jacobian).lift(-residual, damping=alpha / (1.0 - alpha))
    moved = left.T @ (rows @ lifted.velocity) / (1.0 - alpha)
    assert_close(moved, -(values**2 / (alpha + (1.0 - alpha) * values**2)) * (left.T @ residual), 1e-10)
