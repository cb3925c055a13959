"""Groups, frozen parameters, other optimizers, other batches, another precision."""

import copy
from typing import Any

import pytest
import torch
from support.steps import EXACT, STEP, Step, cost_of, deep, path_of_fit, problem, theta_of

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.optim import GeoDescent


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_what_is_not_given_or_frozen_stays_bit_for_bit(step: Step) -> None:
    """A layer of another optimizer, a frozen group, and the path of `fit` on a model frozen in the same places."""
    model, x, y = deep()
    model[2].requires_grad_(False)
    frozen = copy.deepcopy(model)
    frozen[0].requires_grad_(False)
    path = path_of_fit(frozen, x, y, steps=4)
    optimizer = GeoDescent(model, [{"params": model[4].parameters()}, {"params": model[2].parameters()}])
    still = theta_of(model[:4])
    for theta in path:
        step(optimizer, model, x, y)
        assert torch.equal(theta_of(model[:4]), still)
        assert float((theta_of(model[4]) - theta).abs().max()) <= EXACT
    assert all(p.grad is None for p in model.parameters())


def test_two_optimizers_share_a_model() -> None:
    """Ours moves the last layer alone, to its least squares; the gradients of the other optimizer are left alone."""
    model, x, y = deep()
    ours, theirs = GeoDescent(model, model[4].parameters()), torch.optim.SGD(model[:4].parameters(), lr=1e-3)
    for _ in range(5):
        (model(x) - y).square().mean().backward()
        grads, before = [p.grad.clone() for p in model.parameters() if p.grad is not None], cost_of(model, x, y)
        ours.step(x, y)
        assert cost_of(model, x, y) < before
        assert all(torch.equal(a, b.grad) for a, b in zip(grads, model.parameters(), strict=True) if b.grad is not None)
        theirs.step()
        model.zero_grad()


def test_a_group_thawed_on_the_way_takes_part() -> None:
    model, x, y = deep()
    model[0].requires_grad_(False)
    optimizer = GeoDescent(model, [{"params": layer.parameters()} for layer in (model[0], model[2], model[4])])
    optimizer.step(x, y)
    before = theta_of(model[0])
    model[0].requires_grad_(True)
    optimizer.step(x, y)
    assert not torch.equal(theta_of(model[0]), before)


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_a_step_is_judged_on_its_own_batch(step: Step) -> None:
    model, x, y = problem(90)
    optimizer = GeoDescent(model, method=gd.Method(control=gd.GainRatio()))
    first = cost_of(model, x, y)
    for k in range(12):
        batch = slice(0, 40) if k % 2 else slice(40, 90)
        before = cost_of(model, x[batch], y[batch])
        assert step(optimizer, model, x[batch], y[batch]) == pytest.approx(before, rel=1e-9)
        after = cost_of(model, x[batch], y[batch])
        assert optimizer.result is not None or after < before
    assert cost_of(model, x, y) < first


def test_a_first_batch_that_was_not_finite_does_no_lasting_harm() -> None:
    model, x, y = problem()
    optimizer, spoilt = GeoDescent(model), x.clone()
    spoilt[0, 0] = torch.nan
    optimizer.step(lambda: model(spoilt) - y)
    assert optimizer.result is gd.Result.nonfinite
    other, _, _ = problem()
    fresh = GeoDescent(other)
    for _ in range(5):
        optimizer.step(x, y)
        fresh.step(x, y)
    assert torch.equal(theta_of(model), theta_of(other))
    for _ in range(60):
        optimizer.step(x, y)
    assert optimizer.result is gd.Result.rounding_floor


def numbers_of(optimizer: GeoDescent) -> dict[str, Any]:
    """What a saved optimizer holds besides vectors."""
    return optimizer.state_dict()["state"][0]["numbers"]


