"""What a stranger brings, through every door: maps of their own, formulas, and problems of several blocks of rows.

Each case has an oracle: `θ ↦ s(x − y)`, written out with plain torch, from which autograd makes D.
"""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from support.diabetes import diabetes
from torch import Tensor, nn
from torch.func import functional_call

import geodescent as gd
from geodescent._budget import Budget, spending

F64 = torch.float64
M, K = 6, 9


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


A, B, THETA0 = normal(M, K, seed=0), normal(M, K, seed=1), 0.5 * normal(K, seed=2)
Y, W = normal(M, seed=3), torch.tensor([0.5, 2.0, 1.0], dtype=F64)


def wave(theta: Tensor) -> Tensor:
    """`Aθ + ½ sin Bθ`, (m,)."""
    return A @ theta + 0.5 * torch.sin(B @ theta)


def wave_jacobian(theta: Tensor) -> Tensor:
    return A + 0.5 * torch.cos(B @ theta)[:, None] * B


class Stranger:
    """An output map with nothing but the verbs: D as a tensor, or as two functions that multiply with it."""

    def __init__(self, shape: tuple[int, ...], *, pair: bool) -> None:
        self.theta, self.shape, self.dtype, self.device = THETA0.clone(), shape, F64, torch.device("cpu")
        self.pair = pair

    def __call__(self, theta: Tensor) -> Tensor:
        return wave(theta).view(self.shape)

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
        matrix = wave_jacobian(theta)
        if not self.pair:
            return self(theta), gd.MatrixJacobian(matrix)
        return self(theta), gd.MatrixJacobian((lambda v: matrix @ v, lambda u: matrix.T @ u), shape=(M, K))

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return (-0.5 * torch.sin(B @ theta) * (B @ direction).square()).view(self.shape)

    def write(self, theta: Tensor) -> None:
        self.theta.copy_(theta)


@dataclass(frozen=True)
class Case:
    """A problem, and what it is by another path.

    Attributes:
        residual: `θ ↦ s(x − y)`, (m,).
        n: N.
        parameters: those that an optimizer of the problem moves; None for one that holds θ.
        in_matrix: so many of the first entries of θ form a matrix, which has one unit.
    """

    problem: gd.Problem
    residual: Callable[[Tensor], Tensor]
    n: float
    parameters: list[nn.Parameter] | None = None
    in_matrix: int = 0

    @property
    def is_network(self) -> bool:
        """Whether its θ belongs to layers."""
        return any(isinstance(block.map, gd.SampleMap) for block in self.problem.blocks)

    def cost(self, theta: Tensor) -> float:
        return float(self.residual(theta).square().sum()) / (2.0 * self.n)

    def jacobian(self, theta: Tensor) -> np.ndarray:
        return torch.autograd.functional.jacobian(self.residual, theta).numpy()


def stranger(*, pair: bool) -> Case:
    """Outputs (6,), or (3, 2) with weights where D is a pair of functions."""
    if not pair:
        return Case(gd.Problem.over(Stranger((M,), pair=False), Y), lambda theta: wave(theta) - Y, float(M))
    problem = gd.Problem((gd.RowBlock("waves", Stranger((3, 2), pair=True), Y.view(3, 2), weights=W),))
    scale = W.sqrt().repeat_interleave(2)
    return Case(problem, lambda theta: scale * (wave(theta) - Y), float(W.sum()))


def formula() -> Case:
    return Case(gd.Problem.over(gd.FunctionMap(wave, THETA0), Y), lambda theta: wave(theta) - Y, float(M))


def named_formula() -> Case:
    """The same of two tensors, of which θ is what stands one behind the other."""
    named = {"matrix": THETA0[:8].view(2, 4), "shift": THETA0[8:]}
    outputs = gd.FunctionMap(lambda p: wave(torch.cat([p["matrix"].reshape(-1), p["shift"]])), named)
    return Case(gd.Problem.over(outputs, Y), lambda theta: wave(theta) - Y, float(M), in_matrix=8)


