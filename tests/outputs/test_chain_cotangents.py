"""The cotangents by rules along chains of layers are those of autograd, and other models are left to it."""

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.models import ByHand, normal
from torch import Tensor, nn

import geodescent as gd
from geodescent.jacobian import Block, ChainedCotangents
from geodescent.outputs import ModelFunction, kind_of, parameters_of

EXACT = 1e-13
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own, at the first jvp


def cotangents_of(model: nn.Module, x: Tensor) -> list[tuple[nn.Module, ChainedCotangents]] | None:
    """Also of a model that is no map of samples."""
    function = ModelFunction(model, parameters_of(model), None, *kind_of(model, x))
    return function.cotangents(function.theta, x)


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
    "model", [nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(3, 2))]
)
def test_what_does_not_end_linear_or_reshapes_is_left_to_autograd(model: nn.Module) -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    assert cotangents_of(model.double(), x) is None


@pytest.mark.parametrize("shapes", [[nn.Flatten()], [nn.Identity(), nn.Unflatten(1, (3, 2)), nn.Flatten()]])
def test_layers_that_reshape_the_inputs_first_keep_the_chain(shapes: list[nn.Module]) -> None:
    """As of images, which `nn.Flatten` makes rows of: D goes by the rules of the chain, and by no recorded call."""
    model = nn.Sequential(*shapes, nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = normal(9, 6) if len(shapes) > 1 else normal(9, 2, 3)
    jacobian = gd.SampleMap(model, x).linearise()[1]
    assert isinstance(jacobian.blocks[0], Block)
    assert_close(jacobian.dense(), naive_jacobian(model, x), EXACT)


def test_samples_that_are_put_together_are_no_chain() -> None:
    model = nn.Sequential(nn.Flatten(0, 1), nn.Linear(4, 3)).double()
    assert cotangents_of(model, normal(5, 2, 4)) is None


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
