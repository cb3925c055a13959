"""A problem of several blocks of rows is what its definition says, `C = Σ_k λ_k ‖√w (x − y)‖²_k/(2N_k)`."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.laws import assert_adjoint, assert_close, naive_jacobian
from support.models import normal
from torch import Tensor, nn

import geodescent as gd
from geodescent.problem import conflict_cost, gradient, hessian, hessian_extremes, rounding_floor

F64 = torch.float64
EXACT = 1e-12


@dataclass
class Rows:
    """One block as NumPy knows it.

    Attributes:
        outputs, target: (N, Q).
        jacobian: (N, Q, K), by autograd, row by row.
        weights: w, (N,).
        weight: λ.
    """

    outputs: np.ndarray
    target: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray
    weight: float

    @property
    def share(self) -> float:
        """Of the cost, as it is defined."""
        squares = np.einsum("n,nq->", self.weights, (self.outputs - self.target) ** 2)
        return float(self.weight * squares / (2.0 * self.weights.sum()))

    @property
    def slope(self) -> np.ndarray:
        """Of that share by θ, (K,)."""
        weighted = self.weights[:, None] * (self.outputs - self.target)
        return self.weight * np.einsum("nq,nqk->k", weighted, self.jacobian) / self.weights.sum()

    @property
    def curvature(self) -> np.ndarray:
        """The Gauss–Newton part of its Hessian, (K, K)."""
        both = np.einsum("n,nqk,nql->kl", self.weights, self.jacobian, self.jacobian)
        return self.weight * both / self.weights.sum()

    def scaled(self, rows: np.ndarray, n: float) -> np.ndarray:
        """`√(λ w N/N_k) · rows`, (N·Q, …)."""
        scale = np.sqrt(self.weight * self.weights * n / self.weights.sum())
        return (scale.reshape(-1, *[1] * (rows.ndim - 1)) * rows).reshape(-1, *rows.shape[2:])


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def rows_of(block: gd.RowBlock, theta: Tensor) -> Rows:
    """From the map's own function, by autograd."""
    outputs = block.map(theta).reshape(block.target.shape)
    dense = torch.autograd.functional.jacobian(lambda t: block.map.traced(t), theta)
    weights = torch.ones(block.n_samples) if block.weights is None else block.weights
    jacobian = dense.reshape(*block.target.shape, -1)
    return Rows(outputs.numpy(), block.target.numpy(), jacobian.numpy(), weights.double().numpy(), block.weight)


def two_maps() -> gd.Problem:
    """One network on two sets of samples, weighted, of the second only one output."""
    model, x, x2 = network(), normal(7, 3), normal(5, 3)
    weights = torch.tensor([0.5, 0.0, 3.0, 1.0, 2.0], dtype=F64)
    first = gd.RowBlock("data", gd.SampleMap(model, x), normal(7, 2))
    one = gd.SampleMap(model, x2, select=lambda out: out[:, :1])
    return gd.Problem((first, gd.RowBlock("sensor", one, normal(5), weights=weights, weight=3.0)))


def with_penalty() -> gd.Problem:
    """A network beside a penalty of its θ."""
    model, x = network(), normal(7, 3)
    data = gd.RowBlock("data", gd.SampleMap(model, x), normal(7, 2), weights=torch.rand(7, dtype=F64) + 0.1)
    theta = data.map.theta
    size = gd.FunctionMap(lambda t: torch.sin(t) * t.sum(), theta)
    return gd.Problem((data, gd.RowBlock("size", size, torch.full_like(theta, 0.2), weight=0.03)))


def three() -> gd.Problem:
    """Both, and one number."""
    blocks = two_maps().blocks
    square = gd.FunctionMap(lambda t: t.square().sum(), blocks[0].map.theta)
    one = gd.RowBlock("one", square, torch.tensor([0.5], dtype=F64), weight=0.7)
    return gd.Problem([*blocks, one])  # any iterable will do


@pytest.fixture(params=[two_maps, with_penalty, three], ids=lambda make: make.__name__)
def problem(request: pytest.FixtureRequest) -> gd.Problem:
    return request.param()


