"""The flow's door: its arrays, its clocks, how it ends and what it leaves behind."""

import math
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.callbacks import Clock
from support.diabetes import cost_of, diabetes, linear_diabetes, theta_of
from support.laws import naive_jacobian
from torch import Tensor

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.lift import Lift

F64 = torch.float64
ARRAYS = ("time", "cost", "predicted_cost", "rank", "sigma_min", "path_bound", "displacement", "line_deviation")


# --- what it returns ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_arrays_are_one_path() -> None:
    model, x, y = diabetes(16)
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


@pytest.mark.slow
def test_the_spectrum_along_the_way_is_that_of_the_dense_jacobian() -> None:
    model, x, y = diabetes(16)
    flow = gd.flow(model, x, y, until=1.0)
    outputs = model(x)[:, 0]
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(o, model.parameters(), retain_graph=True)])
        for o in outputs
    ]
    values = torch.linalg.svdvals(torch.stack(rows))
    assert flow.sigma_min[-1] == pytest.approx(float(values[-1]), rel=1e-8)
    assert flow.rank[-1] == len(x)


@pytest.mark.slow
def test_a_target_is_reached_at_its_stopping_time() -> None:
    model, x, y = diabetes(16)
    flow = gd.flow(model, x, y, target_cost=1e-4)
    assert flow.result is gd.Result.target_reached
    assert flow.time[-1] == pytest.approx(0.5 * math.log(flow.cost0 / 1e-4), rel=1e-12)
    assert cost_of(model, x, y) == pytest.approx(1e-4, rel=1e-8)


@pytest.mark.slow
def test_without_a_time_it_goes_twelve_decades_down() -> None:
    model, x, y = diabetes(8)
    flow = gd.flow(model, x, y)
    assert flow.time[-1] == pytest.approx(6.0 * math.log(10.0), rel=1e-12)
    assert cost_of(model, x, y) == pytest.approx(1e-12 * flow.cost0, rel=1e-5)
    assert flow.max_relative_deviation < 1e-6


@pytest.mark.slow
def test_weights_are_those_of_the_cost() -> None:
    model, x, y = diabetes(8)
    weights = torch.linspace(0.5, 2.0, 8, dtype=F64)
    cost0 = cost_of(model, x, y, weights)
    flow = gd.flow(model, x, y, until=1.5, weights=weights)
    assert flow.cost0 == pytest.approx(cost0, rel=1e-13)
    assert cost_of(model, x, y, weights) == pytest.approx(cost0 * math.exp(-3.0), rel=1e-8)


@pytest.mark.slow
def test_it_is_the_same_twice() -> None:
    first, second = (gd.flow(*diabetes(8), until=1.0) for _ in range(2))
    assert np.array_equal(first.cost, second.cost)
    assert np.array_equal(first.time, second.time)


# --- the other clock ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_straight_line_ends_where_the_flow_ends() -> None:
    ends = []
    for field in (gd.AdaptedField(), gd.StraightLineField()):
        model, x, y = diabetes(8)
        flow = gd.flow(model, x, y, until=3.0, field=field, lift=gd.GramLift())
        assert flow.time[-1] == pytest.approx(3.0, rel=1e-10)
        assert np.all(np.diff(flow.time) > 0.0)
        assert flow.max_relative_deviation < 1e-6
        ends.append(theta_of(model))
    assert float((ends[0] - ends[1]).norm() / ends[0].norm()) < 1e-8


# --- rank lost ------------------------------------------------------------------------------------------------------


def test_where_rank_is_lost_the_curve_has_its_floor_and_says_so() -> None:
    model, x, y = linear_diabetes(6, duplicate=True)
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


@pytest.mark.slow
@pytest.mark.parametrize(("conflict", "shown"), [(1e-4, True), (1e-13, False)])
def test_a_small_floor_is_shown_and_rounding_is_not(conflict: float, shown: bool) -> None:
    """Two targets of one input apart by this much: the floor is a share of the cost, about its square."""
    model, x, y = linear_diabetes(6, duplicate=True)
    y[1] = y[0] + conflict
    flow = gd.flow(model, x, y, until=0.5)
    assert flow.floor == pytest.approx(conflict**2 / (4.0 * len(x)) if shown else 0.0, rel=1e-6)
    assert (flow.law == "C₀·exp(−2τ)") is not shown
    assert np.all(flow.rank == len(x) - 1) and flow.certificate.guaranteed is False


def test_a_target_below_the_floor_is_refused() -> None:
    model, x, y = linear_diabetes(6, duplicate=True)
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
        gd.flow(*diabetes(6), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "result"), [(StopIteration, gd.Result.stopped), (KeyboardInterrupt, gd.Result.interrupted)]
)
def test_a_callback_that_ends_it_keeps_the_point(error: type[BaseException], result: gd.Result) -> None:
    model, x, y = diabetes(8)
    seen = []

    def callback(record: gd.StepRecord) -> None:
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


