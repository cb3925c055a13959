"""The flows of convex costs and their two lifts (THEORY 2.4)."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.datasets import load_wine
from support.laws import assert_close, naive_jacobian
from torch import Tensor, nn

import geodescent as gd
from geodescent import costs as gc
from geodescent.geometry import cost_flow

F64 = torch.float64


def wine() -> tuple[nn.Module, Tensor, Tensor]:
    """Twelve wines of three classes, probabilities of the classes, K > m."""
    torch.manual_seed(0)
    data = load_wine()
    x = torch.as_tensor(data.data[::15])
    labels = torch.as_tensor(data.target[::15])
    return network(), (x - x.mean(0)) / x.std(0), gc.smoothed(labels, 3, 0.4)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(13, 10), nn.Tanh(), nn.Linear(10, 3)).double()


def theta_of(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


COSTS = [gc.SquaredError(), gc.CrossEntropy(), gc.Huber(0.3), gc.Poisson(), gc.Logistic()]
CURVED = [gc.SquaredError(), gc.CrossEntropy(), gc.Poisson(), gc.Logistic()]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "hessian"])
def test_2_4_for_the_squared_error_both_are_the_adapted_flow(metric: str) -> None:
    model, x, y = wine()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gd.flow(model, x, y, until=2.0)
    expected = theta_of(model)
    model.load_state_dict(before)
    cost_flow(model, x, y, cost=gc.SquaredError(), metric=metric, until=2.0)
    assert_close(theta_of(model), expected, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: type(cost).__name__)
@pytest.mark.parametrize("metric", ["euclidean", "hessian"])
@pytest.mark.parametrize("duplicates", [False, True])
def test_2_4_the_lift_is_that_of_dense_matrices(cost: gc.OutputCost, metric: str, duplicates: bool) -> None:
    """`−D⁺N∇ₓC` and `−(DᵀHD)⁺Dᵀ N∇ₓC`, to first order of a short path."""
    model, x, y = wine()
    if duplicates:
        x[1] = x[0]
    dense, theta, outputs = naive_jacobian(model, x), theta_of(model), model(x).detach()
    gradient, hessian = cost.gradient(outputs, y), torch.block_diag(*cost.hessian(outputs, y))
    if metric == "euclidean":
        expected = -torch.linalg.pinv(dense, rtol=1e-8) @ gradient.reshape(-1)
    else:
        curved = hessian @ torch.linalg.pinv(hessian, rtol=1e-12) @ gradient.reshape(-1)
        expected = -torch.linalg.pinv(dense.T @ hessian @ dense, rtol=1e-13) @ (dense.T @ curved)
    deviations = []
    for short in (1e-3, 5e-4):
        cost_flow(model, x, y, cost=cost, metric=metric, until=short)
        deviations.append(float(((theta_of(model) - theta) / short - expected).norm() / expected.norm()))
        nn.utils.vector_to_parameters(theta.clone(), model.parameters())
    assert deviations[1] < 2e-3
    assert 1.9 < deviations[0] / deviations[1] < 2.1


@pytest.mark.slow
@pytest.mark.parametrize("cost", CURVED, ids=lambda cost: type(cost).__name__)
def test_2_4_in_the_hessians_metric_the_gradient_decays_for_every_cost(cost: gc.OutputCost) -> None:
    """`∇ₓC(τ) = e^{−τ}∇ₓC(0)`, component by component: probabilities, rates and means walk straight lines."""
    model, x, y = wine()
    path = cost_flow(model, x, y, cost=cost, metric="hessian", until=3.0)
    gradients = torch.stack([cost.gradient(torch.from_numpy(outputs), y) for outputs in path.outputs])
    law = torch.exp(-torch.from_numpy(path.time))[:, None, None] * gradients[0]
    assert float((gradients - law).abs().max() / gradients[0].abs().max()) < 1e-8
    assert np.allclose(path.gradient, path.gradient[0] * np.exp(-path.time), rtol=1e-7)
    assert np.all(np.diff(path.cost) < 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: type(cost).__name__)
def test_2_4_in_the_euclidean_metric_outputs_follow_the_flow_in_output_space(cost: gc.OutputCost) -> None:
    """Whatever the network: `dx/dτ = −N∇ₓC` alone, integrated apart."""
    model, x, y = wine()
    start = model(x).detach()

    def gradient(_: float, state: np.ndarray) -> np.ndarray:
        return -cost.gradient(torch.from_numpy(state.copy()).view_as(y), y).reshape(-1).numpy()

    solved = solve_ivp(gradient, (0.0, 2.0), start.reshape(-1).numpy(), method="DOP853", rtol=1e-13, atol=1e-15)
    path = cost_flow(model, x, y, cost=cost, until=2.0)
    assert_close(model(x).detach().reshape(-1), torch.from_numpy(solved.y[:, -1]), 1e-8)
    assert np.array_equal(path.outputs[-1], model(x).detach().numpy())
    assert path.cost[-1] == pytest.approx(cost.value(model(x).detach(), y), rel=1e-12)
    assert np.all(np.diff(path.cost) < 0.0)


@pytest.mark.slow
def test_2_4_towards_one_hot_labels_the_probabilities_go_straight_too() -> None:
    """The Hessian all but vanishes there; its null direction must not come back as rounding."""
    model, x, y = wine()
    labels = nn.functional.one_hot(y.argmax(1), 3).double()
    path = cost_flow(model, x, labels, cost=gc.CrossEntropy(), metric="hessian", until=12.0, max_seconds=60.0)
    assert path.time[-1] == 12.0
    assert path.gradient[-1] / path.gradient[0] == pytest.approx(np.exp(-12.0), rel=1e-6)


def test_a_path_ends_where_its_time_does() -> None:
    model, x, y = wine()
    path = cost_flow(model, x, y, cost=gc.CrossEntropy(), until=50.0, max_seconds=0.0)
    assert len(path.time) == 2 and 0.0 < path.time[-1] < 50.0
    assert np.array_equal(path.outputs[-1], model(x).detach().numpy())


@pytest.mark.slow
def test_2_4_the_networks_sums_are_conserved_on_the_way_to_the_minimiser() -> None:
    model, x, y = wine()
    sums = model(x).detach().sum(1)
    path = cost_flow(model, x, y, cost=gc.CrossEntropy(), until=100.0)
    assert float(np.abs(path.outputs.sum(2) - sums.numpy()).max()) < 1e-8
    assert_close(model(x).detach(), gc.cross_entropy_minimiser(y, sums), 1e-4)


@pytest.mark.slow
def test_2_4_the_sums_are_not_conserved_where_rank_is_lost() -> None:
    """K < N(Q − 1): the flow of the parameters is not that of output space."""
    _, x, y = wine()
    few = nn.Sequential(nn.Linear(13, 1), nn.Tanh(), nn.Linear(1, 3)).double()
    sums = few(x).detach().sum(1)
    cost_flow(few, x, y, cost=gc.CrossEntropy(), until=0.1)
    assert float((few(x).detach().sum(1) - sums).abs().max()) > 1e-3


def test_questions_without_an_answer() -> None:
    model, x, y = wine()
    with pytest.raises(gd.InputError, match=r"until = -1.0: the flow's time τ must be positive"):
        cost_flow(model, x, y, cost=gc.Poisson(), until=-1.0)
    with pytest.raises(gd.InputError, match=r"Poisson: counts must be at least 0, and these go from -2 to"):
        cost_flow(model, x, y - 2.0 - y.min(), cost=gc.Poisson(), until=1.0)
    with pytest.raises(gd.InputError, match=r"Logistic: probabilities must be between 0 and 1, and these go from"):
        cost_flow(model, x, 3.0 * y, cost=gc.Logistic(), until=1.0)
    with pytest.raises(gd.InputError, match=r"CrossEntropy: a row of the targets has no probability above zero"):
        cost_flow(model, x, 0.0 * y, cost=gc.CrossEntropy(), until=1.0)
    with pytest.raises(gd.InputError, match=r"tol = 0.0: a relative tolerance"):
        cost_flow(model, x, y, cost=gc.Poisson(), until=1.0, tol=0.0)
    with pytest.raises(gd.InputError, match=r'metric must be "euclidean" or "hessian", not \'fisher\''):
        cost_flow(model, x, y, cost=gc.Poisson(), metric="fisher", until=1.0)


@dataclass(frozen=True)
class ConstantSlope(gc.OutputCost):
    """A cost of one gradient and one Hessian everywhere, one row and one diagonal a sample."""

    slope: Tensor
    diagonal: Tensor

    def require(self, targets: Tensor) -> None:
        pass

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        return float((outputs * self.slope).sum(1).mean())

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.slope

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.diag_embed(self.diagonal)


class Table(nn.Module):
    """One parameter an output, each with a factor of its own: D is diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = nn.Linear(2, 2, bias=False, dtype=F64)

    def forward(self, rows: Tensor, factors: Tensor) -> Tensor:
        return self.entries(rows) * factors


