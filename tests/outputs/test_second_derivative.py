"""The second derivative where torch's own ways to it are wrong without an error, or where there is none."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.laws import assert_close
from support.models import normal
from torch import Tensor, nn
from torch.autograd.functional import hvp
from torch.autograd.graph import saved_tensors_hooks

import geodescent as gd

F64 = torch.float64


def by_hessians(function: Callable[[Tensor], Tensor], theta: Tensor, v: Tensor) -> Tensor:
    """`vᵀ∇²x_k v` of each output, by two backward passes, which torch has right."""
    n = function(theta).numel()
    curvatures = [hvp(lambda t, k=k: function(t).reshape(-1)[k], theta, v)[1] @ v for k in range(n)]
    return torch.stack(curvatures).view(function(theta).shape)


def normed(kind: str) -> nn.Module:
    """A norm between two layers, which forward over forward gets wrong for two of the kinds."""
    layer = {"layer": nn.LayerNorm(6), "instance": nn.InstanceNorm1d(2), "group": nn.GroupNorm(2, 6)}[kind]
    inside = nn.Sequential(nn.Unflatten(1, (2, 3)), layer, nn.Flatten()) if kind == "instance" else layer
    return nn.Sequential(nn.Linear(4, 6), inside, nn.Tanh(), nn.Linear(6, 2)).double()


def maps_of(kind: str) -> dict[str, tuple[gd.OutputMap, Callable[[Tensor], Tensor]]]:
    model, x = normed(kind), normal(9, 4)
    samples = gd.SampleMap(model, x)
    closure = gd.ClosureMap.of(model, lambda: model(x) - 1.0)
    return {"samples": (samples, samples.traced), "closure": (closure, samples.traced)}


@pytest.mark.parametrize("way", ["samples", "closure"])
@pytest.mark.parametrize("kind", ["layer", "instance", "group"])
def test_norms(kind: str, way: str) -> None:
    outputs, function = maps_of(kind)[way]
    theta = outputs.theta + 0.3 * normal(len(outputs.theta))
    for v in normal(2, len(theta)):
        assert_close(outputs.second_derivative(theta, v), by_hessians(function, theta, v), 1e-11)


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "solve": lambda t: torch.linalg.solve(t[:9].view(3, 3), t[9:]),
    "det": lambda t: torch.linalg.det(t[:9].view(3, 3)) * t[9:],
    "slogdet": lambda t: torch.linalg.slogdet(t[:9].view(3, 3))[1].reshape(1),
    "glu": lambda t: F.glu(t[:8].view(2, 4) * t[8:], 1),
    "plain": lambda t: torch.sin(t) * t.sum(),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name: str) -> None:
    theta, v = normal(12), normal(12)
    outputs = gd.FunctionMap(FORMULAS[name], theta)
    assert_close(outputs.second_derivative(theta, v), by_hessians(FORMULAS[name], theta, v), 1e-11)


def test_in_single_precision() -> None:
    model, x = normed("layer").float(), normal(9, 4).float()
    outputs, exact = gd.SampleMap(model, x), gd.SampleMap(normed("layer"), x.double())
    theta, v = outputs.theta, normal(outputs.n_params).float()
    expected = by_hessians(exact.traced, theta.double(), v.double())
    assert_close(outputs.second_derivative(theta, v).double(), expected, 1e-4)


@pytest.mark.parametrize(("kind", "kept"), [("group", False), ("layer", True)])
def test_forward_mode_is_used_where_it_is_right(kind: str, kept: bool) -> None:
    """Backward passes keep what the layers saved, of all samples; the comparison, once, of a few."""
    outputs, _ = maps_of(kind)["samples"]
    theta, v = outputs.theta, normal(len(outputs.theta))
    outputs.second_derivative(theta, v)
    saved = list[Tensor]()

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs.second_derivative(theta, v)
    assert bool(saved) == kept


def test_the_first_direction_does_not_decide() -> None:
    """Along the last layer's bias everything is zero, and right."""
    outputs, function = maps_of("layer")["samples"]
    theta, v = outputs.theta, torch.zeros_like(outputs.theta)
    v[-2:] = 1.0
    assert torch.equal(outputs.second_derivative(theta, v), torch.zeros(9, 2, dtype=F64))
    v = normal(len(theta))
    assert_close(outputs.second_derivative(theta, v), by_hessians(function, theta, v), 1e-11)


def test_other_samples_and_single_ones() -> None:
    model = normed("layer")
    outputs, x = gd.SampleMap(model, normal(9, 4)), normal(1, 4)
    other, v = outputs.on(x), normal(outputs.n_params)
    for some in (other, outputs):
        assert_close(some.second_derivative(some.theta, v), by_hessians(some.traced, some.theta, v), 1e-11)


@pytest.mark.parametrize("grad", [True, False])
def test_no_direction_no_curvature_and_no_graph(grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        for outputs, _ in maps_of("layer").values():
            zero = torch.zeros_like(outputs.theta)
            assert torch.equal(outputs.second_derivative(outputs.theta, zero), torch.zeros(9, 2, dtype=F64))
            ours = outputs.second_derivative(outputs.theta, torch.ones_like(zero))
            assert not ours.requires_grad and float(ours.norm()) > 0.0


class Once(torch.autograd.Function):
    """sin z, of which torch has one derivative; it would take a second one for zero."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.slope = z.detach().cos()
        return z.sin()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return g.detach() * ctx.slope


@pytest.mark.parametrize("way", ["samples", "closure", "function"])
def test_what_can_be_differentiated_once_gets_the_difference(way: str) -> None:
    class Sine(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return Once.apply(z)

    model, x = nn.Sequential(nn.Linear(4, 3), Sine(), nn.Linear(3, 2)).double(), normal(7, 4)
    samples = gd.SampleMap(model, x)
    outputs = {
        "samples": samples,
        "closure": gd.ClosureMap.of(model, lambda: model(x)),
        "function": gd.FunctionMap(samples.traced, samples.theta),
    }[way]
    theta, v = samples.theta, normal(samples.n_params)
    step = 1e-4
    ahead, behind = samples(theta + step * v), samples(theta - step * v)
    expected = (ahead - 2.0 * samples(theta) + behind) / step**2
    assert_close(outputs.second_derivative(theta, v), expected, 1e-5)
