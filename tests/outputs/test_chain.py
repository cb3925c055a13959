"""Derivatives by rules along chains of layers are those of autograd, and other models are left to it."""

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.models import normal
from torch import Tensor, nn
from torch.func import functional_call, jvp

import geodescent as gd
from geodescent.outputs import _chain as second_order
from geodescent.outputs import along_chain, cotangents_along_chain

EXACT = 1e-13
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own, at the first jvp


class ByHand(nn.Module):
    """SiLU as a product: torch's own has no second forward derivative."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(z)


def chain(activation: nn.Module, *, bias: bool = True) -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(5, 6), activation)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=bias), activation, inner, nn.Linear(6, 2)).double()


def moves(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    return parameters, {n: normal(*p.shape) for n, p in parameters.items()}


def by_autograd(model: nn.Module, parameters: dict[str, Tensor], direction: dict[str, Tensor], x: Tensor) -> Tensor:
    def first(at: dict[str, Tensor]) -> Tensor:
        return jvp(lambda p: functional_call(model, p, x), (at,), (direction,))[1]

    return jvp(first, (parameters,), (direction,))[1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.ReLU(), nn.Identity()])
def test_rules_along_a_chain_give_the_second_derivative_of_autograd(activation: nn.Module, bias: bool) -> None:
    model, x = chain(activation, bias=bias), normal(7, 2, 3)
    parameters, direction = moves(model)
    oracle = model
    if isinstance(activation, nn.SiLU):
        oracle = chain(ByHand(), bias=bias)
    expected = by_autograd(oracle, parameters, direction, x)
    assert_close(along_chain(model, parameters, direction, x), expected, EXACT)


@pytest.mark.parametrize("frozen", ["1.weight", "1.bias", "3.0.weight", "4.bias", "4.weight"])
def test_frozen_parameters_do_not_move(frozen: str) -> None:
    model, x = chain(nn.Tanh()), normal(7, 6)
    dict(model.named_parameters())[frozen].requires_grad_(False)
    parameters, direction = moves(model)
    assert frozen not in parameters
    assert_close(along_chain(model, parameters, direction, x), by_autograd(model, parameters, direction, x), EXACT)


def test_only_biases_of_the_first_layer_move() -> None:
    model, x = chain(nn.Tanh()), normal(7, 6)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "1.bias")
    parameters, direction = moves(model)
    assert_close(along_chain(model, parameters, direction, x), by_autograd(model, parameters, direction, x), EXACT)


def test_a_linear_model_has_no_second_derivative() -> None:
    model, x = nn.Linear(3, 2).double(), normal(4, 3)
    assert torch.equal(along_chain(model, *moves(model), x), x.new_zeros(4, 2))


def test_tied_and_sequence_layers() -> None:
    shared = nn.Linear(4, 4)
    model, x = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 1)).double(), normal(5, 3, 4)
    parameters, direction = moves(model)
    assert_close(along_chain(model, parameters, direction, x), by_autograd(model, parameters, direction, x), EXACT)


def test_what_is_no_chain_of_known_layers_is_left_alone() -> None:
    class Own(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) ** 2

    layer = nn.Linear(3, 2)
    hooked, nested = nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    hooked.register_forward_hook(lambda module, args, output: output**2)
    nested.register_forward_pre_hook(lambda module, args: (args[0] ** 2,))
    dropout, rough = nn.Sequential(layer, nn.Dropout()), nn.Sequential(layer, nn.GELU(approximate="tanh"))
    for model in (Own(layer), nn.Sequential(hooked), nn.Sequential(nested), dropout, rough, ByHand()):
        model.double()
        assert along_chain(model, *moves(model), normal(4, 3)) is None
    assert along_chain(layer, *moves(layer), {"input": normal(4, 3)}) is None


def test_curves_are_the_derivatives_of_their_layers() -> None:
    z = torch.linspace(-6.0, 6.0, 41, dtype=torch.float64)
    for kind, curve in second_order.CURVES.items():
        module = ByHand() if kind is nn.SiLU else kind()
        value, slope, bend = curve(z)
        ones, zeros = torch.ones_like(z), torch.zeros_like(z)

        def first(at: Tensor, step: Tensor, module: nn.Module = module) -> Tensor:
            return jvp(module, (at,), (step,))[1]

        assert_close(value, module(z), EXACT)
        assert_close(slope, first(z, ones), EXACT)
        assert_close(bend, jvp(first, (z, ones), (ones, zeros))[1], EXACT)


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
    returned: list[Tensor] = []
    handles = [
        m.register_forward_hook(lambda m, a, out: returned.append(out)) for m in {*model} if type(m) is nn.Linear
    ]
    outputs = model(x)
    for handle in handles:
        handle.remove()
    found = cotangents_along_chain(model, {}, x.detach())
    assert found is not None and [layer for layer, _ in found] == [m for m in model if type(m) is nn.Linear]
    for (_, g), value in zip(found, returned, strict=True):
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
    assert cotangents_along_chain(model.double(), {}, x) is None


@pytest.mark.parametrize("first", [True, False])
def test_an_activation_that_writes_over_its_input_is_applied_once(first: bool) -> None:
    layers = [nn.Linear(4, 6), nn.LeakyReLU(0.1, inplace=True), nn.Linear(6, 3)]
    layers = [nn.ELU(inplace=True), *layers] if first else layers
    model, x = nn.Sequential(*layers).double(), normal(9, 4)
    plain = nn.Sequential(*(type(m)(0.1) if isinstance(m, nn.LeakyReLU) else m for m in layers))
    plain = nn.Sequential(*(nn.ELU() if isinstance(m, nn.ELU) else m for m in plain))
    before, expected = x.clone(), cotangents_along_chain(plain, {}, x)
    found = cotangents_along_chain(model, {}, x)
    assert torch.equal(x, before) and found is not None and expected is not None
    for (_, g), (_, other) in zip(found, expected, strict=True):
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
    assert cotangents_along_chain(model, {}, x) is None
    assert torch.equal(torch.get_rng_state(), state)


def test_the_jacobian_of_a_chain_stays_when_parameters_are_written_and_carries_no_graph() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), normal(5, 3)
    _, jacobian = gd.SampleMap(model, x, parameters=model[0].parameters()).linearise()
    before = jacobian.dense()
    assert not before.requires_grad and not jacobian.rmv(normal(10)).requires_grad
    with torch.no_grad():
        model[2].weight.mul_(2.0)
    assert_close(jacobian.dense(), before, EXACT)
