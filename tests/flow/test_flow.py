"""The flow's door: its arrays, its clocks, how it ends and what it leaves behind."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from support.laws import naive_jacobian
from torch import Tensor, nn

import geodescent as gd
from geodescent._record import StepRecord
from geodescent.flow import AdaptedField, _path
from geodescent.flow._stepper import OutputStepper, Tolerance
from geodescent.problem import Problem

F64 = torch.float64
ARRAYS = ("time", "cost", "predicted_cost", "rank", "sigma_min", "path_bound", "displacement", "line_deviation")


def problem(n: int = 16, *, duplicate: bool = False) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])[:, None]
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    if duplicate:
        x[1] = x[0]
    return nn.Sequential(nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 1)).double(), x, y


def linear(n: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    """Linear in θ, samples 0 and 1 with one input and two targets."""
    _, x, y = problem(n, duplicate=True)
    return nn.Linear(10, 1).double(), x, y


def cost_of(model: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None = None) -> float:
    """C by another path than the library's."""
    square = (model(x).detach() - y).square().sum(1)
    weights = torch.ones(len(x), dtype=F64) if weights is None else weights
    return 0.5 * float((weights * square).sum() / weights.sum())


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


# --- what it returns ------------------------------------------------------------------------------------------------


def test_the_arrays_are_one_path() -> None:
    model, x, y = problem()
    cost0, theta0 = cost_of(model, x, y), theta_of(model)
    flow = gd.flow(model, x, y, until=2.0)
    arrays = {name: getattr(flow, name) for name in ARRAYS}
    assert {a.shape for a in arrays.values()} == {(len(flow.time),)}
    assert len(flow.time) > 20
    assert flow.time[0] == 0.0
    assert np.all(np.diff(flow.time) > 0.0)
    assert flow.time[-1] == pytest.approx(2.0, rel=1e-12)
    assert flow.cost[0] == pytest.approx(cost0, rel=1e-14)
    assert flow.cost0 == flow.cost[0]
    assert np.allclose(flow.predicted_cost, cost0 * np.exp(-2.0 * flow.time), rtol=1e-13)
    assert flow.cost[-1] == pytest.approx(cost_of(model, x, y), rel=1e-12)
    assert flow.max_relative_deviation == np.max(np.abs(flow.cost / flow.predicted_cost - 1.0)) < 1e-8
    assert flow.displacement[-1] == pytest.approx(float((theta_of(model) - theta0).norm()), rel=1e-12)
    assert np.all(flow.displacement <= flow.path_bound)
    assert flow.result is gd.Result.time_reached
    assert flow.law == "C₀·exp(−2τ)"
    assert flow.certificate.guaranteed is True


def test_the_spectrum_along_the_way_is_that_of_the_dense_jacobian() -> None:
    model, x, y = problem()
    flow = gd.flow(model, x, y, until=1.0)
    outputs = model(x)[:, 0]
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(o, model.parameters(), retain_graph=True)])
        for o in outputs
    ]
    values = torch.linalg.svdvals(torch.stack(rows))
    assert flow.sigma_min[-1] == pytest.approx(float(values[-1]), rel=1e-8)
    assert flow.rank[-1] == len(x)


def test_a_target_is_reached_at_its_stopping_time() -> None:
    model, x, y = problem()
    flow = gd.flow(model, x, y, target_cost=1e-4)
    assert flow.result is gd.Result.target_reached
    assert flow.time[-1] == pytest.approx(0.5 * math.log(flow.cost0 / 1e-4), rel=1e-12)
    assert cost_of(model, x, y) == pytest.approx(1e-4, rel=1e-8)


def test_without_a_time_it_goes_twelve_decades_down() -> None:
    model, x, y = problem(8)
    flow = gd.flow(model, x, y)
    assert flow.time[-1] == pytest.approx(6.0 * math.log(10.0), rel=1e-12)
    assert cost_of(model, x, y) == pytest.approx(1e-12 * flow.cost0, rel=1e-5)
    assert flow.max_relative_deviation < 1e-6


def test_weights_are_those_of_the_cost() -> None:
    model, x, y = problem(8)
    weights = torch.linspace(0.5, 2.0, 8, dtype=F64)
    cost0 = cost_of(model, x, y, weights)
    flow = gd.flow(model, x, y, until=1.5, weights=weights)
    assert flow.cost0 == pytest.approx(cost0, rel=1e-13)
    assert cost_of(model, x, y, weights) == pytest.approx(cost0 * math.exp(-3.0), rel=1e-8)


def test_it_is_the_same_twice() -> None:
    first, second = (gd.flow(*problem(8), until=1.0) for _ in range(2))
    assert np.array_equal(first.cost, second.cost)
    assert np.array_equal(first.time, second.time)