@pytest.fixture
def theta(problem: gd.Problem) -> Tensor:
    return problem.theta + 0.2 * normal(problem.n_params)


def test_residual_and_jacobian_are_scaled_once(problem: gd.Problem, theta: Tensor) -> None:
    known = [rows_of(block, theta) for block in problem.blocks]
    n = float(sum(rows.weights.sum() for rows in known))
    residual, jacobian = problem.linearise(theta)
    expected = np.concatenate([rows.scaled(rows.outputs - rows.target, n) for rows in known])
    dense = torch.from_numpy(np.concatenate([rows.scaled(rows.jacobian, n) for rows in known]))
    v, u = normal(problem.n_params), normal(problem.n_residuals)
    assert problem.n_samples == pytest.approx(n, rel=1e-15) and problem.n_residuals == len(expected)
    assert_close(residual, torch.from_numpy(expected), EXACT)
    assert_close(problem.residual(theta), torch.from_numpy(expected), EXACT)
    assert_close(problem.residual_of(problem.outputs(theta), dtype=F64), torch.from_numpy(expected), EXACT)
    assert_close(jacobian.dense(), dense, EXACT)
    assert_close(torch.cat(list(jacobian.row_chunks())), dense, EXACT)
    assert_close(jacobian.mv(v), dense @ v, EXACT)
    assert_close(jacobian.rmv(u), dense.T @ u, EXACT)
    assert_close(jacobian.gram(), dense @ dense.T, EXACT)
    assert_close(jacobian.normal(), dense.T @ dense, EXACT)
    assert_close(jacobian.row_squares(), dense.square().sum(1), EXACT)
    assert_adjoint(jacobian, EXACT)


def test_the_cost_and_its_derivatives_are_those_of_the_definition(problem: gd.Problem, theta: Tensor) -> None:
    known = [rows_of(block, theta) for block in problem.blocks]
    residual, jacobian = problem.linearise(theta)
    cost, slope = sum(rows.share for rows in known), torch.from_numpy(sum(rows.slope for rows in known))
    assert problem.cost(theta) == pytest.approx(cost, rel=1e-13)
    assert problem.cost_of(residual) == pytest.approx(cost, rel=1e-13)
    assert_close(jacobian.rmv(residual) / problem.n_samples, slope, EXACT)
    assert_close(gradient(problem, theta), slope, EXACT)
    curvature = torch.from_numpy(sum(rows.curvature for rows in known))
    assert_close(jacobian.normal() / problem.n_samples, curvature, EXACT)


def test_the_hessian_is_that_of_the_definition(problem: gd.Problem, theta: Tensor) -> None:
    def cost(at: Tensor) -> Tensor:
        shares = []
        for block in problem.blocks:
            rows = block.map.traced(at).reshape(block.target.shape) - block.target
            weights = torch.ones(len(rows), dtype=F64) if block.weights is None else block.weights
            shares.append(block.weight * (weights[:, None] * rows.square()).sum() / (2.0 * weights.sum()))
        return torch.stack(shares).sum()

    expected = torch.autograd.functional.hessian(cost, theta)
    assert_close(hessian(problem, theta), expected, 1e-11)
    values = torch.linalg.eigvalsh(expected)
    largest, least = hessian_extremes(problem, theta)
    assert largest == pytest.approx(float(values[-1]), rel=1e-6) and least >= float(values[0]) - 1e-9


def test_the_second_derivative_is_scaled_in_the_same_way(problem: gd.Problem, theta: Tensor) -> None:
    v, step = normal(problem.n_params), 1e-5
    ahead, behind = (problem.linearise(theta + h * v)[1].mv(v) for h in (step, -step))
    assert_close(problem.second_derivative(theta, v), (ahead - behind) / (2.0 * step), 1e-7)
    parts = [block.map.second_derivative(theta, v).reshape(-1) for block in problem.blocks]
    assert_close(problem.second_derivative(theta, v), problem.weighted(torch.cat(parts)), EXACT)


