"""The descent's door: what it returns, how runs end, and what it leaves of the module."""

import logging
import time
from typing import Any

import numpy as np
import pytest
import torch
from support.callbacks import Clock, stop_after
from support.diabetes import cost_of, diabetes, linear_diabetes, theta_of
from torch import nn

import geodescent as gd
from geodescent.lift import PlannedLift
from geodescent.problem import rounding_floor

F64 = torch.float64
Result = gd.Result

# --- what it returns ------------------------------------------------------------------------------------------------


def test_the_cost_is_the_models_and_never_rises() -> None:
    model, x, y = diabetes()
    cost0 = cost_of(model, x, y)
    solution = gd.fit(model, x, y, max_steps=6)
    history = solution.history
    assert solution.cost0 == pytest.approx(cost0, rel=1e-14)
    assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-10)
    assert solution.steps == 6
    columns = [column for name, column in history.items() if name != "block_rms"]
    assert {len(column) for column in [*columns, *history["block_rms"].values()]} == {7}
    assert np.all(np.diff(history["cost"]) < 0.0)
    assert np.all(np.diff(history["seconds"]) >= 0.0)
    assert list(history["step"]) == list(range(7))
    assert list(history["time"]) == list(range(7))
    assert history["cost"][-1] == solution.cost
    assert solution.seconds >= history["seconds"][-1]


def test_the_records_are_the_history() -> None:
    seen: list[gd.StepRecord] = []
    solution = gd.fit(*diabetes(), max_steps=4, callback=seen.append)
    assert [r.cost for r in seen] == list(solution.history["cost"][1:])
    assert [r.predicted for r in seen] == list(solution.history["predicted"][1:])
    assert [r.damping for r in seen] == list(solution.history["damping"][1:])