@pytest.mark.slow
def test_what_counts_as_zero_is_each_samples_own() -> None:
    """Eigenvalues that are rounding are not inverted; a sample whose curvature is small all over is not left out.

    The factors make all rows of H^{½}D alike, so that what does not move was left out by the Hessian alone.
    """
    diagonal = torch.tensor([[1e-17, 1.0], [1e-40, 1e-20]], dtype=F64)
    factors, model = diagonal.rsqrt(), Table()
    before = theta_of(model)
    cost = ConstantSlope(diagonal.sqrt(), diagonal)
    cost_flow(
        model, (torch.eye(2, dtype=F64), factors), torch.zeros(2, 2, dtype=F64), cost=cost, metric="hessian", until=0.5
    )
    moved = (theta_of(model) - before).view(2, 2).T  # the linear layer holds one row an output
    assert_close(moved, torch.tensor([[0.0, -0.5], [0.0, -0.5]], dtype=F64), 1e-12)


@pytest.mark.slow
def test_a_finer_tolerance_takes_more_steps() -> None:
    coarse, fine = (len(cost_flow(*wine(), cost=gc.Poisson(), until=2.0, tol=tol).time) for tol in (1e-5, 1e-12))
    assert fine > coarse


@pytest.mark.slow
def test_a_start_at_zero_with_targets_of_zero_is_followed_too() -> None:
    """The error is small against the gradient, not against x − y, which is nothing there."""
    model, x, _ = wine()
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].bias.zero_()
    path = cost_flow(model, x, torch.zeros(len(x), 3, dtype=F64), cost=gc.Logistic(), metric="hessian", until=20.0)
    assert np.allclose(path.gradient, path.gradient[0] * np.exp(-path.time), rtol=1e-7)