def outputs_of(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """θ ↦ the outputs of a module with parameters θ, (N,)."""
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def outputs(theta: Tensor) -> Tensor:
        parts = theta.split([math.prod(shape) for shape in shapes.values()])
        views = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return functional_call(model, views, x)[:, 0]

    return outputs


def two_data_sets() -> Case:
    """Six precise measurements and eight of three times their noise, of one module."""
    model, x, y = diabetes(14, hidden=5)
    precise = gd.RowBlock("precise", gd.SampleMap(model, x[:6]), y[:6])
    rough = gd.RowBlock("rough", gd.SampleMap(model, x[6:]), y[6:], weight=1.0 / 9.0)
    scale = torch.cat([torch.full((6,), 14.0 / 6.0, dtype=F64), torch.full((8,), 14.0 / 8.0 / 9.0, dtype=F64)]).sqrt()
    outputs = outputs_of(model, x)
    return Case(
        gd.Problem((precise, rough)), lambda theta: scale * (outputs(theta) - y[:, 0]), 14.0, list(model.parameters())
    )


def data_and_penalty() -> Case:
    """Ten patients, weighted, and the biases of the hidden layer that are to be small: both can be had."""
    model, x, y = diabetes(10, hidden=5)
    weights = torch.linspace(0.5, 2.0, 10, dtype=F64)
    biases = slice(50, 55)  # behind the 10 × 5 weights of the first layer
    data = gd.SampleMap(model, x)
    penalty = gd.FunctionMap(lambda theta: theta[biases], data.theta)
    blocks = (
        gd.RowBlock("data", data, y, weights=weights),
        gd.RowBlock("small", penalty, torch.zeros(5, dtype=F64), weight=0.1),
    )
    total, outputs = float(weights.sum()), outputs_of(model, x)
    n = total + 5.0
    scale, light = (weights * n / total).sqrt(), math.sqrt(0.1 * n / 5.0)

    def residual(theta: Tensor) -> Tensor:
        return torch.cat([scale * (outputs(theta) - y[:, 0]), light * theta[biases]])

    return Case(gd.Problem(blocks), residual, n, list(model.parameters()))


CASES: dict[str, Callable[[], Case]] = {
    "a map of one's own, D a tensor": lambda: stranger(pair=False),
    "a map of one's own, D two functions": lambda: stranger(pair=True),
    "a formula": formula,
    "a formula of named tensors": named_formula,
    "two data sets of one module": two_data_sets,
    "data and a penalty": data_and_penalty,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def test_a_stranger_s_map_has_nothing_but_the_verbs() -> None:
    verbs = {"theta", "shape", "dtype", "device", "__call__", "linearise", "second_derivative", "write"}
    own = {name for name in [*vars(Stranger), *vars(Stranger((M,), pair=True))] if not name.startswith("__")}
    assert own - {"pair"} == verbs - {"__call__"}
    assert isinstance(Stranger((M,), pair=True), gd.OutputMap)


@pytest.mark.parametrize("method", [None, gd.Method(lift=gd.KrylovLift())], ids=["planned", "by products"])
def test_fit_goes_to_the_rounding_floor(case: Case, method: gd.Method | None) -> None:
    start = case.problem.theta
    solution = gd.fit(case.problem, method=method)
    assert solution.result is gd.Result.rounding_floor
    assert solution.cost0 == pytest.approx(case.cost(start), rel=1e-12)
    assert case.cost(solution.theta) < 1e-26
    for block in case.problem.blocks:
        assert torch.equal(block.map.theta, solution.theta)  # all maps stand at the best point
    assert solution.certificate.point is not None and solution.certificate.point.kind == "zero_cost"


@pytest.mark.slow
def test_flow_follows_the_law(case: Case) -> None:
    """Full row rank, so that `C = C₀ e^{−2τ}` at every step, also read by the oracle at the end."""
    cost0 = case.cost(case.problem.theta)
    flow = gd.flow(case.problem, until=3.0)
    assert np.all(flow.rank == case.problem.n_residuals)
    assert np.allclose(flow.cost, cost0 * np.exp(-2.0 * flow.time), rtol=1e-8, atol=0.0)
    assert case.cost(case.problem.theta) == pytest.approx(cost0 * math.exp(-6.0), rel=1e-8)
    assert flow.certificate.guaranteed is True


@pytest.mark.parametrize("metric", ["flow", "fit"])
def test_the_certificate_shows_the_singular_values_of_the_stacked_weighted_d(
    case: Case, metric: Literal["flow", "fit"]
) -> None:
    """Of D itself in the metric of a flow; of D with columns of length 1 in that of a fit."""
    theta = case.problem.theta
    dense = case.jacobian(theta)
    certificate = gd.certify(case.problem, metric=metric)
    assert (certificate.metric is None) is (metric == "flow" or case.is_network)
    if certificate.metric is not None:
        squares = np.square(dense).sum(0)
        squares[: case.in_matrix] = np.mean(squares[: case.in_matrix]) if case.in_matrix else 0.0
        dense = dense / np.sqrt(squares)
    values = np.linalg.svd(dense, compute_uv=False)
    assert (certificate.n_residuals, certificate.n_params) == case.jacobian(theta).shape
    assert certificate.rank == len(values)
    assert certificate.sigma_max == pytest.approx(values[0], rel=1e-10)
    assert certificate.sigma_min == pytest.approx(values[-1], rel=1e-10)
    assert certificate.condition == pytest.approx(values[0] / values[-1], rel=1e-10)
    assert certificate.cost == pytest.approx(case.cost(theta), rel=1e-12)
    assert certificate.floor == 0.0 and certificate.regime == "overparametrised"


def test_an_optimizer_of_the_problem_lowers_its_cost(case: Case) -> None:
    """Its parameters are those of the module, or one that shares the memory of θ; a step returns the cost before."""
    optimizer = gd.GeoDescent(case.problem)
    (group,) = optimizer.param_groups

    def moved() -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in group["params"]])

    costs = [case.cost(moved())]
    for _ in range(4):
        assert optimizer.step() == pytest.approx(costs[-1], rel=1e-9)
        costs.append(case.cost(moved()))
        assert all(torch.equal(block.map.theta, moved()) for block in case.problem.blocks)
    assert costs[-1] < 1e-3 * costs[0]
    if case.parameters is None:
        (theta,) = group["params"]
        assert theta.data_ptr() == case.problem.blocks[0].map.theta.data_ptr()
    else:
        assert [id(p) for p in group["params"]] == [id(p) for p in case.parameters]


