"""Fits that validation data watch, and fits that they end."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.callbacks import stop_after
from support.diabetes import cost_of, diabetes, theta_of
from support.laws import assert_close
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._record import Result, StepRecord
from geodescent.descent import Observer, Patience, Stopping, descend, start
from geodescent.descent._stopping import ended


def test_the_validation_cost_is_that_of_the_validation_samples() -> None:
    model, x, y = diabetes()
    costs: list[float] = []
    start = cost_of(model, x[20:], y[20:])
    solution = gd.fit(
        model,
        x[:20],
        y[:20],
        validation=(x[20:], y[20:]),
        stop="cost",
        max_steps=5,
        callback=lambda r: costs.append(r.validation_cost),
    )
    assert solution.history["validation_cost"][0] == pytest.approx(start, rel=1e-12)
    assert costs == list(solution.history["validation_cost"][1:])
    assert costs[-1] == pytest.approx(cost_of(model, x[20:], y[20:]), rel=1e-10)
    plain, _, _ = diabetes()
    expected = gd.fit(plain, x[:20], y[:20], max_steps=5).history["cost"]
    assert np.allclose(solution.history["cost"], expected, rtol=1e-5, atol=0.0)


# --- stopping by validation cost -------------------------------------------------------------------------------------


def noisy(n: int = 200) -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
    """A sine with noise of a third of its size, a network wide enough to fit the noise, and the sine itself."""
    torch.manual_seed(0)
    x, xt = torch.rand(n, 1, dtype=torch.float64) * 2 - 1, torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
    y = torch.sin(4 * x) + 0.3 * torch.randn(n, 1, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(1, 60), nn.Tanh(), nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 1)).double()
    return model, x, y, xt, torch.sin(4 * xt)


@pytest.mark.slow
def test_noise_is_not_fitted_where_validation_cost_ends_the_run() -> None:
    to_the_end, x, y, xt, yt = noisy()
    gd.fit(to_the_end, x, y, max_steps=100)
    model = noisy()[0]
    solution = gd.fit(model, x, y, stop="validation")
    assert solution.result is gd.Result.validation_rose
    assert cost_of(model, xt, yt) < 0.005 < 0.25 * cost_of(to_the_end, xt, yt)
    history = solution.history
    kept = int(np.argmin(history["validation_cost"]))
    assert solution.cost == history["cost"][kept]
    assert solution.steps == kept + 6 and history["cost"][-1] < solution.cost


def test_the_validation_data_given_are_those_that_judge() -> None:
    model, x, y, xt, yt = noisy()
    solution = gd.fit(model, x, y, stop="validation", validation=(xt, yt))
    assert cost_of(model, xt, yt) == pytest.approx(float(np.min(solution.history["validation_cost"])), rel=1e-10)
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-10)


def test_a_run_that_validation_cost_ends_goes_on_after_a_break(tmp_path: Path) -> None:
    whole, x, y, _, _ = noisy()
    full = gd.fit(whole, x, y, stop="validation")
    gd.fit(noisy()[0], x, y, stop="validation", checkpoint=tmp_path, callback=stop_after(9))
    fresh = noisy()[0]
    resumed = gd.fit(fresh, x, y, stop="validation", checkpoint=tmp_path)
    assert resumed.result is full.result and resumed.steps == full.steps
    assert_close(theta_of(fresh), theta_of(whole), 1e-6)


def test_weights_go_with_the_samples_drawn() -> None:
    model, x, y, xt, yt = noisy()
    weights = torch.ones(len(x), dtype=torch.float64)
    spoilt, weights[::7] = y.clone(), 0.0
    spoilt[::7] += 100.0
    solution = gd.fit(model, x, spoilt, weights=weights, stop="validation", validation=(xt, yt))
    assert cost_of(model, xt, yt) < 0.005 and solution.certificate.n_residuals == 200
    apart = gd.fit(noisy()[0], x, y, weights=torch.ones_like(weights), stop="validation", max_steps=1)
    assert apart.certificate.n_residuals == 160
    assert apart.stats["notes"] == ["Of the 200 samples 40 were drawn for validation."]


def test_what_cannot_be_drawn() -> None:
    model, x, y, _, _ = noisy()
    with pytest.raises(
        gd.InputError, match=r"9 samples are too few to draw a fifth of them for validation: pass validation"
    ):
        gd.fit(model, x[:9], y[:9], stop="validation")
    loader = DataLoader(TensorDataset(x, y), batch_size=50)
    with pytest.raises(gd.InputError, match=r'stop="validation" over a DataLoader needs validation=\(X, y\)'):
        gd.fit(model, loader, stop="validation")
    with pytest.raises(gd.InputError, match=r"""stop must be "cost" or "validation", not 'late'"""):
        gd.fit(model, x, y, stop="late")


def test_batches_too_are_ended_by_validation_cost() -> None:
    model, x, y, xt, yt = noisy()
    loader = DataLoader(TensorDataset(x, y), batch_size=50)
    solution = gd.fit(model, loader, stop="validation", validation=(xt, yt), max_steps=60)
    assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-10)
    assert cost_of(model, xt, yt) == pytest.approx(float(np.min(solution.history["validation_cost"])), rel=1e-10)


@pytest.mark.parametrize("calls", [2, 3, 4])
def test_an_interrupt_while_validation_data_judge_leaves_the_last_whole_step(calls: int) -> None:
    model, x, y = diabetes()
    whole = gd.Problem.of(model, x, y)
    count = iter(range(1, 100))

    def judge(theta: Tensor) -> float:
        if next(count) == calls:
            raise KeyboardInterrupt
        return whole.cost(theta)

    stages, observer = (gd.Method().stage(gd.FixedSource(whole), whole),), Observer(judge, by_validation=True)
    descent = descend(
        stages,
        start(stages, observer),
        stopping=Stopping(by_validation=True),
        callback=lambda record: None,
        observer=observer,
        tally=Counter(),
        save=lambda state: None,
    )
    assert descent.result is gd.Result.interrupted
    assert len(descent.state.records) == calls - 1
    assert whole.cost(descent.state.theta) == pytest.approx(descent.state.records[-1].cost, rel=1e-9)


# --- validation by another problem ----------------------------------------------------------------------------------


def in_two_parts(model: nn.Module, x: Tensor, y: Tensor) -> gd.Problem:
    """The first half of the samples, and the rest at half the weight."""
    n = len(x) // 2
    first = gd.RowBlock("first", gd.SampleMap(model, x[:n]), y[:n])
    return gd.Problem((first, gd.RowBlock("rest", gd.SampleMap(model, x[n:]), y[n:], weight=0.5)))


def test_another_problem_over_the_same_parameters_may_judge() -> None:
    """Its cost is its own: blocks, weights and all."""
    model, x, y = diabetes()
    start = cost_of(model, x[20:25], y[20:25]) + 0.5 * cost_of(model, x[25:], y[25:])
    judge = in_two_parts(model, x[20:], y[20:])
    solution = gd.fit(model, x[:20], y[:20], validation=judge, stop="cost", max_steps=5)
    end = cost_of(model, x[20:25], y[20:25]) + 0.5 * cost_of(model, x[25:], y[25:])
    costs = solution.history["validation_cost"]
    assert costs[0] == pytest.approx(start, rel=1e-12) and costs[-1] == pytest.approx(end, rel=1e-9)
    assert costs[-1] != pytest.approx(costs[0], rel=1e-2)


def test_a_problem_of_several_blocks_is_ended_by_the_one_that_judges() -> None:
    model, x, y, xt, yt = noisy()
    problem, judge = in_two_parts(model, x, y), gd.Problem.of(model, xt, yt)
    with pytest.raises(
        gd.InputError, match=r"draws validation samples from a problem of one block .*: pass validation="
    ):
        gd.fit(problem, stop="validation")
    solution = gd.fit(problem, stop="validation", validation=judge)
    assert solution.result is gd.Result.validation_rose
    assert judge.cost(problem.theta) == pytest.approx(float(np.min(solution.history["validation_cost"])), rel=1e-10)
    assert solution.cost == pytest.approx(problem.cost(problem.theta), rel=1e-10)


def test_validation_that_does_not_fit_is_refused() -> None:
    model, x, y = diabetes()
    other, before = gd.Problem.of(*diabetes(hidden=5)), theta_of(model)
    for validation, message in (
        (other, r"the validation problem has 61 parameters and the problem has 145: both must share θ"),
        ((x, y, y), r"validation must be a pair \(X, y\), a DataLoader .*, or another gd\.Problem, not a tuple of 3"),
        (x, r"validation must be a pair \(X, y\), a DataLoader .*, or another gd\.Problem, not Tensor"),
    ):
        with pytest.raises(gd.InputError, match=message):
            gd.fit(model, x, y, validation=validation)
    with pytest.raises(gd.InputError, match=r"other samples need a problem of one block"):
        gd.fit(in_two_parts(model, x, y), validation=(x, y))
    assert torch.equal(theta_of(model), before)


def test_named_parameters_of_the_problem_that_judges_stand_in_the_same_order() -> None:
    model, x, y = diabetes()
    names = {name: parameter.detach() for name, parameter in model.named_parameters()}
    turned = gd.FunctionMap(lambda p: torch.func.functional_call(model, p, (x,)), dict(reversed(list(names.items()))))
    with pytest.raises(gd.InputError, match=r"the validation problem has 2\.bias .* where the problem has 0\.weight"):
        gd.fit(model, x, y, max_steps=1, validation=gd.Problem.over(turned, y))


# --- validation data without stop -------------------------------------------------------------------------------------


def clean(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A smooth function of two inputs without noise, and a network that can learn it."""
    generator = torch.Generator().manual_seed(seed)
    x = 2.0 * torch.rand(160, 2, dtype=torch.float64, generator=generator) - 1.0
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 1)).double()
    return model, x, torch.sin(3.0 * x[:, :1]) * x[:, 1:]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_free_fits_are_not_ended_and_take_the_same_steps(seed: int) -> None:
    """The path is not monotone: both costs rise and fall together by decades."""
    model, x, y = clean(seed)
    plain = gd.fit(clean(seed)[0], x[:120], y[:120], max_steps=60)
    solution = gd.fit(model, x[:120], y[:120], validation=(x[120:], y[120:]), max_steps=60)
    assert solution.result is plain.result and solution.steps == plain.steps
    validation = solution.history["validation_cost"]
    assert cost_of(model, x[120:], y[120:]) == pytest.approx(float(validation.min()), rel=1e-6)


