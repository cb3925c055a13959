"""The descent's door: how runs end, what they keep, and what they refuse."""

import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from support.laws import assert_close
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent import _budget as _memory
from geodescent._errors import MemoryPlanError
from geodescent._record import StepRecord
from geodescent.descent import Stopping, _checkpoint, descend, start
from geodescent.lift import PlannedLift
from geodescent.problem import FixedSource, Problem, _problem

F64 = torch.float64
Result = gd.Result


def problem(n: int = 30, *, hidden: int = 12, dtype: torch.dtype = F64) -> tuple[nn.Module, Tensor, Tensor]:
    """Diabetes, K > m: full rank, zero cost exists."""
    torch.manual_seed(0)
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])[:, None]
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return nn.Sequential(nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 1)).to(dtype), x.to(dtype), y.to(dtype)


def linear(n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Linear in θ: K = 11."""
    _, x, y = problem(n)
    return nn.Linear(10, 1).double(), x, y


def cost_of(model: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None = None) -> float:
    """C by another path than the library's."""
    square = (model(x).detach().double() - y.double()).square().reshape(len(x), -1).sum(1)
    weights = torch.ones(len(x), dtype=F64) if weights is None else weights
    return 0.5 * float((weights * square).sum() / weights.sum())


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


def stop_after(steps: int, error: type[BaseException] = StopIteration):
    def callback(record: StepRecord) -> None:
        if record.step >= steps:
            raise error

    return callback


# --- what it returns ------------------------------------------------------------------------------------------------


def test_the_cost_is_the_models_and_never_rises() -> None:
    model, x, y = problem()
    cost0 = cost_of(model, x, y)
    solution = gd.fit(model, x, y, max_steps=6)
    history = solution.history
    assert solution.cost0 == pytest.approx(cost0, rel=1e-14)
    assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-10)
    assert solution.steps == 6
    assert {len(column) for column in history.values()} == {7}
    assert np.all(np.diff(history["cost"]) < 0.0)
    assert np.all(np.diff(history["seconds"]) >= 0.0)
    assert list(history["step"]) == list(range(7))
    assert list(history["time"]) == list(range(7))
    assert history["cost"][-1] == solution.cost
    assert solution.seconds >= history["seconds"][-1]


def test_the_records_are_the_history() -> None:
    seen: list[StepRecord] = []
    solution = gd.fit(*problem(), max_steps=4, callback=seen.append)
    assert [r.cost for r in seen] == list(solution.history["cost"][1:])
    assert [r.predicted for r in seen] == list(solution.history["predicted"][1:])
    assert [r.damping for r in seen] == list(solution.history["damping"][1:])


def test_it_is_the_same_twice() -> None:
    first, second = (gd.fit(*problem(), max_steps=5) for _ in range(2))
    assert np.allclose(first.history["cost"], second.history["cost"], rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("lift", [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()], ids=lambda lift: lift.name)
def test_a_lift_by_name_is_used_and_said(lift: Any) -> None:
    model, x, y = problem(12, hidden=4)
    solution = gd.fit(model, x, y, target_cost=1e-6, method=gd.Method(lift=lift))
    assert solution.result is Result.target_reached
    assert solution.stats["lift"] == lift.name
    assert cost_of(model, x, y) <= 1e-6


def test_the_stats_say_what_was_done() -> None:
    stats = gd.fit(*problem(), max_steps=3).stats
    assert stats["lift"] == "gram"
    assert stats["solve_dtype"] == "float64"
    assert stats["n_residuals"] == 30
    assert stats["n_params"] == 145
    assert stats["linearisations"] == 3
    assert stats["solves"] >= 3


# --- how runs end ---------------------------------------------------------------------------------------------------


def test_target_reached() -> None:
    model, x, y = problem()
    solution = gd.fit(model, x, y, target_cost=1e-9)
    assert solution.result is Result.target_reached
    assert cost_of(model, x, y) <= 1e-9
    assert solution.history["cost"][-2] > 1e-9


def test_rounding_floor() -> None:
    model, x, y = problem(20)
    solution = gd.fit(model, x, y)
    assert solution.result is Result.rounding_floor
    assert solution.cost < 1e-26
    assert solution.certificate.point is not None


def test_stationary_where_parameters_are_few() -> None:
    """K = 11 < m = 30, linear in θ: the least-squares solution of lstsq."""
    model, x, y = linear(30)
    solution = gd.fit(model, x, y)
    rows = torch.cat([x, torch.ones(30, 1, dtype=F64)], 1)
    best = torch.linalg.lstsq(rows, y, driver="gelsd").solution
    assert solution.result is Result.stationary
    assert solution.cost == pytest.approx(0.5 * float((rows @ best - y).square().mean()), rel=1e-11)
    assert solution.certificate.guaranteed is False


def test_stationary_at_the_exact_floor_of_conflicting_duplicates() -> None:
    """Three samples of one input: Σ of the targets' spread / 2N is left."""
    model, x, y = problem(20)
    x[1] = x[2] = x[0]
    floor = float((y[:3] - y[:3].mean()).square().sum()) / (2 * 20)
    solution = gd.fit(model, x, y)
    assert solution.result is Result.stationary
    assert solution.cost == pytest.approx(floor, rel=1e-10)
    assert solution.certificate.floor == pytest.approx(floor, rel=1e-6)
    assert solution.certificate.causes


def test_max_steps() -> None:
    solution = gd.fit(*problem(), max_steps=2)
    assert solution.result is Result.max_steps
    assert solution.steps == 2
    assert gd.fit(*problem(), max_steps=0).steps == 0


def test_max_seconds() -> None:
    solution = gd.fit(*problem(), max_seconds=0.0)
    assert solution.result is Result.max_seconds
    assert solution.steps == 0


@pytest.mark.parametrize(
    ("error", "result"), [(StopIteration, Result.stopped), (KeyboardInterrupt, Result.interrupted)]
)
def test_a_callback_that_ends_it(error: type[BaseException], result: Result) -> None:
    model, x, y = problem()
    solution = gd.fit(model, x, y, callback=stop_after(3, error))
    assert solution.result is result
    assert solution.steps == 3
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-10)