@pytest.mark.slow
def test_a_flow_that_runs_out_of_time_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that each call of the callback moves by a second: the start and five steps have 5.5 s."""
    assert gd.flow(*diabetes(8), until=3.0).stats["notes"] == []
    monkeypatch.setattr(time, "perf_counter", (clock := Clock()).read)
    model, x, y = diabetes(8)
    stopped = gd.flow(model, x, y, until=3.0, max_seconds=5.5, callback=clock)
    assert stopped.result is gd.Result.max_seconds
    assert len(stopped.time) == 6 and stopped.time[-1] < 3.0
    assert cost_of(model, x, y) == pytest.approx(stopped.cost[-1], rel=1e-12)
    (note,) = stopped.stats["notes"]
    assert note.startswith(
        f"The flow came to τ = {stopped.time[-1]:.3g} of 3, with σ_min = {stopped.sigma_min[-1]:.2g}"
    )


# --- what is measured along the path, and how a step is judged ------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("duplicate", [False, True])
def test_with_weights_everything_along_the_path_is_that_of_scaled_rows(duplicate: bool) -> None:
    model, x, y = diabetes(8, duplicate=duplicate)
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


@pytest.mark.slow
def test_a_row_of_weight_zero_takes_no_rank() -> None:
    model, x, y = diabetes(8)
    weights = torch.ones(8, dtype=F64)
    weights[3] = 0.0
    flow = gd.flow(model, x, y, until=1.0, weights=weights)
    values = torch.linalg.svdvals(weights.sqrt()[:, None] * naive_jacobian(model, x))
    assert flow.rank[-1] == 7 and flow.sigma_min[-1] == pytest.approx(float(values[6]), rel=1e-8)
    assert np.all(flow.line_deviation_lost == 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "known"), [(16, True), (15, False)])
def test_above_a_number_of_residuals_no_spectrum_is_taken(limit: int, known: bool) -> None:
    with spending(Budget(spectrum_order=limit)):
        flow = gd.flow(*diabetes(16), until=0.2)
    assert all(bool(np.isfinite(a).all()) is known for a in (flow.rank, flow.sigma_min, flow.line_deviation_lost))


# --- fields and problems of one's own -------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwiceAsFast:
    """`dx/dτ = −2(x − y)` on a clock that shows 3τ."""

    def velocity(self, residual: Tensor, residual0: Tensor) -> Tensor:
        return -2.0 / 3.0 * residual

    def clock(self, time: float) -> float:
        return 3.0 * time

    def time(self, own: float) -> float:
        return own / 3.0


@pytest.mark.slow
@pytest.mark.parametrize("lift", [gd.GramLift(), gd.KrylovLift()], ids=lambda lift: lift.name)
def test_a_field_of_ones_own_is_followed_on_its_own_clock(lift: Lift) -> None:
    model, x, y = diabetes(8)
    flow = gd.flow(model, x, y, until=1.5, field=TwiceAsFast(), lift=lift)
    assert flow.time[-1] == pytest.approx(1.5, rel=1e-12)
    assert np.allclose(flow.cost, flow.cost0 * np.exp(-4.0 * flow.time), rtol=1e-7)
    assert flow.stats["lift"] == lift.name


@pytest.mark.slow
def test_several_blocks_of_rows_follow_the_law_as_one() -> None:
    """Two parts of the patients with weights of their own: everything along the path is of the stacked, scaled rows."""
    model, x, y = diabetes(12)
    weights = torch.linspace(0.5, 2.0, 8, dtype=torch.float64)
    problem = gd.Problem(
        (
            gd.RowBlock("first", gd.SampleMap(model, x[:8]), y[:8], weights=weights),
            gd.RowBlock("rest", gd.SampleMap(model, x[8:]), y[8:], weight=0.3),
        )
    )
    cost0 = cost_of(model, x[:8], y[:8], weights) + 0.3 * cost_of(model, x[8:], y[8:])
    records: list[gd.StepRecord] = []
    flow = gd.flow(problem, until=1.0, callback=records.append)
    n = float(weights.sum()) + 4.0
    scale = torch.cat([weights * n / weights.sum(), torch.full((4,), 0.3 * n / 4.0, dtype=torch.float64)]).sqrt()
    values = torch.linalg.svdvals(scale[:, None] * naive_jacobian(model, x))
    assert flow.cost0 == pytest.approx(cost0, rel=1e-13)
    assert np.allclose(flow.cost, cost0 * np.exp(-2.0 * flow.time), rtol=1e-8)
    assert flow.sigma_min[-1] == pytest.approx(float(values[-1]), rel=1e-8)
    assert flow.rank[-1] == 12 and flow.certificate.guaranteed is True
    off = (model(x) - y).detach()[:, 0].square()
    rms = {"first": math.sqrt(float(off[:8].mean())), "rest": math.sqrt(float(off[8:].mean()))}
    assert records[-1].block_rms == pytest.approx(rms, rel=1e-10)
