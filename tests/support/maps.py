"""Output maps of every kind, each with what is known of it otherwise."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from support.models import Custom, cast, mlp, normal, perturbed
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

Theta, Outputs = Tensor, Tensor


@dataclass
class Case:
    """A map, and what is known of it otherwise.

    Attributes:
        map: the map.
        function: `θ ↦ x[θ]` for autograd; None where it leaves torch.
        module: the module whose parameters are θ, or None.
        by_differences: whether its second derivative is a difference, half of whose digits are lost.
    """

    map: gd.OutputMap
    function: Callable[[Theta], Outputs] | None = None
    module: nn.Module | None = None
    by_differences: bool = False
    theta: Theta = field(init=False)
    v: Theta = field(init=False)

    def __post_init__(self) -> None:
        k = len(self.map.theta)
        self.theta = self.map.theta + 0.3 * normal(k).to(self.map.dtype)  # not where the map stands
        self.v = normal(k).to(self.map.dtype)


def function_of(model: nn.Module, x: Tensor | dict[str, Tensor]) -> Callable[[Theta], Outputs]:
    """The model as a function of the flat θ, by torch alone."""
    places = [(name, p.shape, p.numel()) for name, p in model.named_parameters()]

    def function(theta: Theta) -> Outputs:
        parts = theta.split([size for _, _, size in places])
        parameters = {name: part.view(shape) for (name, shape, _), part in zip(places, parts, strict=True)}
        return functional_call(model, parameters, (x,)).reshape(len(x), -1)

    return function


def sampled(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Case:
    model, x = perturbed(model.to(dtype)), cast(x, dtype)
    return Case(gd.SampleMap(model, x), function_of(model, x), model)


class Placed(nn.Module):
    """A layer that is called on a parameter: what it was given lies in the memory of θ."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.layer = nn.Parameter(torch.randn(1, 4)), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(self.place.expand(len(x), 4))) * x


class OnceSquared(torch.autograd.Function):
    """z², of which torch has one derivative, and zeros for the second."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.slope = 2.0 * z.detach()
        return z.detach() ** 2

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return g.detach() * ctx.slope


def closed(model: nn.Module, x: Tensor, dtype: torch.dtype, *, once: bool = False) -> Case:
    """A closure that returns outputs and targets."""
    model, x = model.to(dtype), x.to(dtype)
    square, outputs = OnceSquared.apply if once else torch.square, function_of(model, x)
    y = model(x).detach()
    return Case(gd.ClosureMap.of(model, lambda: (square(model(x)), y)), lambda t: outputs(t).square(), model, once)


def closed_residuals(dtype: torch.dtype) -> Case:
    model, x, y = Custom().to(dtype), normal(6, 6).to(dtype), normal(6, 2).to(dtype)
    outputs = function_of(model, x)
    return Case(gd.ClosureMap.of(model, lambda: model(x) - y), lambda t: outputs(t) - y, model)


def streamed(dtype: torch.dtype) -> Case:
    model, x = mlp()
    model, x = model.to(dtype), x.to(dtype)
    loader = DataLoader(TensorDataset(x, normal(len(x), 3).to(dtype)), batch_size=4)
    (block,) = gd.StreamedSource.of(model, loader).whole.blocks
    return Case(block.map, function_of(model, x), model)


def decay(size: Tensor, rate: Tensor) -> Tensor:
    """Five points in time of each of the rates, (5, 2)."""
    return size.sum() * torch.exp(-torch.linspace(0.0, 1.0, 5, dtype=rate.dtype)[:, None] * rate)


def flat(dtype: torch.dtype) -> Case:
    def function(theta: Theta) -> Outputs:
        return decay(theta[:3], theta[3:])

    return Case(gd.FunctionMap(function, normal(5).to(dtype)), function)


def one_number(dtype: torch.dtype) -> Case:
    """More parameters than outputs: D is made backward."""

    def function(theta: Theta) -> Outputs:
        return (theta**3).sum()

    return Case(gd.FunctionMap(function, normal(7).to(dtype)), lambda t: function(t).reshape(1))


def named(dtype: torch.dtype) -> Case:
    theta0 = {"size": normal(3, 1).to(dtype), "rate": normal(2).to(dtype)}
    outputs = gd.FunctionMap(lambda p: decay(p["size"], p["rate"]), theta0)
    return Case(outputs, lambda t: decay(t[:3], t[3:]))


def with_jacobian(dtype: torch.dtype) -> Case:
    """f leaves torch, D is given by name."""

    def function(p: dict[str, Tensor]) -> Outputs:
        return torch.from_numpy(np.sin(p["a"].numpy())) * p["b"].detach()

    def jacobian(p: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"b": torch.sin(p["a"])[:, None], "a": torch.diag(torch.cos(p["a"]) * p["b"])}

    theta0 = {"a": normal(4).to(dtype), "b": normal(1).to(dtype)}
    outputs = gd.FunctionMap(function, theta0, jacobian=jacobian)
    return Case(outputs, lambda t: torch.sin(t[:4]) * t[4:], None, by_differences=True)