def test_an_exception_in_the_callback_leaves_the_best_point() -> None:
    model, x, y = problem()
    seen: list[StepRecord] = []

    def callback(record: StepRecord) -> None:
        seen.append(record)
        if record.step == 3:
            raise RuntimeError("of the user's own")

    with pytest.raises(RuntimeError, match="of the user's own"):
        gd.fit(model, x, y, callback=callback)
    assert cost_of(model, x, y) == pytest.approx(seen[-1].cost, rel=1e-10)


def test_a_target_under_the_rounding_floor_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="geodescent"):
        solution = gd.fit(*problem(10), target_cost=1e-60)
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
    model, x, y = linear(20)
    times, exact = torch.arange(20) % 3 + 1, gd.Method(lift=gd.NormalLift())
    weighted = gd.fit(model, x, y, weights=times.double(), method=exact)
    other, _, _ = linear(20)
    repeated = gd.fit(other, x.repeat_interleave(times, 0), y.repeat_interleave(times, 0), method=exact)
    assert weighted.cost == pytest.approx(repeated.cost, rel=1e-10)
    assert weighted.cost == pytest.approx(cost_of(model, x, y, times.double()), rel=1e-12)
    assert float((theta_of(model) - theta_of(other)).norm()) < 1e-6


def test_weights_step_as_repeated_samples_do() -> None:
    """K > m: C and the exact lift alike, to rounding, wherever the damping has the same scale."""
    model, x, y = problem(12)
    doubled = gd.fit(model, x, y, weights=torch.full((12,), 2.0, dtype=F64), max_steps=4)
    other, _, _ = problem(12)
    plain = gd.fit(other, x, y, max_steps=4)
    assert np.allclose(doubled.history["cost"], plain.history["cost"], rtol=1e-8)


def test_the_validation_cost_is_that_of_the_held_out_samples() -> None:
    model, x, y = problem()
    costs: list[float] = []
    start = cost_of(model, x[20:], y[20:])
    solution = gd.fit(
        model, x[:20], y[:20], validation=(x[20:], y[20:]), max_steps=5, callback=lambda r: costs.append(r.held_out)
    )
    assert solution.history["held_out"][0] == pytest.approx(start, rel=1e-12)
    assert costs == list(solution.history["held_out"][1:])
    assert costs[-1] == pytest.approx(cost_of(model, x[20:], y[20:]), rel=1e-10)
    plain, _, _ = problem()
    expected = gd.fit(plain, x[:20], y[:20], max_steps=5).history["cost"]
    assert np.allclose(solution.history["cost"], expected, rtol=1e-5, atol=0.0)


# --- dtypes and frozen parameters -----------------------------------------------------------------------------------


def test_a_float32_model_keeps_its_dtype_and_comes_near_its_floor() -> None:
    model, x, y = problem(20, dtype=torch.float32)
    solution = gd.fit(model, x, y)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert solution.result is Result.rounding_floor
    assert solution.cost < 1e-11
    assert cost_of(model, x, y) < 1e-11
    assert solution.stats["model_dtype"] == "float32"