# --- the other clock ------------------------------------------------------------------------------------------------


def test_the_straight_line_ends_where_the_flow_ends() -> None:
    ends = []
    for field in (AdaptedField(), gd.StraightLineField()):
        model, x, y = problem(8)
        flow = gd.flow(model, x, y, until=3.0, method=gd.Method(field=field, lift=gd.GramLift()))
        assert flow.time[-1] == pytest.approx(3.0, rel=1e-10)
        assert np.all(np.diff(flow.time) > 0.0)
        assert flow.max_relative_deviation < 1e-6
        ends.append(theta_of(model))
    assert float((ends[0] - ends[1]).norm() / ends[0].norm()) < 1e-8


# --- rank lost ------------------------------------------------------------------------------------------------------


def test_where_rank_is_lost_the_curve_has_its_floor_and_says_so() -> None:
    model, x, y = linear()
    floor = float((y[0] - y[1]) ** 2) / 2.0 / (2 * len(x))
    flow = gd.flow(model, x, y, until=4.0)
    assert flow.floor == pytest.approx(floor, rel=1e-9)
    assert flow.law == "F + (C₀ − F)·exp(−2τ), F the instant floor at the start"
    assert np.all(flow.rank == len(x) - 1)
    assert np.all(flow.sigma_min == 0.0)
    assert np.all(np.isinf(flow.path_bound[1:]))
    assert np.allclose(flow.cost, floor + (flow.cost0 - floor) * np.exp(-2.0 * flow.time), rtol=1e-8)
    assert cost_of(model, x, y) == pytest.approx(flow.cost[-1], rel=1e-12)
    assert flow.certificate.guaranteed is False


def test_a_target_below_the_floor_is_refused() -> None:
    model, x, y = linear()
    before = theta_of(model)
    with pytest.raises(gd.InputError, match=r"is not above the floor .*no time reaches it"):
        gd.flow(model, x, y, target_cost=1e-12)
    assert torch.equal(theta_of(model), before)


# --- questions and callbacks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": 1.0, "target_cost": 1e-3}, r"both say when to stop: pass one of them"),
        ({"until": 0.0}, r"τ must be positive and finite"),
        ({"until": math.inf}, r"τ must be positive and finite"),
        ({"until": math.nan}, r"τ must be positive and finite"),
        ({"target_cost": 0.0}, r"no cost of zero or below in finite time"),
        ({"target_cost": -1.0}, r"no cost of zero or below in finite time"),
        ({"target_cost": math.nan}, r"no cost of zero or below in finite time"),
    ],
)
def test_questions_without_an_answer(options: dict[str, float], message: str) -> None:
    with pytest.raises(gd.InputError, match=message):
        gd.flow(*problem(6), **options)


@pytest.mark.parametrize(
    ("error", "result"), [(StopIteration, gd.Result.stopped), (KeyboardInterrupt, gd.Result.interrupted)]
)
def test_a_callback_that_ends_it_keeps_the_point(error: type[BaseException], result: gd.Result) -> None:
    model, x, y = problem(8)
    seen = []

    def callback(record: StepRecord) -> None:
        seen.append(record)
        if record.time > 1.0:
            raise error

    flow = gd.flow(model, x, y, until=3.0, callback=callback)
    assert flow.result is result
    assert 1.0 < flow.time[-1] < 3.0
    assert flow.cost[-1] == pytest.approx(cost_of(model, x, y), rel=1e-12)
    assert [r.step for r in seen] == list(range(len(flow.time)))  # the start first
    assert [r.cost for r in seen] == list(flow.cost)
    assert [r.time for r in seen] == list(flow.time)
    assert [r.rank for r in seen] == [8] * len(seen)
    assert np.allclose([r.predicted for r in seen], flow.predicted_cost, rtol=1e-13)


def test_a_flow_that_runs_out_of_time_says_how_far_it_came() -> None:
    ended = gd.flow(*problem(8), until=3.0)
    assert ended.stats["notes"] == []
    stopped = gd.flow(*problem(8), until=3.0, max_seconds=0.05)
    assert stopped.result is gd.Result.max_seconds
    if len(stopped.time) > 1:  # on a slow machine there was time for no step
        (note,) = stopped.stats["notes"]
        assert note.startswith(f"The flow came to τ = {stopped.time[-1]:.3g} of 3, with σ_min = ")


# --- what is measured along the path, and how a step is judged ------------------------------------------------------