@pytest.mark.slow
def test_on_noisy_data_the_least_validation_cost_of_the_whole_path_is_kept() -> None:
    to_the_end, x, y, xt, yt = noisy()
    path = gd.fit(to_the_end, x, y, validation=(xt, yt), stop="cost", max_steps=100)
    model = noisy()[0]
    solution = gd.fit(model, x, y, validation=(xt, yt), max_steps=100)
    assert solution.result is gd.Result.validation_rose and solution.steps < path.steps
    assert cost_of(model, xt, yt) <= 1.05 * float(path.history["validation_cost"].min())
    assert path.cost < solution.cost and path.cost == float(path.history["cost"].min())


def test_only_steps_that_fit_better_count_against_the_patience() -> None:
    """By hand: the least validation cost at step 2, afterwards steps above and below 0.9 times the cost there."""
    model, x, y = diabetes()
    source = gd.FixedSource(gd.Problem.of(model, x, y))
    state = start((gd.Stage(source, gd.GramLift(), gd.EulerWalk(), gd.GainRatio()),), Observer())
    pairs = [(1.0, 1.0), (0.5, 0.4), (0.2, 0.1), (0.19, 0.3), (0.1, 0.3), (0.5, 0.6), (0.05, 0.2)]
    records = tuple(StepRecord(i, float(i), c, c, validation_cost=v) for i, (c, v) in enumerate(pairs))
    later = replace(state, records=records, cost=0.05, best=replace(state.best, cost=0.2), floor=0.0)
    for steps, result in ((2, Result.validation_rose), (3, None)):
        stopping = Stopping(by_validation=True, patience=Patience(steps, closer=0.9))
        assert ended(later, stopping, on_part=False, seconds=0.0) is result
    every = Stopping(by_validation=True, patience=Patience(4))
    assert ended(later, every, on_part=False, seconds=0.0) is Result.validation_rose
    assert ended(later, replace(every, patience=Patience(5)), on_part=False, seconds=0.0) is None


def test_over_a_loader_the_least_validation_cost_is_kept_and_nothing_ends_the_run() -> None:
    model, x, y, xt, yt = noisy(60)
    loader = DataLoader(TensorDataset(x, y), batch_size=20)
    solution = gd.fit(model, loader, validation=(xt, yt), max_steps=40)
    assert solution.result is gd.Result.max_steps and solution.steps == 40
    assert cost_of(model, xt, yt) == pytest.approx(float(solution.history["validation_cost"].min()), rel=1e-9)
