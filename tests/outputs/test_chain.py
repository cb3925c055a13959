"""Derivatives by rules along chains of layers are those of autograd, and other models are left to it."""

from collections.abc import Callable

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.models import normal
from torch import Tensor, nn
from torch.func import functional_call, jvp

import geodescent as gd
from geodescent.jacobian import ChainedCotangents
from geodescent.outputs import Inputs, ModelFunction, kind_of, parameters_of

EXACT = 1e-13
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own, at the first jvp


class ByHand(nn.Module):
    """SiLU as a product: torch's own has no second forward derivative."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(z)


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


def cotangents_of(model: nn.Module, x: Tensor) -> list[tuple[nn.Module, ChainedCotangents]] | None:
    function = function_of(model, x)
    return function.cotangents(function.theta, x)


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


@pytest.mark.parametrize(
    "layer", [*CURVES, nn.Identity(), nn.Unflatten(1, (2, 3))], ids=lambda layer: type(layer).__name__
)
def test_every_layer_of_the_table_is_passed_by_its_rule(layer: nn.Module) -> None:
    """Beside SiLU: autograd alone would leave the digits of a difference of length eps^¼."""

    def model(activation: nn.Module) -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 6), layer, nn.Flatten(), activation, nn.Linear(6, 2)).double()

    assert_second_derivative(model(nn.SiLU()), normal(5, 4), model(ByHand()))


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
        lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Dropout()),
        lambda: nn.Sequential(nn.Linear(3, 2), nn.GELU(approximate="tanh")),
        lambda: nn.Sequential(nn.Linear(3, 2), ByHand()),
    ],
    ids=["subclass", "hook", "hook before", "dropout", "another gelu", "unknown"],
)
def test_what_is_no_chain_of_known_layers_is_left_alone(layers: Callable[[], nn.Module]) -> None:
    """Where rules would give other numbers; a dropout draws the same for both."""
    model, x = nn.Sequential(layers(), nn.Linear(2, 2)).double(), normal(4, 3)
    direction = direction_of(model)
    torch.manual_seed(5)
    expected = by_autograd(model, direction, x)
    torch.manual_seed(5)
    assert_close(second_derivative(model, direction, x), expected, EXACT)
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


def three_outputs(activation: nn.Module) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    shared = nn.Linear(6, 6)
    layers = [nn.Linear(4, 6), activation, shared, nn.Tanh(), shared, nn.Linear(6, 5, bias=False), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double(), torch.randn(7, 4, dtype=torch.float64)


@pytest.mark.parametrize(
    "activation", [nn.Tanh(), nn.SiLU(), nn.ReLU(), nn.Softplus(), ByHand()], ids=lambda a: type(a).__name__
)
def test_rules_along_a_chain_give_the_cotangents_of_autograd(activation: nn.Module) -> None:
    """A layer called twice, one without bias, two in a row; and a layer that does not move."""
    model, x = three_outputs(activation)
    model[0].weight.requires_grad_(False)
    values: list[Tensor] = []
    handles = [m.register_forward_hook(lambda m, a, out: values.append(out)) for m in {*model} if type(m) is nn.Linear]
    outputs = model(x)
    for handle in handles:
        handle.remove()
    chained = cotangents_of(model, x)
    assert chained is not None and [layer for layer, _ in chained] == [m for m in model if type(m) is nn.Linear]
    for (_, g), value in zip(chained, values, strict=True):
        rows = [torch.autograd.grad(outputs[:, q].sum(), value, retain_graph=True)[0] for q in range(3)]
        assert_close(g.dense()[:, :, 0].detach(), torch.stack(rows, 1), EXACT)


def test_a_jacobian_of_several_outputs_takes_the_cotangents_of_the_chain() -> None:
    model, x = three_outputs(nn.Tanh())
    model[5].weight.requires_grad_(False)
    outputs = gd.SampleMap(model, x)
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), EXACT)
    assert outputs.function.cotangents(outputs.theta, x) is not None


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Sequential(nn.Flatten(), nn.Linear(4, 3))]
)
def test_what_does_not_end_linear_or_reshapes_is_left_to_autograd(model: nn.Module) -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    assert cotangents_of(model.double(), x) is None


@pytest.mark.parametrize("first", [True, False])
def test_an_activation_that_writes_over_its_input_is_applied_once(first: bool) -> None:
    layers = [nn.Linear(4, 6), nn.LeakyReLU(0.1, inplace=True), nn.Linear(6, 3)]
    layers = [nn.ELU(inplace=True), *layers] if first else layers
    model, x = nn.Sequential(*layers).double(), normal(9, 4)
    plain = nn.Sequential(*(type(m)(0.1) if isinstance(m, nn.LeakyReLU) else m for m in layers))
    plain = nn.Sequential(*(nn.ELU() if isinstance(m, nn.ELU) else m for m in plain))
    before, expected = x.clone(), cotangents_of(plain, x)
    chained = cotangents_of(model, x)
    assert torch.equal(x, before) and chained is not None and expected is not None
    for (_, g), (_, other) in zip(chained, expected, strict=True):
        assert_close(g.dense().detach(), other.dense().detach(), EXACT)


class Backwards(torch.autograd.Function):
    """z², without a forward derivative."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 2.0 * gradient * ctx.saved_tensors[0]


class BackwardsOnly(nn.Module):
    """Its layer."""

    def forward(self, z: Tensor) -> Tensor:
        return Backwards.apply(z)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Softmax(1),
        nn.Dropout(),
        nn.RReLU(),
        nn.PReLU(),
        nn.GLU(),
        nn.LayerNorm(6, elementwise_affine=False),
        nn.BatchNorm1d(6, affine=False, track_running_stats=False),
        BackwardsOnly(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_is_not_elementwise_or_draws_or_learns_is_left_to_autograd(layer: nn.Module) -> None:
    width = 3 if isinstance(layer, nn.GLU) else 6
    model, x = nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(width, 2)).double(), normal(9, 4)
    state = torch.get_rng_state()
    assert cotangents_of(model, x) is None
    assert torch.equal(torch.get_rng_state(), state)


def test_the_jacobian_of_a_chain_stays_when_parameters_are_written_and_carries_no_graph() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), normal(5, 3)
    _, jacobian = gd.SampleMap(model, x, parameters=model[0].parameters()).linearise()
    before = jacobian.dense()
    assert not before.requires_grad and not jacobian.rmv(normal(10)).requires_grad
    with torch.no_grad():
        model[2].weight.mul_(2.0)
    assert_close(jacobian.dense(), before, EXACT)