@pytest.mark.parametrize("duplicate", [False, True])
def test_with_weights_everything_along_the_path_is_that_of_scaled_rows(duplicate: bool) -> None:
    model, x, y = problem(8, duplicate=duplicate)
    scale = torch.linspace(0.5, 2.0, 8, dtype=F64).sqrt()
    start = (model(x) - y).detach()[:, 0]
    flow = gd.flow(model, x, y, until=1.0, weights=scale.square())
    left, values, _ = torch.linalg.svd(scale[:, None] * naive_jacobian(model, x), full_matrices=False)
    basis = left[:, values > 1e-10 * values[0]]
    off, length = scale * ((model(x) - y).detach()[:, 0] - math.exp(-1.0) * start), float((scale * start).norm())
    lost = float((off - basis @ (basis.T @ off)).norm()) / length
    assert flow.line_deviation[-1] == pytest.approx(float(off.norm()) / length, rel=1e-7, abs=1e-9)
    assert flow.line_deviation_lost[-1] == pytest.approx(lost, rel=1e-7, abs=1e-9)
    assert flow.rank[-1] == basis.shape[1]
    assert duplicate or flow.sigma_min[-1] == pytest.approx(float(values[-1]), rel=1e-8)


def test_a_row_of_weight_zero_takes_no_rank() -> None:
    model, x, y = problem(8)
    weights = torch.ones(8, dtype=F64)
    weights[3] = 0.0
    flow = gd.flow(model, x, y, until=1.0, weights=weights)
    values = torch.linalg.svdvals(weights.sqrt()[:, None] * naive_jacobian(model, x))
    assert flow.rank[-1] == 7 and flow.sigma_min[-1] == pytest.approx(float(values[6]), rel=1e-8)
    assert np.all(flow.line_deviation_lost == 0.0)


@pytest.mark.parametrize(("limit", "known"), [(16, True), (15, False)])
def test_above_a_number_of_residuals_no_spectrum_is_taken(
    monkeypatch: pytest.MonkeyPatch, limit: int, known: bool
) -> None:
    monkeypatch.setattr(_path, "SPECTRUM_LIMIT", limit)
    flow = gd.flow(*problem(16), until=0.2)
    assert all(bool(np.isfinite(a).all()) is known for a in (flow.rank, flow.sigma_min, flow.line_deviation_lost))


def test_the_tolerance_of_a_step_is_that_of_scaled_outputs() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(5, 3, dtype=F64), torch.randn(5, 2, dtype=F64)
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0], dtype=F64)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    asked = Problem.of(model, x, y, weights=weights)
    scale, theta, eps = weights.sqrt().repeat_interleave(2), asked.theta.numpy(), 2.0**-52
    rows, outputs, v = (
        scale[:, None] * naive_jacobian(model, x),
        model(x).detach().reshape(-1),
        torch.randn(50, dtype=F64),
    )
    found = Tolerance.at(asked, theta, lambda outputs: asked.residual(outputs), tol=1e-6)
    rounding = 100.0 * eps * float((scale * outputs).norm())
    assert np.allclose(found.apply(v.numpy()), (rows @ v).numpy(), rtol=1e-12)
    residual = float((scale * (outputs - y.reshape(-1))).norm())
    assert found.outputs == pytest.approx(1e-7 * residual + rounding, rel=1e-12, abs=0.0)
    assert found.outputs != pytest.approx(1e-7 * residual, rel=1e-12, abs=0.0)
    assert found.way == pytest.approx(1e-5) and found.theta == pytest.approx(
        100.0 * eps * np.linalg.norm(theta), abs=0.0
    )
    assert found.largest == pytest.approx(float(torch.linalg.svdvals(rows)[0]), rel=1e-2)


@pytest.mark.parametrize(("outputs", "way"), [(1e-3, 1e9), (1e9, 1e-3)])
def test_the_error_of_a_step_is_the_larger_of_both(outputs: float, way: float) -> None:
    """`‖e₅‖²/√(‖e₅‖² + 0.01‖e₃‖²)`, of D e and of e."""
    rows = np.array([[2.0, 0.0]])
    tolerance = Tolerance(lambda v: rows @ v, outputs, way, 1e-12, 2.0)
    stepper = OutputStepper(lambda _, y: -y, 0.0, np.ones(2), 1.0, tolerance=tolerance, first_step=0.1)
    stages = np.random.default_rng(0).normal(size=(13, 2))
    five, three = stages.T @ stepper.E5, stages.T @ stepper.E3
    in_outputs, in_theta = (
        a @ a / math.sqrt(a @ a + 0.01 * b @ b) for a, b in ((rows @ five, rows @ three), (five, three))
    )
    expected = 0.1 * max(in_outputs / outputs, in_theta / (way * 0.1 * np.linalg.norm(stages[0]) + 1e-12))
    assert stepper._estimate_error_norm(stages, 0.1, np.ones(2)) == pytest.approx(expected, rel=1e-12)
