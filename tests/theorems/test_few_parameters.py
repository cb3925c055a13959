"""Fewer parameters than residuals (1.4).

docs/theory/few_parameters.md says what it means.
"""

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.theorems import F64, Circle, adapted, assert_rate, few_parameters, lifted_problem, range_basis

import geodescent as gd


def test_1_4_the_projected_flow_where_parameters_are_few() -> None:
    """`D θ̇ = −P(x − y)` and `D⁺ = (DᵀD)⁻¹Dᵀ`, K < m."""
    problem, dense, residual, velocity = lifted_problem("K < m")
    assert problem.n_params < problem.n_residuals
    assert torch.linalg.matrix_rank(dense) == problem.n_params
    basis = range_basis(dense)
    assert_close(dense @ velocity, -(basis @ (basis.T @ residual)), 1e-10)
    assert_close(velocity, -torch.linalg.solve(dense.T @ dense, dense.T @ residual), 1e-8)


def test_1_4_equilibria_have_a_normal_residual_and_cost_above_zero() -> None:
    """A planted one: y is an image point and a little more, normal to the image there."""
    model, x, _ = few_parameters()
    normal = torch.randn(len(x), dtype=F64)
    axes = range_basis(naive_jacobian(model, x))
    normal -= axes @ (axes.T @ normal)
    y = model(x).detach() + 1e-4 * (normal / normal.norm())[:, None] * len(x) ** 0.5
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1e-6 * torch.randn_like(parameter)
    solution = gd.fit(model, x, y, max_steps=400)
    residual = (model(x).detach() - y).reshape(-1)
    dense = naive_jacobian(model, x)
    assert solution.result is gd.Result.stationary
    assert solution.cost == pytest.approx(0.5e-8, rel=0.1)
    assert float(torch.linalg.vector_norm(range_basis(dense).T @ residual)) < 1e-5 * float(
        torch.linalg.vector_norm(residual)
    )


@pytest.mark.parametrize(("radius", "distance"), [(1.0, 0.3), (2.0, 0.5), (2.0, -1.5)])
def test_1_4_the_local_rate_is_one_minus_curvature_times_distance(radius: float, distance: float) -> None:
    """y lies at (R − distance, 0): towards the centre for distance > 0, where the curvature counts as 1/R."""
    rates = []
    for angle in (2e-2, 1e-2):
        problem = gd.Problem.of(
            Circle(angle), torch.tensor([[radius]], dtype=F64), torch.tensor([[radius - distance, 0.0]], dtype=F64)
        )
        rates.append(-float(adapted(problem, problem.theta, gd.NormalLift())) / angle)
    deviations = [abs(rate - (1.0 - distance / radius)) for rate in rates]
    assert deviations[1] < 1e-3
    assert_rate(*deviations, expected=4.0)
