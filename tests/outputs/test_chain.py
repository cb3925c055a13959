"""The second derivative by rules along chains of layers is that of autograd, and other models are left to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from support.laws import assert_close
from support.models import ByHand, normal
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.modules.module import register_module_forward_pre_hook

from geodescent.outputs import Inputs, ModelFunction, kind_of, parameters_of

EXACT = 1e-13
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own, at the first jvp


CURVES = [nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.ReLU()]
each_curve = pytest.mark.parametrize("activation", CURVES, ids=lambda a: type(a).__name__)


def oracle_of(activation: nn.Module) -> nn.Module:
    """The same with derivatives of every order by autograd."""
    return ByHand() if isinstance(activation, nn.SiLU) else activation


def function_of(model: nn.Module, inputs: Inputs) -> ModelFunction:
    """The model as a function, also where it is no map of samples."""
    return ModelFunction(model, parameters_of(model), None, *kind_of(model, inputs))


def second_derivative(model: nn.Module, direction: dict[str, Tensor], x: Inputs) -> Tensor:
    function = function_of(model, x)
    return function.second_derivative(function.theta, torch.cat([v.reshape(-1) for v in direction.values()]), x)


def chain(activation: nn.Module, *, bias: bool = True) -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(5, 6), activation)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=bias), activation, inner, nn.Linear(6, 2)).double()


def direction_of(model: nn.Module) -> dict[str, Tensor]:
    return {n: normal(*p.shape) for n, p in model.named_parameters() if p.requires_grad}


def by_autograd(model: nn.Module, direction: dict[str, Tensor], inputs: Inputs) -> Tensor:
    """Forward over forward, (N, Q). Afterwards a module called under two names may have lost its parameters."""
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, None)

    def first(at: dict[str, Tensor]) -> Tensor:
        return jvp(lambda p: functional_call(model, p, args, kwargs), (at,), (direction,))[1]

    return jvp(first, (parameters,), (direction,))[1].flatten(1)


def assert_second_derivative(model: nn.Module, x: Inputs, oracle: nn.Module | None = None) -> None:
    direction = direction_of(model)
    ours = second_derivative(model, direction, x)
    assert_close(ours, by_autograd(model if oracle is None else oracle, direction, x), EXACT)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [*CURVES, nn.Identity()], ids=lambda a: type(a).__name__)
def test_rules_along_a_chain_give_the_second_derivative_of_autograd(activation: nn.Module, bias: bool) -> None:
    model = chain(activation, bias=bias)
    oracle = chain(oracle_of(activation), bias=bias)
    oracle.load_state_dict(model.state_dict())
    assert_second_derivative(model, normal(7, 2, 3), oracle)


@contextmanager
def called() -> Iterator[list[nn.Module]]:
    """The modules that are called inside the block."""
    modules = list[nn.Module]()
    handle = register_module_forward_pre_hook(lambda module, args: modules.append(module))
    try:
        yield modules
    finally:
        handle.remove()


@pytest.mark.parametrize(
    "layer", [*CURVES, nn.Identity(), nn.Unflatten(1, (2, 3))], ids=lambda layer: type(layer).__name__
)
def test_every_layer_of_the_table_is_passed_by_its_rule(layer: nn.Module) -> None:
    """No model is called, and the layers that reshape three times."""
    model = nn.Sequential(nn.Linear(4, 6), layer, nn.Flatten(), nn.Linear(6, 2)).double()
    with called() as modules:
        second_derivative(model, direction_of(model), normal(5, 4))
    assert {type(module) for module in modules} <= {nn.Flatten, nn.Identity, nn.Unflatten}


@pytest.mark.parametrize("frozen", ["1.weight", "1.bias", "3.0.weight", "4.bias", "4.weight"])
def test_frozen_parameters_do_not_move(frozen: str) -> None:
    model = chain(nn.Tanh())
    model.get_parameter(frozen).requires_grad_(False)
    assert frozen not in direction_of(model)
    assert_second_derivative(model, normal(7, 6))


def test_only_biases_of_the_first_layer_move() -> None:
    model = chain(nn.Tanh())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "1.bias")
    assert_second_derivative(model, normal(7, 6))


def test_a_linear_model_has_no_second_derivative() -> None:
    model, x = nn.Linear(3, 2).double(), normal(4, 3)
    assert torch.equal(second_derivative(model, direction_of(model), x), x.new_zeros(4, 2))


def test_tied_and_sequence_layers() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 1)).double()
    assert_second_derivative(model, normal(5, 3, 4))


class Squared(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


def hooked() -> nn.Module:
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda module, args, output: output**2)
    return layer


def nested() -> nn.Module:
    layers = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    layers.register_forward_pre_hook(lambda module, args: (args[0] ** 2,))
    return layers


@pytest.mark.parametrize(
    "layers",
    [
        lambda: Squared(nn.Linear(3, 2)),
        hooked,
        nested,
        lambda: nn.Sequential(nn.Linear(3, 2), nn.GELU(approximate="tanh")),
        lambda: nn.Sequential(nn.Linear(3, 2), ByHand()),
    ],
    ids=["subclass", "hook", "hook before", "another gelu", "unknown"],
)
def test_what_is_no_chain_of_known_layers_is_left_alone(layers: Callable[[], nn.Module]) -> None:
    """Where rules would give other numbers."""
    model, x = nn.Sequential(layers(), nn.Linear(2, 2)).double(), normal(4, 3)
    direction = direction_of(model)
    expected = by_autograd(model, direction, x)
    with called() as modules:
        assert_close(second_derivative(model, direction, x), expected, EXACT)
    assert model in modules
    assert float(expected.norm()) > 0.0


def test_inputs_by_name_are_left_alone() -> None:
    assert_second_derivative(nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double(), {"input": normal(4, 3)})


@each_curve
def test_curves_are_the_derivatives_of_their_layers(activation: nn.Module) -> None:
    """Of `x(t) = f((w + tẇ) f(z + tḃ))` at w = 1, for z from −6 to 6."""

    def model(curve: nn.Module) -> nn.Module:
        layers = nn.Sequential(nn.Linear(1, 1), curve, nn.Linear(1, 1, bias=False), curve).double()
        for name, parameter in layers.named_parameters():
            nn.init.constant_(parameter, float(name.endswith("weight")))
        return layers

    z = torch.linspace(-6.0, 6.0, 41, dtype=torch.float64)[:, None]
    for moved in ("0.bias", "2.weight"):
        direction = {n: torch.full_like(p, float(n == moved)) for n, p in model(activation).named_parameters()}
        expected = by_autograd(model(oracle_of(activation)), direction, z)
        assert_close(second_derivative(model(activation), direction, z), expected, EXACT)
