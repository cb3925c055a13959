"""The velocity is horizontal, and as long as its path in output space (1.6).

docs/theory/horizontal.md says what it means.
"""

import math

import numpy as np
import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.theorems import PROBLEMS, adapted, assert_rate, full_rank, lifted_problem, range_basis, runge_kutta
from torch import Tensor

import geodescent as gd


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_6_the_velocity_is_horizontal(name: str) -> None:
    """`θ̇ ⟂ ker D`."""
    _, dense, _, velocity = lifted_problem(name)
    _, values, right = torch.linalg.svd(dense)
    rank = int((values > 1e-10 * values[0]).sum())
    assert float(torch.linalg.vector_norm(right[rank:] @ velocity)) <= 1e-9 * float(torch.linalg.vector_norm(velocity))


def test_1_6_the_length_of_the_lift_is_that_of_the_output_path() -> None:
    """`‖D θ̇‖ = ‖ẋ‖`: integrated, (1 − e^{−τ})‖x₀ − y‖, the length of a straight line."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    start, length = problem.residual(problem.theta), 0.0
    theta, time, until = problem.theta, 0.0, 1.5
    for node, weight in zip(0.5 * until * (nodes + 1.0), 0.5 * until * weights, strict=True):
        theta = runge_kutta(lambda point: adapted(problem, point), theta, node - time, 12)
        problem.write(theta)
        length += weight * float(torch.linalg.vector_norm(naive_jacobian(model, x) @ adapted(problem, theta)))
        time = node
    assert length == pytest.approx((1.0 - math.exp(-until)) * float(torch.linalg.vector_norm(start)), rel=1e-5)


def test_1_6_the_lift_of_a_closed_loop_need_not_close() -> None:
    """Holonomy: around a small square the outputs come back, θ does not, by an amount of the square's area."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    directions = range_basis(naive_jacobian(model, x))[:, :2].T
    gaps = []
    for side in (0.2, 0.1):
        theta = problem.theta
        for way in (directions[0], directions[1], -directions[0], -directions[1]):
            theta = runge_kutta(lambda point, way=way: lift_of(problem, point, way), theta, side, 4)
        assert_close(problem.outputs(theta), problem.outputs(problem.theta), 1e-7)
        gaps.append(float(torch.linalg.vector_norm(theta - problem.theta)))
    assert gaps[1] > 1e-6
    assert_rate(*gaps, expected=4.0)


def lift_of(problem: gd.Problem, theta: Tensor, velocity: Tensor) -> Tensor:
    """`D⁺ẋ` at θ."""
    _, jacobian = problem.linearise(theta)
    return gd.GramLift().prepare(jacobian).lift(velocity, damping=0.0).velocity