def test_it_is_the_same_twice() -> None:
    first, second = (gd.fit(*diabetes(), max_steps=5) for _ in range(2))
    assert np.allclose(first.history["cost"], second.history["cost"], rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("lift", [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()], ids=lambda lift: lift.name)
def test_a_lift_by_name_is_used_and_said(lift: Any) -> None:
    model, x, y = diabetes(12, hidden=4)
    solution = gd.fit(model, x, y, target_cost=1e-6, method=gd.Method(lift=lift))
    assert solution.result is Result.target_reached
    assert solution.stats["lift"] == lift.name
    assert cost_of(model, x, y) <= 1e-6


def test_the_stats_say_what_was_done() -> None:
    stats = gd.fit(*diabetes(), max_steps=3).stats
    assert stats["lift"] == "gram"
    assert stats["solve_dtype"] == "float64"
    assert stats["n_residuals"] == 30
    assert stats["n_params"] == 145
    assert stats["linearisations"] == 3
    assert stats["solves"] >= 3


# --- how runs end ---------------------------------------------------------------------------------------------------


def test_target_reached() -> None:
    model, x, y = diabetes()
    solution = gd.fit(model, x, y, target_cost=1e-9)
    assert solution.result is Result.target_reached
    assert cost_of(model, x, y) <= 1e-9
    assert solution.history["cost"][-2] > 1e-9


def test_rounding_floor() -> None:
    model, x, y = diabetes(20)
    solution = gd.fit(model, x, y)
    assert solution.result is Result.rounding_floor
    assert solution.cost < 1e-26
    assert solution.certificate.point is not None


@pytest.mark.parametrize(("theta", "floors", "steps"), [(1.9, 3.3, 0), (1.7, 4.2, 1)])
def test_four_rounding_floors_have_arrived(theta: float, floors: float, steps: int) -> None:
    """One unit in the last place from the target: the larger θ, the less that is."""
    start = torch.tensor([theta], dtype=F64)
    problem = gd.Problem.over(gd.FunctionMap(lambda at: at, start), start + 2.0**-52)
    assert problem.cost(start) / rounding_floor(problem, start) == pytest.approx(floors, rel=0.02)
    solution = gd.fit(problem)
    assert solution.steps == steps
    assert solution.result is (Result.target_reached if steps else Result.rounding_floor)


def test_stationary_where_parameters_are_few() -> None:
    """K = 11 < m = 30, linear in θ: the least-squares solution of lstsq."""
    model, x, y = linear_diabetes(30)
    solution = gd.fit(model, x, y)
    rows = torch.cat([x, torch.ones(30, 1, dtype=F64)], 1)
    best = torch.linalg.lstsq(rows, y, driver="gelsd").solution
    assert solution.result is Result.stationary
    assert solution.cost == pytest.approx(0.5 * float((rows @ best - y).square().mean()), rel=1e-11)
    assert solution.certificate.guaranteed is False


def test_stationary_at_the_exact_floor_of_conflicting_duplicates() -> None:
    """Three samples of one input: Σ of the targets' spread / 2N is left."""
    model, x, y = diabetes(20)
    x[1] = x[2] = x[0]
    floor = float((y[:3] - y[:3].mean()).square().sum()) / (2 * 20)
    solution = gd.fit(model, x, y)
    assert solution.result is Result.stationary
    assert solution.cost == pytest.approx(floor, rel=1e-10)
    assert solution.certificate.floor == pytest.approx(floor, rel=1e-6)
    assert solution.certificate.causes


def test_max_steps() -> None:
    solution = gd.fit(*diabetes(), max_steps=2)
    assert solution.result is Result.max_steps
    assert solution.steps == 2
    assert gd.fit(*diabetes(), max_steps=0).steps == 0


def test_max_seconds() -> None:
    solution = gd.fit(*diabetes(), max_seconds=0.0)
    assert solution.result is Result.max_seconds
    assert solution.steps == 0


def test_seconds_end_a_run_after_the_step_in_which_they_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that each call of the callback moves by a second; the best point so far is kept."""
    monkeypatch.setattr(time, "perf_counter", (clock := Clock()).read)
    model, x, y = diabetes()
    solution = gd.fit(model, x, y, max_seconds=2.5, callback=clock)
    assert solution.result is Result.max_seconds
    assert solution.steps == 3 and solution.seconds == 3.0
    assert list(solution.history["seconds"]) == [0.0, 0.0, 1.0, 2.0]
    assert cost_of(model, x, y) == pytest.approx(solution.history["cost"].min(), rel=1e-10)


@pytest.mark.parametrize(
    ("error", "result"), [(StopIteration, Result.stopped), (KeyboardInterrupt, Result.interrupted)]
)
def test_a_callback_that_ends_it(error: type[BaseException], result: Result) -> None:
    model, x, y = diabetes()
    solution = gd.fit(model, x, y, callback=stop_after(3, error))
    assert solution.result is result
    assert solution.steps == 3
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-10)


def test_an_exception_in_the_callback_leaves_the_best_point() -> None:
    model, x, y = diabetes()
    seen: list[gd.StepRecord] = []

    def callback(record: gd.StepRecord) -> None:
        seen.append(record)
        if record.step == 3:
            raise RuntimeError("of the user's own")

    with pytest.raises(RuntimeError, match="of the user's own"):
        gd.fit(model, x, y, callback=callback)
    assert cost_of(model, x, y) == pytest.approx(seen[-1].cost, rel=1e-10)


def test_a_target_under_the_rounding_floor_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="geodescent"):
        solution = gd.fit(*diabetes(10), target_cost=1e-60)
    assert solution.result is Result.rounding_floor
    (note,) = solution.stats["notes"]
    assert "target_cost = 1e-60 lies under the rounding floor" in note
    assert note in caplog.messages


def test_every_result_is_a_sentence() -> None:
    for result in Result:
        assert result.value[0].isupper()
        assert result.value.endswith(".")


# --- weights and validation -----------------------------------------------------------------------------------------


def test_weights_are_repeated_samples() -> None:
    """Linear in θ and noisy, where weights move the minimum."""
    model, x, y = linear_diabetes(20)
    times, exact = torch.arange(20) % 3 + 1, gd.Method(lift=gd.NormalLift())
    weighted = gd.fit(model, x, y, weights=times.double(), method=exact)
    other, _, _ = linear_diabetes(20)
    repeated = gd.fit(other, x.repeat_interleave(times, 0), y.repeat_interleave(times, 0), method=exact)
    assert weighted.cost == pytest.approx(repeated.cost, rel=1e-10)
    assert weighted.cost == pytest.approx(cost_of(model, x, y, times.double()), rel=1e-12)
    assert float((theta_of(model) - theta_of(other)).norm()) < 1e-6


def test_weights_step_as_repeated_samples_do() -> None:
    """K > m: C and the exact lift alike, to rounding, wherever the damping has the same scale."""
    model, x, y = diabetes(12)
    doubled = gd.fit(model, x, y, weights=torch.full((12,), 2.0, dtype=F64), max_steps=4)
    other, _, _ = diabetes(12)
    plain = gd.fit(other, x, y, max_steps=4)
    assert np.allclose(doubled.history["cost"], plain.history["cost"], rtol=1e-8)


# --- dtypes and frozen parameters -----------------------------------------------------------------------------------


def test_a_float32_model_keeps_its_dtype_and_comes_near_its_floor() -> None:
    model, x, y = diabetes(20, dtype=torch.float32)
    solution = gd.fit(model, x, y)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert solution.result is Result.rounding_floor
    assert solution.cost < 1e-11
    assert cost_of(model, x, y) < 1e-11
    assert solution.stats["model_dtype"] == "float32"


def test_frozen_parameters_stay() -> None:
    model, x, y = diabetes()
    model[0].requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gd.fit(model, x, y, max_steps=5)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert torch.equal(model[0].bias, before["0.bias"])
    assert not torch.equal(model[2].weight, before["2.weight"])
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_the_module_is_left_without_traces() -> None:
    model, x, y = diabetes()
    model.train()
    gd.fit(model, x, y, max_steps=2)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_jacobian_of_zeros_is_a_critical_point() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False)).double()
    for p in model.parameters():
        nn.init.zeros_(p)
    x, y = torch.randn(9, 2, dtype=torch.float64), torch.ones(9, 1, dtype=torch.float64)
    for lift in (PlannedLift(), gd.KrylovLift(), gd.NormalLift()):
        solution = gd.fit(model, x, y, method=gd.Method(lift=lift))
        assert solution.result is gd.Result.stationary, lift
    optimizer = gd.GeoDescent(model)
    assert optimizer.step(x, y) == 0.5
    assert optimizer.step(x, y) == 0.5


def test_weights_go_with_solves_in_single_precision() -> None:
    model, x, y = diabetes()
    weights = torch.linspace(0.5, 2.0, len(x), dtype=torch.float64)
    solution = gd.fit(model, x, y, weights=weights, max_steps=20, method=gd.Method(solve_dtype=torch.float32))
    assert solution.cost < 1e-6 * solution.cost0