def test_what_small_is_measured_by_never_falls_from_batch_to_batch() -> None:
    """The larger of the first cost and that of outputs 0, of all batches so far."""
    model, x, y = problem()
    optimizer = GeoDescent(model)
    optimizer.step(x, y)
    first = numbers_of(optimizer)["reference"]
    optimizer.step(x, 1e-3 * y + model(x).detach())
    assert numbers_of(optimizer)["reference"] == first
    higher = cost_of(model, x, 100.0 * y)
    optimizer.step(x, 100.0 * y)
    assert numbers_of(optimizer)["reference"] == pytest.approx(higher, rel=1e-12)


def test_a_batch_with_other_stages_goes_on_with_the_damping() -> None:
    """A matrix of a small batch is factorised after an opening; one too large has a single stage of inexact solves."""
    model, x, y = problem()
    optimizer = GeoDescent(model)
    for _ in range(3):
        optimizer.step(x[:15], y[:15])
    before, damping = cost_of(model, x, y), numbers_of(optimizer)["damping"]
    assert numbers_of(optimizer)["stage"] == 1
    with spending(Budget(factor_order=20)):
        optimizer.step(x, y)
    assert optimizer.result is None and cost_of(model, x, y) < before
    assert numbers_of(optimizer)["stage"] == 0 and numbers_of(optimizer)["damping"] != damping


def test_a_state_saved_by_another_method_is_gone_on_from() -> None:
    model, x, y = problem()
    spring = GeoDescent(model, method=gd.Method(control=gd.Spring()))
    for _ in range(2):
        spring.step(x, y)
    optimizer = GeoDescent(model)
    optimizer.load_state_dict(spring.state_dict())
    before = cost_of(model, x, y)
    optimizer.step(x, y)
    assert cost_of(model, x, y) < before and numbers_of(optimizer)["control"].keys() == {"damping"}


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_another_precision_begins_anew(step: Step) -> None:
    model, x, y = problem(dtype=torch.float32)
    optimizer = GeoDescent(model)
    for _ in range(60):
        step(optimizer, model, x, y)
        if optimizer.result is not None:
            break
    floor = cost_of(model, x, y)
    saved = optimizer.state_dict()
    model.double()
    loaded = GeoDescent(model)
    loaded.load_state_dict(saved)
    for one in (optimizer, loaded):
        for _ in range(2):
            step(one, model, x.double(), y.double())
            assert one.result is None
    assert cost_of(model, x.double(), y.double()) < 1e-9 * floor


def test_momentum_in_single_precision_survives_a_save_and_load() -> None:
    model, x, y = problem(dtype=torch.float32)
    optimizer = GeoDescent(model, method=gd.Method(control=gd.Spring()))
    optimizer.step(x, y)
    other = GeoDescent(model, method=gd.Method(control=gd.Spring()))
    other.load_state_dict(optimizer.state_dict())
    before = cost_of(model, x, y)
    other.step(x, y)
    assert cost_of(model, x, y) < before


def calls_of_step(optimizer: GeoDescent, *batch: Any) -> int:
    """How often a step calls the model."""
    calls = list[int]()
    handle = optimizer.model.register_forward_hook(lambda module, inputs, output: calls.append(1))
    optimizer.step(*batch)
    handle.remove()
    return len(calls)


@pytest.mark.parametrize("kind", ["X, y", "closure"])
def test_the_routes_are_found_once(kind: str) -> None:
    """A step whose routes are known calls the model less often than the same step of an optimizer loaded just now."""
    model, x, y = problem()

    def batch(n: int) -> tuple[Any, ...]:
        return (x[:n], y[:n]) if kind == "X, y" else (lambda: (model(x[:n]), y[:n]),)

    known = GeoDescent(model)
    known.step(*batch(60))
    before, saved = copy.deepcopy(model.state_dict()), copy.deepcopy(known.state_dict())
    calls = calls_of_step(known, *batch(30))
    model.load_state_dict(before)
    loaded = GeoDescent(model)
    loaded.load_state_dict(saved)
    once_more = calls_of_step(loaded, *batch(30))
    assert (calls < once_more) if kind == "X, y" else (calls == once_more)  # a closure's own calls are recorded
    if kind == "X, y":
        model.load_state_dict(before)
        known.load_state_dict(saved)
        assert calls_of_step(known, (x[:30],), y[:30]) == once_more  # another kind of input has other routes
