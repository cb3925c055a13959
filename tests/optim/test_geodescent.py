"""The optimizer: the iterates of `fit` one at a time, also across save and load, copies and schedulers."""

import copy
import io
from collections.abc import Iterator

import pytest
import torch
from support.steps import EXACT, F64, STEP, STEPS, Step, assert_on_path, cost_of, path_of_fit, problem, theta_of
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR

import geodescent as gd
from geodescent.optim import GeoDescent

# --- the iterates of fit ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_ten_steps_are_those_of_fit(step: Step) -> None:
    model, x, y = problem(200)
    path = path_of_fit(model, x, y)
    optimizer = GeoDescent(model)

    def walked() -> Iterator[nn.Module]:
        for _ in range(STEPS):
            before = cost_of(model, x, y)
            assert step(optimizer, model, x, y) == pytest.approx(before, rel=1e-12)
            assert optimizer.result is None
            yield model

    assert_on_path(walked(), path)


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_the_end_is_that_of_fit(step: Step) -> None:
    model, x, y = problem()
    solution = gd.fit(fitted := copy.deepcopy(model), x, y)
    optimizer = GeoDescent(model)
    calls = 0
    while optimizer.result is None and calls < 60:
        step(optimizer, model, x, y)
        calls += 1
    assert optimizer.result is solution.result is gd.Result.rounding_floor
    assert calls == solution.steps + 1  # the call after the last step says that there is none
    assert float((theta_of(model) - theta_of(fitted)).abs().max()) <= EXACT
    assert cost_of(model, x, y) <= 1e-26


def test_another_method_is_walked_too() -> None:
    model, x, y = problem()
    method = gd.Method(lift=gd.NormalLift(), walk=gd.EulerWalk(), control=gd.GainRatio())
    solution = gd.fit(fitted := copy.deepcopy(model), x, y, max_steps=5, method=method)
    optimizer = GeoDescent(model, method=method)
    for _ in range(5):
        optimizer.step(x, y)
    assert solution.steps == 5
    assert float((theta_of(model) - theta_of(fitted)).abs().max()) <= EXACT


def test_a_critical_point_is_reported_and_left_alone() -> None:
    _, x, y = problem(40)
    model = nn.Linear(10, 1).double()
    optimizer = GeoDescent(model)
    while optimizer.result is None:
        optimizer.step(x, y)
    assert optimizer.result is gd.Result.stationary
    reached = torch.cat([model.weight, model.bias[:, None]], 1).detach()
    best = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1), y).solution.T
    assert float((reached - best).abs().max()) <= 1e-5  # the promised fall is 1e-12 of C
    before = theta_of(model)
    optimizer.step(x, y)
    assert torch.equal(theta_of(model), before)


# --- save and load, copies, schedulers --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_a_save_and_load_goes_on_along_the_path(step: Step) -> None:
    """The weights, and the optimizer's state through a file that unpickles nothing."""
    model, x, y = problem(200)
    path = path_of_fit(model, x, y)
    optimizer = GeoDescent(model)

    def walked() -> Iterator[nn.Module]:
        model_now, optimizer_now = model, optimizer
        for _ in range(STEPS):
            step(optimizer_now, model_now, x, y)
            yield model_now
            file = io.BytesIO()
            torch.save({"model": model_now.state_dict(), "optimizer": optimizer_now.state_dict()}, file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
            model_now = problem()[0]
            model_now.load_state_dict(saved["model"])
            optimizer_now = GeoDescent(model_now)
            optimizer_now.load_state_dict(saved["optimizer"])

    assert_on_path(walked(), path)


def test_copies_go_on_along_the_path_each_with_its_model() -> None:
    model, x, y = problem(200)
    path = path_of_fit(model, x, y)
    optimizer = GeoDescent(model)
    for _ in range(4):
        optimizer.step(x, y)
    model2, optimizer2 = copy.deepcopy((model, optimizer))
    alone = copy.deepcopy(optimizer)
    assert optimizer2.model is model2
    assert alone.model is not model

    def walked() -> Iterator[nn.Module]:
        for _ in range(4, STEPS):
            optimizer2.step(x, y)
            alone.step(lambda: (alone.model(x), y))
            assert float((theta_of(alone.model) - theta_of(model2)).abs().max()) <= EXACT
            yield model2

    assert_on_path(walked(), path[4:])
    assert torch.equal(theta_of(model), path[3])


def test_a_state_dict_is_not_changed_by_later_steps() -> None:
    model, x, y = problem()
    optimizer = GeoDescent(model)
    optimizer.step(x, y)
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    optimizer.step(x, y)
    assert saved["state"][0]["step"] == before["state"][0]["step"] == 1
    assert torch.equal(saved["state"][1]["best"], before["state"][1]["best"])
    assert optimizer.state_dict()["state"][0]["step"] == 2


@pytest.mark.parametrize("lr", [0.7, 1.0])
def test_lr_is_the_step_size_of_the_walk(lr: float) -> None:
    model, x, y = problem(200)
    path = path_of_fit(model, x, y, lr)
    assert len(path) == STEPS
    optimizer = GeoDescent(model, [{"params": model.parameters(), "lr": lr}])
    assert_on_path((model for _ in path if optimizer.step(x, y) > 0.0), path)


def test_a_scheduler_changes_the_step_size() -> None:
    """After one step at h = 1 the same state is walked with h = 1 and with h = ½: half the displacement."""
    model, x, y = problem()
    optimizer = GeoDescent(model, method=gd.Method(walk=gd.EulerWalk(), control=gd.GainRatio()))
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step(x, y)
    start = theta_of(model)
    full_model, full = copy.deepcopy((model, optimizer))
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.step(x, y)
    full.step(x, y)
    half, whole = theta_of(model) - start, theta_of(full_model) - start
    assert torch.allclose(half, 0.5 * whole, rtol=0.0, atol=1e-14)


def test_a_step_size_of_zero_stands_still() -> None:
    model, x, y = problem()
    optimizer = GeoDescent(model)
    scheduler = LambdaLR(optimizer, lambda epoch: float(epoch > 0))
    start, expected = theta_of(model), cost_of(model, x, y)
    assert optimizer.step(x, y) == pytest.approx(expected)
    assert torch.equal(theta_of(model), start)
    scheduler.step()
    optimizer.step(x, y)
    assert cost_of(model, x, y) < expected