def test_the_weight_of_a_block_does_not_cancel(problem: gd.Problem, theta: Tensor) -> None:
    """Ten times λ_k adds nine shares of block k; of one block alone, it is ten times the cost."""
    for k, block in enumerate(problem.blocks):
        heavier = gd.RowBlock(block.name, block.map, block.map(theta) * 0.0, block.weights, 10.0 * block.weight)
        lighter = gd.RowBlock(block.name, block.map, block.map(theta) * 0.0, block.weights, block.weight)
        others = [other for i, other in enumerate(problem.blocks) if i != k]
        share = rows_of(lighter, theta).share
        costs = [gd.Problem((*others, one)).cost(theta) for one in (heavier, lighter)]
        assert costs[0] - costs[1] == pytest.approx(9.0 * share, rel=1e-9)
        assert gd.Problem((heavier,)).cost(theta) == pytest.approx(10.0 * share, rel=1e-13)


def test_the_weights_of_samples_are_relative() -> None:
    """Doubled weights are the same block, where λ doubled is not."""
    problem = two_maps()
    data, sensor = problem.blocks
    assert sensor.weights is not None
    doubled = gd.RowBlock("sensor", sensor.map, sensor.target, 2.0 * sensor.weights, sensor.weight)
    theta = problem.theta
    other = gd.Problem((data, doubled))
    assert other.n_samples == 7.0 + 2.0 * 6.5 and problem.n_samples == 7.0 + 6.5
    assert other.cost(theta) == pytest.approx(problem.cost(theta), rel=1e-14)


def test_one_set_of_samples_may_be_cut_into_blocks() -> None:
    """With λ_k = N_k/N the two are the whole, row by row."""
    model, x, y = network(), normal(9, 3), normal(9, 2)
    whole, outputs = gd.Problem.of(model, x, y), gd.SampleMap(model, x)
    parts = [(slice(0, 4), 4 / 9), (slice(4, 9), 5 / 9)]
    blocks = [gd.RowBlock(str(i), outputs.on(x[rows]), y[rows], weight=w) for i, (rows, w) in enumerate(parts)]
    cut, theta = gd.Problem(tuple(blocks)), whole.theta
    for ours, theirs in zip(cut.linearise(theta), whole.linearise(theta), strict=True):
        first, second = (t if isinstance(t, Tensor) else t.dense() for t in (ours, theirs))
        assert_close(first, second, EXACT)
    assert cut.cost(theta) == pytest.approx(whole.cost(theta), rel=1e-14)
    assert_close(cut.linearise(theta)[1].dense(), naive_jacobian(model, x), EXACT)


def test_block_rms_is_the_root_mean_square_of_the_rows_that_count(problem: gd.Problem, theta: Tensor) -> None:
    known = {block.name: rows_of(block, theta) for block in problem.blocks}
    off = {name: (rows.outputs - rows.target)[rows.weights > 0.0] for name, rows in known.items()}
    expected = {name: float(np.sqrt(np.mean(rows**2))) for name, rows in off.items()}
    assert problem.block_rms(theta, math.nan) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("weighted", [True, False])
def test_block_rms_of_one_block(weighted: bool) -> None:
    """Of a plain block it is read off the cost, without a forward pass."""
    model, x, y = network(), normal(7, 3), normal(7, 2)
    problem = gd.Problem.of(model, x, y, weights=torch.rand(7, dtype=F64) if weighted else None)
    theta = problem.theta
    rms = float((model(x).detach() - y).square().mean().sqrt())
    assert problem.block_rms(theta, problem.cost(theta)) == pytest.approx({"data": rms}, rel=1e-13)
    assert problem.block_rms(theta, 8.0) == pytest.approx({"data": rms if weighted else math.sqrt(8.0)}, rel=1e-13)


def test_rows_of_weight_zero_ask_for_nothing() -> None:
    assert two_maps().n_residuals == 7 * 2 + 5 and two_maps().n_rows_wanted == 7 * 2 + 4
    plain = gd.Problem.of(network(), normal(7, 3), normal(7, 2))
    assert plain.n_rows_wanted == plain.n_residuals == 14


def test_targets_are_stacked_and_every_map_is_written(problem: gd.Problem, theta: Tensor) -> None:
    assert torch.equal(problem.target, torch.cat([block.target.reshape(-1) for block in problem.blocks]))
    problem.write(theta)
    assert all(torch.equal(block.map.theta, theta) for block in problem.blocks)
    standing = problem.theta
    standing.zero_()
    assert torch.equal(problem.theta, theta)  # a copy


