"""The law of exponential decay, and the time it takes (1.1, 1.2).

docs/theory/law.md says what it means.
"""

import math

import numpy as np
import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.models import ZOO, Specimen, made
from support.theorems import F64, adapted, assert_rate, diabetes, full_rank, network, runge_kutta, weighted_blocks, wine
from torch import Tensor, nn

import geodescent as gd
from geodescent.flow import integrate, lifted_velocity

LOSES_RANK = {"one layer", "sequence relu in place", "sparse embedding", "uncalled", "thrown away"}  # or has K < m
FULL_RANK = [s for s in ZOO if s.name not in LOSES_RANK]


@pytest.mark.parametrize("specimen", FULL_RANK, ids=lambda s: s.name)
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
def test_1_1_the_outputs_decay_for_every_architecture(specimen: Specimen) -> None:
    """`D θ̇ = −(x − y)`, D by autograd and not by layers."""
    model, inputs = made(specimen, F64)
    outputs = gd.SampleMap(model, inputs)
    x = outputs(outputs.theta)
    problem = gd.Problem.of(model, inputs, (x + torch.randn_like(x)).reshape(len(x), *outputs.output_shape))
    residual = problem.residual(problem.theta)
    assert_close(naive_jacobian(model, inputs) @ adapted(problem, problem.theta), -residual, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "sizes", "act"),
    [(wine, (13, 16, 3), nn.Tanh), (diabetes, (10, 12, 12, 1), nn.GELU), (diabetes, (10, 16, 1), nn.SiLU)],
    ids=["wine tanh", "diabetes gelu", "diabetes silu"],
)
def test_1_1_the_measured_cost_follows_the_curve(data, sizes, act) -> None:
    x, y = data()
    model = network(*sizes, act=act)
    cost0 = 0.5 * float((model(x).detach() - y).square().sum()) / len(x)
    flow = gd.flow(model, x, y, target_cost=1e-8 * cost0)
    law = cost0 * np.exp(-2.0 * flow.time)
    assert np.all(flow.rank == y.numel())
    assert len(flow.time) > 20
    assert float(np.max(np.abs(flow.cost / law - 1.0))) < 1e-8
    cost = 0.5 * float((model(x).detach() - y).square().sum()) / len(x)
    assert cost == pytest.approx(1e-8 * cost0, rel=1e-8)


@pytest.mark.slow
def test_1_1_the_law_holds_for_weighted_blocks_of_rows_together() -> None:
    """`C = C₀ e^{−2τ}`, and in each block `x − y = e^{−τ}(x₀ − y)`, whatever its weights."""
    problem = weighted_blocks()

    def residuals() -> list[Tensor]:
        return [block.map(block.map.theta).reshape(-1) - block.target.reshape(-1) for block in problem.blocks]

    start, cost0 = residuals(), problem.cost(problem.theta)
    flow = gd.flow(problem, until=3.0)
    assert np.all(flow.rank == 20)
    assert float(np.max(np.abs(flow.cost / (cost0 * np.exp(-2.0 * flow.time)) - 1.0))) < 1e-8
    for before, after in zip(start, residuals(), strict=True):
        assert_close(after, math.exp(-3.0) * before, 1e-8)


@pytest.mark.slow
def test_1_1_the_outputs_walk_a_straight_line() -> None:
    """`x(τ) − y = e^{−τ}(x₀ − y)`, every component of it."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    start = problem.residual(problem.theta)
    velocity = lifted_velocity(problem, gd.AdaptedField(), gd.GramLift(), start)
    for tau, theta in integrate(problem, velocity, 3.0, tol=1e-10):
        assert_close(problem.residual(theta), math.exp(-tau) * start, 1e-9)


def test_1_1_a_fourth_order_walk_leaves_the_law_at_fourth_order() -> None:
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    law = math.exp(-1.0) * problem.residual(problem.theta)
    deviations = []
    for steps in (8, 16):
        end = runge_kutta(lambda theta: adapted(problem, theta), problem.theta, 1.0, steps)
        deviations.append(float(torch.linalg.vector_norm(problem.residual(end) - law)))
    assert_rate(*deviations, expected=16.0)


def test_1_2_the_stopping_time_inverts_the_predicted_cost() -> None:
    for cost0, target in [(3.0, 1e-8), (1e10, 1e-10), (2e-10, 1e-10)]:
        tau = gd.stopping_time(cost0, target)
        assert tau == pytest.approx(0.5 * math.log(cost0 / target), rel=1e-15)
        assert gd.predicted_cost(cost0, tau) == pytest.approx(target, rel=1e-12)


@pytest.mark.slow
def test_1_2_the_flow_is_at_its_target_at_that_time() -> None:
    """`C ≤ ε` at ½ ln(C₀/ε), and so `‖x − y‖ ≤ δ` at ln(‖x₀ − y‖/δ)."""
    model, x, y = full_rank()
    start = float(torch.linalg.vector_norm(model(x).detach() - y))
    flow = gd.flow(model, x, y, target_cost=1e-5)
    end = float(torch.linalg.vector_norm(model(x).detach() - y))
    assert flow.result is gd.Result.target_reached
    assert flow.time[-1] == pytest.approx(gd.stopping_time(flow.cost0, 1e-5), rel=1e-12)
    assert flow.cost[-1] == pytest.approx(1e-5, rel=1e-8)
    assert flow.time[-1] == pytest.approx(math.log(start / end), rel=1e-8)