def test_frozen_parameters_stay() -> None:
    model, x, y = problem()
    model[0].requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gd.fit(model, x, y, max_steps=5)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert torch.equal(model[0].bias, before["0.bias"])
    assert not torch.equal(model[2].weight, before["2.weight"])
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_the_module_is_left_without_traces() -> None:
    model, x, y = problem()
    model.train()
    gd.fit(model, x, y, max_steps=2)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# --- stopping by held-out cost -------------------------------------------------------------------------------------


def noisy(n: int = 200) -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
    """A sine with noise of a third of its size, a network wide enough to fit the noise, and the sine itself."""
    torch.manual_seed(0)
    x, xt = torch.rand(n, 1, dtype=torch.float64) * 2 - 1, torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
    y = torch.sin(4 * x) + 0.3 * torch.randn(n, 1, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(1, 60), nn.Tanh(), nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 1)).double()
    return model, x, y, xt, torch.sin(4 * xt)


def test_noise_is_not_fitted_where_held_out_cost_ends_the_run() -> None:
    to_the_end, x, y, xt, yt = noisy()
    gd.fit(to_the_end, x, y, max_steps=100)
    model = noisy()[0]
    solution = gd.fit(model, x, y, stop="held_out")
    assert solution.result is gd.Result.held_out_rose
    assert cost_of(model, xt, yt) < 0.005 < 0.25 * cost_of(to_the_end, xt, yt)
    history = solution.history
    kept = int(np.argmin(history["held_out"]))
    assert solution.cost == history["cost"][kept]
    assert solution.steps == kept + 6 and history["cost"][-1] < solution.cost


def test_the_validation_data_given_are_those_that_judge() -> None:
    model, x, y, xt, yt = noisy()
    solution = gd.fit(model, x, y, stop="held_out", validation=(xt, yt))
    assert cost_of(model, xt, yt) == pytest.approx(float(np.min(solution.history["held_out"])), rel=1e-10)
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-10)


def test_a_run_that_held_out_cost_ends_goes_on_after_a_break(tmp_path: Path) -> None:
    whole, x, y, _, _ = noisy()
    full = gd.fit(whole, x, y, stop="held_out")
    gd.fit(noisy()[0], x, y, stop="held_out", checkpoint=tmp_path, callback=stop_after(9))
    fresh = noisy()[0]
    resumed = gd.fit(fresh, x, y, stop="held_out", checkpoint=tmp_path)
    assert resumed.result is full.result and resumed.steps == full.steps
    assert_close(theta_of(fresh), theta_of(whole), 1e-6)


def test_weights_are_held_apart_with_their_samples() -> None:
    model, x, y, xt, yt = noisy()
    weights = torch.ones(len(x), dtype=torch.float64)
    spoilt, weights[::7] = y.clone(), 0.0
    spoilt[::7] += 100.0
    solution = gd.fit(model, x, spoilt, weights=weights, stop="held_out", validation=(xt, yt))
    assert cost_of(model, xt, yt) < 0.005 and solution.certificate.n_residuals == 200
    apart = gd.fit(noisy()[0], x, y, weights=torch.ones_like(weights), stop="held_out", max_steps=1)
    assert apart.certificate.n_residuals == 160
    assert apart.stats["notes"] == ["40 of 200 samples were held apart."]


def test_what_cannot_be_held_apart() -> None:
    model, x, y, _, _ = noisy()
    with pytest.raises(gd.InputError, match=r"9 samples are too few to hold a fifth of them out: pass validation"):
        gd.fit(model, x[:9], y[:9], stop="held_out")
    loader = DataLoader(TensorDataset(x, y), batch_size=50)
    with pytest.raises(gd.InputError, match=r'stop="held_out" over a DataLoader needs validation'):
        gd.fit(model, loader, stop="held_out")
    with pytest.raises(
        gd.InputError, match=r'stop must be "cost" or "held_out", not "late"'.replace('"late"', "'late'")
    ):
        gd.fit(model, x, y, stop="late")


def test_batches_too_are_ended_by_held_out_cost() -> None:
    model, x, y, xt, yt = noisy()
    loader = DataLoader(TensorDataset(x, y), batch_size=50)
    solution = gd.fit(model, loader, stop="held_out", validation=(xt, yt), max_steps=60)
    assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-10)
    assert cost_of(model, xt, yt) == pytest.approx(float(np.min(solution.history["held_out"])), rel=1e-10)