def test_theta_is_that_of_the_first_block() -> None:
    data, size = with_penalty().blocks
    size.map.write(data.map.theta + 1.0)
    problem = gd.Problem((size, data))
    theta = problem.theta
    assert torch.equal(theta, size.map.theta)
    theta.zero_()
    assert torch.equal(problem.theta, data.map.theta + 1.0)  # it was a copy


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_single_precision_may_be_solved_in_double(dtype: torch.dtype | None) -> None:
    model = network().float()
    blocks = [
        gd.RowBlock("data", gd.SampleMap(model, normal(7, 3).float()), normal(7, 2).float(), weight=2.0),
        gd.RowBlock("more", gd.SampleMap(model, normal(4, 3).float()), normal(4, 2).float()),
    ]
    problem = gd.Problem(tuple(blocks))
    theta, wanted = problem.theta, dtype or torch.float32
    residual, jacobian = problem.linearise(theta, dtype=dtype)
    v = torch.ones(problem.n_params, dtype=wanted)
    answers = [residual, jacobian.mv(v), problem.residual(theta, dtype=dtype)]
    answers.append(problem.second_derivative(theta, theta, dtype=dtype))
    assert {tensor.dtype for tensor in answers} == {jacobian.dtype} == {wanted}
    rows = problem.outputs(theta) - problem.target
    scale = torch.cat([torch.full((14,), 2.0 * 11 / 7), torch.full((8,), 11 / 4)]).double().sqrt()
    assert_close(residual.double(), rows.double() * scale, 1e-6 if dtype is None else 1e-7)


def test_a_ridge_regression_is_fitted_to_its_closed_form() -> None:
    """`‖Xw − y‖²/2N + λ‖w‖²/2K`: `w = (XᵀX/N + λI/K)⁻¹Xᵀy/N`."""
    x, y, weight = normal(30, 6), normal(30), 0.3
    model = nn.Linear(6, 1, bias=False).double()
    data = gd.RowBlock("data", gd.SampleMap(model, x), y[:, None])
    size = gd.RowBlock("size", gd.FunctionMap(lambda t: t, data.map.theta), torch.zeros(6, dtype=F64), weight=weight)
    solution = gd.fit(gd.Problem((data, size)))
    expected = np.linalg.solve((x.T @ x / 30 + weight * torch.eye(6) / 6).numpy(), (x.T @ y / 30).numpy())
    w = model.weight.detach()[0]
    assert_close(w, torch.from_numpy(expected), 1e-7)
    assert solution.cost == pytest.approx(gd.Problem((data, size)).cost(torch.from_numpy(expected)), rel=1e-12)
    rms = {"data": float((x @ w - y).square().mean().sqrt()), "size": float(w.norm()) / 6**0.5}
    assert gd.Problem((data, size)).block_rms(data.map.theta, solution.cost) == pytest.approx(rms, rel=1e-12)


def test_the_rounding_floor_weighs_rows_as_the_cost_does() -> None:
    """A block of a million times the weight has a million times the floor."""
    data, _ = with_penalty().blocks
    light, heavy = (gd.Problem((gd.RowBlock("data", data.map, data.target, weight=w),)) for w in (1.0, 1e6))
    theta = light.theta
    assert rounding_floor(heavy, theta) == pytest.approx(1e6 * rounding_floor(light, theta), rel=1e-9, abs=0.0)


def test_what_samples_that_look_alike_must_cost_is_their_share_of_the_cost() -> None:
    """The least cost of a constant on them, others left out."""
    problem = two_maps()
    sensor, group = problem.blocks[1], [2, 3, 4]
    assert sensor.weights is not None
    w, y = sensor.weights[group].numpy(), sensor.target[group].numpy()
    mean = (w[:, None] * y).sum(0) / w.sum()
    expected = 3.0 * float((w[:, None] * (y - mean) ** 2).sum()) / (2.0 * float(sensor.weights.sum()))
    assert conflict_cost(problem, sensor, group) == pytest.approx(expected, rel=1e-13)
