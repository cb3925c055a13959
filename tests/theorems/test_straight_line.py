"""The straight line, and what bends the way where rank is lost (2.2, 2.3).

docs/theory/straight_line.md says what it means.
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from support.laws import assert_close, naive_jacobian
from support.theorems import F64, Circle, Linear, duplicated, full_rank, range_basis, with_spectrum
from torch import Tensor, nn

import geodescent as gd
from geodescent.flow import integrate, lifted_velocity


@pytest.mark.slow
def test_2_2_the_same_path_as_a_straight_line_in_finite_time() -> None:
    """`x = (1−t)x₀ + ty` with t = 1 − e^{−τ}, walked at constant output speed, ends where the flow in τ ends."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    start = problem.residual(problem.theta)
    line = gd.StraightLineField()
    velocity = lifted_velocity(problem, line, gd.GramLift(), start)
    for tau, theta in integrate(problem, velocity, 3.0, tol=1e-10, field=line):
        t = line.clock(tau)
        assert_close(problem.residual(theta), (1.0 - t) * start, 1e-7)
    assert t == pytest.approx(1.0 - math.exp(-3.0), rel=1e-12)
    clocked = lifted_velocity(problem, gd.AdaptedField(), gd.GramLift(), start)
    *_, (_, end) = integrate(problem, clocked, 3.0, tol=1e-10)
    assert_close(theta, end, 1e-8)


@pytest.mark.slow
def test_2_2_the_way_from_the_start_is_bounded_on_the_way() -> None:
    """`‖θ(t) − θ₀‖ ≤ ‖y − x₀‖ ∫dt/σ_min(D)`."""
    model, x, y = full_rank()
    flow = gd.flow(model, x, y, until=5.0)
    assert np.all(flow.displacement <= flow.path_bound * (1.0 + 1e-9))
    line = 1.0 - np.exp(-flow.time)
    residual0 = math.sqrt(2.0 * len(x) * flow.cost0)
    assert flow.path_bound[-1] == pytest.approx(residual0 * np.trapezoid(1.0 / flow.sigma_min, line), rel=1e-9)


def circles() -> tuple[nn.Module, Tensor, Tensor]:
    """K = 1 < m = 4, the range turning all the way."""
    y = torch.tensor([[0.3, 1.4], [-0.2, 1.1]], dtype=F64)
    return Circle(0.2), torch.tensor([[1.0], [1.5]], dtype=F64), y


LINES = {"full rank": full_rank, "duplicates": duplicated, "K < m": circles}


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_2_3_the_deviation_from_the_line_follows_its_equation(name: str) -> None:
    """`x = y + (1−t)u`, `du/dt = (I−P)u/(1−t)`: off the line by `(1−t)(u − u₀)`, P from dense singular vectors."""
    model, x, y = LINES[name]()
    problem = gd.Problem.of(model, x, y)
    start = problem.residual(problem.theta)

    def growth(line_time: float, state: np.ndarray) -> np.ndarray:
        theta, u = (
            torch.from_numpy(state[: problem.n_params].copy()),
            torch.from_numpy(state[problem.n_params :].copy()),
        )
        dense = problem.linearise(theta)[1].dense()
        u_seen = range_basis(dense) @ (range_basis(dense).T @ u)
        return np.concatenate([-torch.linalg.pinv(dense, rtol=1e-8) @ u_seen, (u - u_seen) / (1.0 - line_time)])

    begin = np.concatenate([problem.theta.numpy(), start.numpy()])
    end = -math.expm1(-1.5)
    solved = solve_ivp(growth, (0.0, end), begin, method="DOP853", rtol=1e-11, atol=1e-12)
    u = torch.from_numpy(solved.y[problem.n_params :, -1])
    flow = gd.flow(model, x, y, until=1.5)
    expected = (1.0 - end) * float((u - start).norm() / start.norm())
    assert flow.line_deviation[-1] == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert (name == "full rank") == (expected < 1e-8)
    assert (name == "K < m") == (flow.line_deviation[-1] > 1.01 * flow.line_deviation_lost[-1] + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_2_3_what_lies_outside_the_range_is_told_apart(name: str) -> None:
    """The deviation's part outside range(D), by the dense singular vectors at the end of the path."""
    model, x, y = LINES[name]()
    problem = gd.Problem.of(model, x, y)
    start = problem.residual(problem.theta)
    flow = gd.flow(model, x, y, until=1.5)
    end = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    off = problem.residual(end) - math.exp(-1.5) * start
    basis = range_basis(naive_jacobian(model, x))
    lost = float((off - basis @ (basis.T @ off)).norm() / start.norm())
    assert flow.line_deviation_lost[-1] == pytest.approx(lost, rel=1e-7, abs=1e-9)
    assert np.all(flow.line_deviation_lost <= flow.line_deviation * (1.0 + 1e-9))


@pytest.mark.slow
def test_2_3_while_the_projector_stands_still_the_deviation_is_known_beforehand() -> None:
    """P constant: off the line by `t‖(I−P)(x₀−y)‖`, all of it outside range(D)."""
    rows = with_spectrum(torch.tensor([2.0, 0.5, 0.0, 0.0], dtype=F64), 5)
    flow = gd.flow(Linear(5), rows, torch.randn(4, 1, dtype=F64), until=3.0)
    expected = -np.expm1(-flow.time) * math.sqrt(flow.floor / flow.cost0)
    assert np.allclose(flow.line_deviation, expected, rtol=1e-8, atol=1e-12)
    assert np.allclose(flow.line_deviation_lost, expected, rtol=1e-8, atol=1e-12)
