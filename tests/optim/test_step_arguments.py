"""What a step and the constructor refuse, and what a step leaves as it was."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.steps import F64, STEP, Step, cost_of, problem, theta_of
from torch import Tensor, nn

import geodescent as gd
from geodescent.optim import GeoDescent


class Noisy(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), 1, dtype=F64)


REFUSED: dict[str, tuple[Callable[[nn.Module, Tensor, Tensor], Any], str]] = {
    "loss": (lambda m, x, y: (m(x) - y).square().mean(), r"single number, a loss.*Return \(outputs, targets\)"),
    "nothing": (lambda m, x, y: None, "returned a NoneType, not tensors"),
    "three": (lambda m, x, y: (m(x), y, y), "returned a tuple of 3, not tensors"),
    "detached": (lambda m, x, y: m(x).detach() - y, "depend on none of the optimizer's parameters"),
    "broadcast": (lambda m, x, y: (m(x), y.T), r"shape \(1, 60\).*one row for each sample"),
    "fewer targets": (lambda m, x, y: (m(x), y[:50]), r"60 samples and y has shape \(50, 1\)"),
    "inner axes": (lambda m, x, y: (m(x).expand(60, 6).view(60, 2, 3), y.expand(60, 6).view(60, 3, 2)), "broadcast"),
    "dtype": (lambda m, x, y: m(x).float() - y.float(), "torch.float32 on cpu and the parameters are torch.float64"),
    "random": (lambda m, x, y: m(x) + torch.randn_like(y), "draws random numbers"),
    "no samples": (lambda m, x, y: m(x[:0]), "no samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_closure_that_cannot_be_fitted_is_refused(name: str) -> None:
    model, x, y = problem()
    closure, sentence = REFUSED[name]
    start, state = theta_of(model), torch.get_rng_state()
    with pytest.raises(gd.InputError if name != "random" else gd.JacobianError, match=sentence):
        GeoDescent(model).step(lambda: closure(model, x, y))
    assert torch.equal(theta_of(model), start)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_closure_that_uses_none_of_the_given_parameters_is_refused() -> None:
    """Though it has a graph, of parameters that belong to somebody else."""
    model, x, y = problem()
    optimizer = GeoDescent(model, model[2].parameters())
    with pytest.raises(gd.InputError, match="depend on none of the optimizer's parameters"):
        optimizer.step(lambda: (model[0](x).sum(1, keepdim=True), y))


def test_a_closure_that_draws_its_batch_is_refused_and_the_parameters_are_put_back() -> None:
    model, x, y = problem()
    batches = iter(range(0, 50))
    start = theta_of(model)

    def closure() -> tuple[Tensor, Tensor]:
        k = next(batches)
        return model(x[k : k + 10]), y[k : k + 10]

    with pytest.raises(gd.InputError, match="every call of one step must see the same batch"):
        GeoDescent(model).step(closure)
    assert torch.equal(theta_of(model), start)


def test_an_interrupt_puts_the_parameters_back() -> None:
    model, x, y = problem()
    start, calls = theta_of(model), []

    def closure() -> Tensor:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return model(x) - y

    with pytest.raises(KeyboardInterrupt):
        GeoDescent(model).step(closure)
    assert torch.equal(theta_of(model), start)


@pytest.mark.parametrize("layer", [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(10).double()])
@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_layers_that_mix_or_draw_are_refused_in_training_mode_alone(layer: Callable[[], nn.Module], step: Step) -> None:
    model, x, y = problem()
    model = nn.Sequential(layer(), model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(gd.JacobianError, match=r"Call model.eval\(\)"):
        step(GeoDescent(model), model, x, y)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    model.eval()
    assert step(GeoDescent(model), model, x, y) > cost_of(model, x, y)


def test_the_constructor_and_the_step_say_what_they_need() -> None:
    model, x, y = problem()
    with pytest.raises(gd.InputError, match="the first argument is the model, or a problem, not generator"):
        GeoDescent(model.parameters())
    with pytest.raises(gd.InputError, match=r"shape \(1, 3\) that is no parameter of the model \(Sequential\)"):
        GeoDescent(model, nn.Linear(3, 1).parameters())
    with pytest.raises(gd.InputError, match=r"method must be a gd\.Method"):
        GeoDescent(model, method="lm")
    optimizer = GeoDescent(model)
    with pytest.raises(gd.InputError, match=r"step was called with nothing: call step\(X, y\), or step\(closure\)"):
        optimizer.step()
    with pytest.raises(gd.InputError, match="step was called with X alone"):
        optimizer.step(x)
    with pytest.raises(gd.InputError, match=r"y has shape \(1, 60\)"):
        optimizer.step(x, y.T)
    with pytest.raises(gd.InputError, match="one_hot"):
        wide = nn.Linear(10, 3).double()
        GeoDescent(wide).step(lambda: (wide(x), torch.arange(60) % 3))
    model.requires_grad_(False)
    with pytest.raises(gd.InputError, match=r"requires grad: there is nothing to fit"):
        optimizer.step(x, y)
    for params in (None, [], iter(())):
        with pytest.raises(gd.InputError, match=r"requires grad: there is nothing to fit"):
            GeoDescent(model, params)


def test_groups_of_different_lr_are_refused() -> None:
    model, x, y = problem()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5}]
    with pytest.raises(gd.InputError, match=r"lr = \[0.5, 1.0\]: all parameters take one step together"):
        GeoDescent(model, groups).step(x, y)
    with pytest.raises(gd.InputError, match=r"lr = -1.0"):
        GeoDescent(model, [{"params": model.parameters(), "lr": -1.0}]).step(x, y)


def test_every_form_of_params_is_taken() -> None:
    model, x, y = problem()
    first = model[0]
    forms = (model.parameters(), list(model.parameters()), model.named_parameters(), [{"params": first.weight}])
    for params in forms:
        assert GeoDescent(model, params).step(x, y) > 0.0
    assert GeoDescent(model, [{"params": [first.bias]}, {"params": first.weight}]).step(x, y) > 0.0


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_gradients_modes_and_parameters_keep_their_identity(step: Step) -> None:
    model, x, y = problem()
    (model(x) - y).square().mean().backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    where = [p.data_ptr() for p in model.parameters()]
    step(GeoDescent(model), model, x, y)
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True) if p.grad is not None)
    assert [p.data_ptr() for p in model.parameters()] == where
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_float32_is_walked_in_float32() -> None:
    model, x, y = problem(dtype=torch.float32)
    optimizer, first = GeoDescent(model), cost_of(model, x, y)
    for _ in range(8):
        optimizer.step(lambda: (model(x), y))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert cost_of(model, x, y) < 1e-6 * first