@pytest.mark.parametrize("calls", [2, 3, 4])
def test_an_interrupt_while_held_out_data_are_judged_leaves_the_last_whole_step(calls: int) -> None:
    model, x, y = problem()
    whole = Problem.of(model, x, y)
    count = iter(range(1, 100))

    def judge(theta: Tensor) -> float:
        if next(count) == calls:
            raise KeyboardInterrupt
        return whole.cost(whole.outputs(theta))

    source, method = FixedSource(whole), gd.Method()
    state, result = descend(
        source,
        start(source, method, judge),
        method=method,
        stopping=Stopping(held_out=True),
        callback=lambda record: None,
        held_out=judge,
        counts=Counter(),
        save=lambda state: None,
    )
    assert result is gd.Result.interrupted
    assert len(state.records) == calls - 1
    assert whole.cost(whole.outputs(state.theta)) == pytest.approx(state.records[-1].cost, rel=1e-9)


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
    model, x, y = problem()
    weights = torch.linspace(0.5, 2.0, len(x), dtype=torch.float64)
    solution = gd.fit(model, x, y, weights=weights, max_steps=20, method=gd.Method(solve_dtype=torch.float32))
    assert solution.cost < 1e-6 * solution.cost0


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """θ, costs, dampings: to the rounding of products, which may depend on where in memory their factors lie.

    Five steps: the sixth is so near the rounding floor that its cost is rounding to four digits.
    """
    whole, x, y = problem()
    full = gd.fit(whole, x, y, max_steps=5)
    broken, _, _ = problem()
    gd.fit(broken, x, y, max_steps=5, checkpoint=tmp_path, callback=stop_after(3))
    fresh, _, _ = problem()
    resumed = gd.fit(fresh, x, y, max_steps=5, checkpoint=tmp_path)
    for name in ("step", "cost", "predicted", "damping", "gain_ratio", "time"):
        assert np.allclose(resumed.history[name], full.history[name], rtol=1e-5, atol=0.0, equal_nan=True), name
    assert_close(theta_of(fresh), theta_of(whole), 1e-10)
    assert resumed.cost0 == full.cost0
    assert resumed.steps == 5
    assert resumed.history["seconds"][-1] >= resumed.history["seconds"][4]


def test_an_exception_leaves_a_checkpoint(tmp_path: Path) -> None:
    model, x, y = problem()
    with pytest.raises(RuntimeError):
        gd.fit(model, x, y, checkpoint=tmp_path, callback=stop_after(3, RuntimeError))
    assert gd.fit(problem()[0], x, y, checkpoint=tmp_path, max_steps=3).steps == 3


@pytest.mark.parametrize("content", [b"", b"\xff" * 7, b"\x10\x00\x00\x00\x00\x00\x00\x00{torn"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path: Path, content: bytes) -> None:
    model, x, y = problem()
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=2)
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=5)
    (tmp_path / _checkpoint.STATE).write_bytes(content)
    steps: list[int] = []
    gd.fit(problem()[0], x, y, checkpoint=tmp_path, max_steps=5, callback=lambda r: steps.append(r.step))
    assert steps == [3, 4, 5]


def test_the_checkpoint_is_written_every_thirty_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoint, "EVERY_SECONDS", 0.0)
    sizes: list[bool] = []
    model, x, y = problem()
    there = lambda record: sizes.append((tmp_path / _checkpoint.STATE).exists())  # noqa: E731
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=2, callback=there)
    assert sizes == [True, True]
    assert not list(tmp_path.glob("*.part"))


def test_a_foreign_checkpoint_is_an_error(tmp_path: Path) -> None:
    model, x, y = problem()
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=2)
    other, _, _ = problem(hidden=5)
    before = theta_of(other)
    with pytest.raises(gd.InputError, match=r"holds 145 parameters .*another run\. Choose another folder"):
        gd.fit(other, x, y, checkpoint=tmp_path)
    assert torch.equal(theta_of(other), before)
    with pytest.raises(gd.InputError, match=r"on these data: it belongs to another run"):
        gd.fit(problem()[0], x, 2.0 * y, checkpoint=tmp_path)
    with pytest.raises(gd.InputError, match=r"holds 145 parameters of torch\.float64 .* torch\.float32"):
        gd.fit(*problem(dtype=torch.float32), checkpoint=tmp_path)


# --- bad input ------------------------------------------------------------------------------------------------------


class Returns(nn.Module):
    """A linear layer, and something else made of its outputs."""

    def __init__(self, after: Any) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(10, 1), after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.layer(x))


def spoiled(values: Tensor, what: float) -> Tensor:
    values = values.clone()
    values[0, 0] = what
    return values


def three_outputs() -> nn.Module:
    return nn.Linear(10, 3).double()