@pytest.mark.slow
def test_the_first_formula_of_a_process_warns_of_nothing() -> None:
    """Torch warns of a deprecated call of its own where forward mode is loaded."""
    program = (
        "import torch, geodescent as gd\n"
        "outputs = gd.FunctionMap(lambda theta: torch.sin(theta), torch.ones(3, dtype=torch.float64))\n"
        "print(tuple(outputs.linearise()[1].shape))\n"
    )
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "(3, 3)\n"


@pytest.mark.parametrize("method", [None, gd.Method()], ids=["planned stages", "planned parts"])
def test_a_map_known_by_products_alone_is_fitted_where_no_row_can_be_formed(method: gd.Method | None) -> None:
    """x = Dθ + θ²-terms, D by two functions; the budget has no room for its rows."""
    torch.manual_seed(0)
    matrix = torch.randn(20, 60, dtype=F64)

    class Products:
        theta = torch.zeros(60, dtype=F64)
        shape, dtype, device = (20,), F64, torch.device("cpu")

        def __call__(self, theta: Tensor) -> Tensor:
            return matrix @ torch.sin(theta)

        def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
            slope = torch.cos(theta)
            pair = (lambda v: matrix @ (slope * v), lambda u: slope * (matrix.T @ u))
            return self(theta), gd.MatrixJacobian(pair, shape=(20, 60))

        def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
            return -matrix @ (torch.sin(theta) * direction**2)

        def write(self, theta: Tensor) -> None:
            self.theta = theta.clone()

    with spending(Budget(rows_numbers=100)):
        problem = gd.Problem.over(Products(), torch.randn(20, dtype=F64))
        solution = gd.fit(problem, method=method)
    assert solution.result is gd.Result.rounding_floor and solution.cost < 1e-28
    assert solution.stats["lift"] == "krylov"


# --- a map that returns what its shape and type do not allow ----------------------------------------------------------


def with_outputs(change: Callable[[Tensor], Any]) -> type[Stranger]:
    """A stranger whose outputs are changed."""

    class Changed(Stranger):
        def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
            outputs, jacobian = super().linearise(theta)
            return change(outputs), jacobian

    return Changed


def with_jacobian(change: Callable[[Tensor], Any]) -> type[Stranger]:
    """A stranger whose D is changed."""

    class Changed(Stranger):
        def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
            return self(theta), change(wave_jacobian(theta))

    return Changed


def in_single_precision(d: Tensor) -> gd.Jacobian:
    d = d.float()
    return gd.MatrixJacobian((lambda v: d @ v, lambda u: d.T @ u), shape=(M, K), dtype=torch.float32)


