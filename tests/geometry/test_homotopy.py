"""Between the gradient flow and the adapted flow (THEORY 2.1)."""

import math

import numpy as np
import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import HomotopyLift, homotopy


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 15), nn.Tanh(), nn.Linear(15, 2)).double()


WEIGHTS = {"plain": None, "weighted": 0.2 + normal(6, seed=9).abs()}


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.5, 1.0])
@pytest.mark.parametrize("n", [6, 60])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_2_1_the_lift_is_the_formula_in_stated_units(alpha: float, n: int, weights: str) -> None:
    """`(α + (1−α)D̃ᵀD̃)⁺D̃ᵀv/s`, D̃ = D/s, for K > m and for K < m, from D itself."""
    model, X = network(), normal(n, 3)
    w = None if WEIGHTS[weights] is None else WEIGHTS[weights].repeat(n // 6)
    problem = gd.Problem.of(model, X, normal(n, 2, seed=1), weights=w)
    _, jacobian = problem.linearise(problem.theta)
    rows = 1.0 if problem.row_scale is None else problem.row_scale[:, None]
    dense, v = rows * jacobian.dense(), normal(2 * n, seed=2)
    scale = float(dense.norm()) / math.sqrt(len(dense))
    unit = dense / scale
    operator = alpha * torch.eye(dense.shape[1], dtype=dense.dtype) + (1.0 - alpha) * unit.T @ unit
    seen = v if problem.row_scale is None else v * problem.row_scale
    expected = torch.linalg.pinv(operator, hermitian=True, rtol=1e-13) @ (unit.T @ seen) / scale
    lifted = HomotopyLift(alpha).exact().prepare(jacobian, row_scale=problem.row_scale).lift(v, damping=0.0)
    assert_close(lifted.velocity, expected, 1e-6 if alpha == 0.0 else 1e-9)
    assert_close(lifted.misfit + seen, dense @ lifted.velocity, 1e-9)


@pytest.mark.parametrize("alpha", [0.9, 0.1, 0.01])
def test_2_1_modes_of_a_linear_model_decay_at_their_rates(alpha: float) -> None:
    """`σ²/(α + (1−α)σ²)`, σ relative to s, along the integrated flow."""
    rows = normal(4, 7)
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    model = nn.Linear(7, 1, bias=False).double()
    y = normal(4, 1, seed=1)
    before = left.T @ (model(rows).detach() - y)
    path = homotopy(model, rows, y, alpha=alpha, until=3.0)
    after = left.T @ (model(rows).detach() - y)
    sigma = values / path.scale
    expected = torch.exp(-3.0 * sigma**2 / (alpha + (1.0 - alpha) * sigma**2))
    assert_close((after / before)[:, 0], expected, 1e-7)


def test_2_1_at_alpha_zero_it_is_the_adapted_flow() -> None:
    path = homotopy(network(), normal(6, 3), normal(6, 2, seed=1), alpha=0.0, until=4.0)
    assert np.allclose(path.cost, path.cost[0] * np.exp(-2.0 * path.time), rtol=1e-7)


def test_2_1_a_schedule_ends_at_the_rate_of_the_adapted_flow() -> None:
    """α = e^{−3τ}: slow modes at first, C ~ e^{−2τ} at the end; faster than α = 1 all along."""
    X, y = normal(6, 3), normal(6, 2, seed=1)
    path = homotopy(network(), X, y, alpha=lambda time: math.exp(-3.0 * time), until=6.0)
    late = path.time > 4.0
    rate = -np.diff(np.log(path.cost[late])) / np.diff(path.time[late])
    assert np.allclose(rate, 2.0, atol=0.02) and path.alpha[0] == 1.0
    assert path.cost[-1] < homotopy(network(), X, y, alpha=1.0, until=6.0).cost[-1]


def test_2_1_the_zeros_are_the_same_for_every_alpha() -> None:
    """At a fit's end no α moves anything."""
    model, X, y = network(), normal(6, 3), normal(6, 2, seed=1)
    gd.fit(model, X, y)
    problem = gd.Problem.of(model, X, y)
    outputs, jacobian = problem.linearise(problem.theta)
    for alpha in (0.0, 0.5, 1.0):
        lifted = HomotopyLift(alpha).exact().prepare(jacobian).lift(-problem.residual(outputs), damping=0.0)
        assert float(lifted.velocity.norm()) < 1e-11


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(gd.InputError, match=r"alpha = 1.5: 0, the adapted flow, to 1, the gradient flow"):
        HomotopyLift(1.5)
    with pytest.raises(gd.InputError, match="the unit of D must be positive"):
        HomotopyLift(0.5, 0.0)
    with pytest.raises(gd.InputError, match="must be positive"):
        homotopy(network(), normal(6, 3), normal(6, 2), alpha=0.5, until=0.0)