M, X, Y = problem(8)
REFUSED = {
    "NaN in X": (lambda: (M, spoiled(X, math.nan), Y), "X holds 1 NaN or infinite values of 80"),
    "Inf in X": (lambda: (M, spoiled(X, math.inf), Y), "X holds 1 NaN or infinite"),
    "NaN in y": (lambda: (M, X, spoiled(Y, math.nan)), "y holds 1 NaN or infinite values of 8"),
    "Inf in y": (lambda: (M, X, spoiled(Y, -math.inf)), "y holds 1 NaN or infinite"),
    "lengths": (lambda: (M, X, Y[:5]), r"X holds 8 samples and y has shape \(5, 1\)"),
    "would broadcast": (lambda: (three_outputs(), X, Y), r"y has shape \(8, 1\) .*nothing is broadcast.*\(8, 3\)"),
    "would broadcast to a square": (lambda: (M, X, Y.expand(8, 8)), r"nothing is broadcast"),
    "labels": (lambda: (three_outputs(), X, torch.arange(8) % 3), r"8 class labels as numbers.*one_hot\(y, 3\)"),
    "integer y": (lambda: (M, X, torch.ones(8, 1, dtype=torch.int64)), r"y is torch\.int64 .*y\.to\(torch\.float64\)"),
    "integer X": (lambda: (M, X.long(), Y), r"torch\.int64.*X\.to\(torch\.float64\)"),
    "dtype of X": (lambda: (M, X.float(), Y), r"torch\.float32 .*torch\.float64"),
    "dtype of y": (lambda: (M, X, Y.float()), r"y is torch\.float32 but the model computes in torch\.float64"),
    "complex X": (lambda: (M, X.to(torch.complex128), Y), r"torch\.complex128"),
    "complex y": (lambda: (M, X, Y.to(torch.complex128)), r"y is torch\.complex128"),
    "None": (lambda: (Returns(lambda y: None).double(), X, Y), "returns NoneType, not a tensor"),
    "tuple": (lambda: (Returns(lambda y: (y, y)).double(), X, Y), "returns tuple, not a tensor"),
    "no tensor": (lambda: (M, X, Y.tolist()), "y must be a tensor, not list"),
    "nothing to fit": (lambda: (problem(8)[0].requires_grad_(False), X, Y), "no parameter .*requires_grad_"),
}


@pytest.mark.parametrize("door", [gd.fit, gd.flow, gd.certify], ids=lambda door: door.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_before_any_work(name: str, door: Any) -> None:
    make, message = REFUSED[name]
    model, x, y = make()
    before = theta_of(model)
    with pytest.raises(gd.InputError, match=message):
        door(model, x, y)
    assert torch.equal(theta_of(model), before)


def test_targets_on_another_device_are_refused() -> None:
    elsewhere = torch.empty(8, 1, dtype=F64, device="meta")
    with pytest.raises(gd.InputError, match=r"y is on meta but the model is on cpu: move them to one device"):
        _problem._checked_target(gd.SampleMap(M, X), elsewhere)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_cost": -1.0}, "a cost of zero or above is needed"),
        ({"target_cost": math.nan}, "a cost of zero or above is needed"),
        ({"max_steps": -1}, "must not be negative"),
        ({"max_seconds": -1.0}, "must not be negative"),
        ({"max_seconds": math.nan}, "must not be negative"),
        ({"weights": torch.ones(7, dtype=F64)}, r"weights has shape \(7,\).*\(8,\)"),
        ({"weights": -torch.ones(8, dtype=F64)}, "weights must be ≥ 0"),
        ({"weights": torch.zeros(8, dtype=F64)}, "with a positive sum"),
        ({"weights": torch.full((8,), math.nan, dtype=F64)}, "weights holds 8 NaN"),
        ({"validation": (X, Y[:3])}, "X holds 8 samples and y has shape"),
        ({"validation": (X, spoiled(Y, math.nan))}, "the validation y holds 1 NaN"),
        ({"validation": (spoiled(X, math.nan), Y)}, "holds 1 NaN or infinite"),
    ],
)
def test_bad_options_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    model, x, y = problem(8)
    before = theta_of(model)
    with pytest.raises(gd.InputError, match=message):
        gd.fit(model, x, y, **options)
    assert torch.equal(theta_of(model), before)


def test_a_lift_that_memory_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = problem(30)
    before = theta_of(model)
    monkeypatch.setattr(_memory, "available_bytes", lambda device: 10_000)
    with pytest.raises(MemoryPlanError, match=r"the Gram lift of 30 residuals needs"):
        gd.fit(model, x, y, method=gd.Method(lift=gd.GramLift()))
    assert torch.equal(theta_of(model), before)
