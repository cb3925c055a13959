"""Between the gradient flow and the adapted flow (THEORY 2.1)."""

import math

import numpy as np
import pytest
import torch
from support.laws import assert_close, naive_jacobian
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import HomotopyLift, homotopy


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 15), nn.Tanh(), nn.Linear(15, 2)).double()


def weighted_rows(n: int, weights: Tensor | None) -> tuple[gd.Problem, Tensor, Tensor]:
    """A problem, `√w D` by autograd, and a velocity of the weighted outputs."""
    model, X = network(), normal(n, 3)
    scale = torch.ones(2 * n, dtype=torch.float64) if weights is None else weights.sqrt().repeat_interleave(2)
    problem = gd.Problem.of(model, X, normal(n, 2, seed=1), weights=weights)
    return problem, scale[:, None] * naive_jacobian(model, X), scale * normal(2 * n, seed=2)


WEIGHTS = {"plain": None, "weighted": 0.2 + normal(6, seed=9).abs()}


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.5, 1.0])
@pytest.mark.parametrize("n", [6, 60])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_2_1_the_lift_is_the_formula_in_stated_units(alpha: float, n: int, weights: str) -> None:
    """`(α + (1−α)D̃ᵀD̃)⁺D̃ᵀv/s`, D̃ = D/s, for K > m and for K < m, from D itself."""
    w = None if WEIGHTS[weights] is None else WEIGHTS[weights].repeat(n // 6)
    problem, dense, v = weighted_rows(n, w)
    _, jacobian = problem.linearise(problem.theta)
    scale = float(dense.norm()) / math.sqrt(len(dense))
    unit = dense / scale
    operator = alpha * torch.eye(dense.shape[1], dtype=dense.dtype) + (1.0 - alpha) * unit.T @ unit
    expected = torch.linalg.pinv(operator, hermitian=True, rtol=1e-13) @ (unit.T @ v) / scale
    lifted = HomotopyLift(alpha).for_flow().prepare(jacobian).lift(v, damping=0.0)
    assert_close(lifted.velocity, expected, 1e-6 if alpha == 0.0 else 1e-9)
    assert_close(lifted.misfit + v, dense @ lifted.velocity, 1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [6, 60])
def test_2_1_a_damping_is_absolute_beside_alpha(alpha: float, n: int) -> None:
    """`(αs² + μ + (1−α)DᵀD)⁻¹Dᵀv`, μ in the units of the Gram matrix and s as it is given."""
    problem, dense, v = weighted_rows(n, None)
    _, jacobian = problem.linearise(problem.theta)
    unit, damping = 1.7, 0.9
    shift = alpha * unit**2 + damping
    operator = shift * torch.eye(dense.shape[1], dtype=dense.dtype) + (1.0 - alpha) * dense.T @ dense
    expected = torch.linalg.solve(operator, dense.T @ v)
    prepared = HomotopyLift(alpha, unit).prepare(jacobian)
    lifted = prepared.lift(v, damping=damping)
    assert_close(lifted.velocity, expected, 1e-10)
    assert_close(lifted.misfit + v, dense @ expected, 1e-10)
    assert prepared.mean_square == pytest.approx(float(dense.square().sum()) / len(dense), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_2_1_a_parameter_metric_enters_as_in_every_lift(alpha: float) -> None:
    """`(αs²M + (1−α)DᵀD)⁻¹Dᵀv`: at α = 1 gradient flow in the metric M."""
    problem, dense, v = weighted_rows(6, None)
    _, jacobian = problem.linearise(problem.theta)
    metric = 0.5 + normal(dense.shape[1], seed=3).abs()
    expected = torch.linalg.solve(alpha * torch.diag(metric) + (1.0 - alpha) * dense.T @ dense, dense.T @ v)
    lifted = HomotopyLift(alpha, 1.0).prepare(jacobian, metric=metric).lift(v, damping=0.0)
    assert_close(lifted.velocity, expected, 1e-9)


@pytest.mark.slow
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
    assert path.scale == pytest.approx(float(rows.norm()) / 2.0, rel=1e-12)
    assert_close((after / before)[:, 0], expected, 1e-7)


@pytest.mark.slow
def test_2_1_at_alpha_zero_it_is_the_adapted_flow() -> None:
    path = homotopy(network(), normal(6, 3), normal(6, 2, seed=1), alpha=0.0, until=4.0)
    assert np.allclose(path.cost, path.cost[0] * np.exp(-2.0 * path.time), rtol=1e-7)


@pytest.mark.slow
def test_2_1_a_problem_of_two_blocks_has_the_modes_of_its_weighted_rows() -> None:
    """`√w` of the samples and `√(λN/N_k)` of the block enter D̃ and s, so that both blocks fall at the modes' rates."""
    rows, below, weights, alpha = normal(3, 7), normal(2, 7, seed=4), torch.tensor([1.0, 4.0, 0.5]).double(), 0.2
    y, wanted = normal(3, seed=1), normal(2, seed=5)
    data = gd.RowBlock("data", gd.FunctionMap(lambda theta: rows @ theta, normal(7, seed=6)), y, weights=weights)
    other = gd.RowBlock("other", gd.FunctionMap(lambda theta: below @ theta, normal(7, seed=6)), wanted, weight=3.0)
    problem = gd.Problem((data, other))
    n = 5.5 + 2.0  # Σw of the first block and the two rows of the second
    scale = torch.cat([(weights * n / 5.5).sqrt(), torch.tensor(3.0 * n / 2.0).double().sqrt().expand(2)])
    dense, target = scale[:, None] * torch.cat([rows, below]), torch.cat([y, wanted])
    left, values, _ = torch.linalg.svd(dense, full_matrices=False)
    before = left.T @ (dense @ problem.theta - scale * target)
    path = homotopy(problem, alpha=alpha, until=2.0)
    after = left.T @ (dense @ problem.theta - scale * target)
    assert path.scale == pytest.approx(float(dense.norm()) / math.sqrt(5.0), rel=1e-12)
    sigma = values / path.scale
    assert_close(after / before, torch.exp(-2.0 * sigma**2 / (alpha + (1.0 - alpha) * sigma**2)), 1e-7)
    assert path.cost[-1] == pytest.approx(float(after.square().sum()) / (2.0 * n), rel=1e-10)


@pytest.mark.slow
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
    residual, jacobian = problem.linearise(problem.theta)
    for alpha in (0.0, 0.5, 1.0):
        lifted = HomotopyLift(alpha).for_flow().prepare(jacobian).lift(-residual, damping=0.0)
        assert float(lifted.velocity.norm()) < 1e-11


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(gd.InputError, match=r"alpha = 1.5: 0, the adapted flow, to 1, the gradient flow"):
        HomotopyLift(1.5)
    with pytest.raises(gd.InputError, match="the unit of D must be positive"):
        HomotopyLift(0.5, 0.0)
    with pytest.raises(gd.InputError, match="must be positive"):
        homotopy(network(), normal(6, 3), normal(6, 2), alpha=0.5, until=0.0)