RETURNED: list[tuple[type[Stranger], str]] = [
    (with_jacobian(lambda d: d), r"returned Tensor for D: return outputs, gd\.MatrixJacobian\(D\)"),
    (
        with_jacobian(lambda d: gd.MatrixJacobian(d.T)),
        r"D of shape \(9, 6\): \(m, K\) = \(6, 9\) .* transposed: pass D\.T",
    ),
    (with_jacobian(lambda d: gd.MatrixJacobian(d[1:])), r"D of shape \(5, 9\): \(m, K\) = \(6, 9\) is needed\.$"),
    (
        with_jacobian(in_single_precision),
        r"D in torch\.float32 on cpu, and the map is torch\.float64.*dtype=torch\.float64",
    ),
    (
        with_jacobian(
            lambda d: gd.MatrixJacobian((lambda v: (d @ v)[:, None], lambda u: (d.T @ u)[None]), shape=(M, K))
        ),
        r"mv of gd\.MatrixJacobian returned shape \((6, 1|1, 9)\)",
    ),
    (with_outputs(lambda x: x.tolist()), "linearise of Changed returned list: a tensor of outputs"),
    (
        with_outputs(lambda x: x.view(2, 3)),
        r"returned shape \(2, 3\), and its shape is \(6,\): return outputs\.reshape",
    ),
    (with_outputs(lambda x: x.float()), r"returned torch\.float32 on cpu, and the map is torch\.float64"),
]


@pytest.mark.parametrize("door", [gd.fit, gd.certify, gd.flow])
@pytest.mark.parametrize(("kind", "sentence"), RETURNED)
def test_what_a_map_returns_is_checked(
    kind: type[Stranger], sentence: str, door: Callable[[gd.Problem], object]
) -> None:
    problem = gd.Problem.over(kind((M,), pair=False), Y)
    with pytest.raises(gd.InputError, match=sentence):
        door(problem)


def test_a_linearisation_is_a_pair() -> None:
    class Alone(Stranger):
        def linearise(self, theta: Tensor) -> Any:
            return super().linearise(theta)[1]

    with pytest.raises(gd.InputError, match=r"linearise of Alone returned MatrixJacobian: a pair \(outputs, D\)"):
        gd.fit(gd.Problem.over(Alone((M,), pair=False), Y))


def test_outputs_and_second_derivatives_are_checked_too() -> None:
    class Wide(Stranger):
        def __call__(self, theta: Tensor) -> Tensor:
            return wave(theta)[None]

        def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
            return super().second_derivative(theta, direction)[1:]

    problem = gd.Problem.over(Wide((M,), pair=False), Y)
    with pytest.raises(gd.InputError, match=r"__call__ of Wide returned shape \(1, 6\), and its shape is \(6,\)"):
        problem.outputs(THETA0)
    with pytest.raises(gd.InputError, match=r"second_derivative of Wide returned shape \(5,\)"):
        problem.second_derivative(THETA0, THETA0)


def test_outputs_that_are_attached_to_a_graph_are_detached() -> None:
    factor = nn.Parameter(torch.ones((), dtype=F64))

    class Attached(Stranger):
        def __call__(self, theta: Tensor) -> Tensor:
            return factor * super().__call__(theta)

        def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
            return factor * super().second_derivative(theta, direction)

    problem = gd.Problem.over(Attached((M,), pair=False), Y)
    assert not problem.outputs(THETA0).requires_grad and not problem.linearise(THETA0)[0].requires_grad
    assert not problem.second_derivative(THETA0, THETA0).requires_grad
    assert gd.fit(problem).result is gd.Result.rounding_floor


NAMED_WRONGLY: list[tuple[str, object, str]] = [
    ("device", "cpu", r"device 'cpu', and its theta is .* on device\(type='cpu'\): return .*self\.theta\.device"),
    ("dtype", torch.float32, r"has dtype torch\.float32 .* its theta is torch\.float64"),
    ("shape", (), r"the shape of Stranger is \(\): \(m,\) or \(N, Q\) is needed.*\(1,\) for one number"),
    ("shape", [M], r"the shape of Stranger is \[6\]"),
    ("shape", (0,), r"the shape of Stranger is \(0,\)"),
    ("theta", THETA0[None], r"the theta of Stranger is shape \(1, 9\): a flat tensor \(K,\)"),
    ("theta", THETA0.tolist(), "the theta of Stranger is list"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), NAMED_WRONGLY)
def test_what_a_map_says_of_itself_is_checked(name: str, value: object, sentence: str) -> None:
    outputs = Stranger((M,), pair=False)
    setattr(outputs, name, value)
    with pytest.raises(gd.InputError, match=sentence):
        gd.RowBlock("data", outputs, Y)
