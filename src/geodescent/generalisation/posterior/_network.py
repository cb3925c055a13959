"""The layers of a posterior's network, at a start drawn by a seed, and what their prior covariance is made of."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from geodescent.metric import hooked

WIDTHS = (64, 64)  # Units of the hidden layers.


def drawn_layers(n_inputs: int, seed: int) -> "DrawnNetwork":
    """A network of one output: first weights and all biases N(0, 1), other weights N(0, 1/fan-in); GELU between."""
    generator = torch.Generator().manual_seed(seed)
    sizes, modules = (n_inputs, *WIDTHS, 1), list[nn.Module]()
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        empty = nn.Linear(n_in, n_out, bias=i < len(WIDTHS), dtype=torch.float64, device="meta")
        layer = empty.to_empty(device="cpu")  # torch's own start would be drawn from the global random state
        with torch.no_grad():
            layer.weight.normal_(generator=generator).div_(math.sqrt(n_in) if i else 1.0)
            if i < len(WIDTHS):
                layer.bias.normal_(generator=generator)
        modules += [layer, nn.GELU()]
    return DrawnNetwork(*modules[:-1]).requires_grad_(False)


class DrawnNetwork(nn.Sequential):
    """Layers of this library's choice, so that their parameters say all of them."""


def shapes_of_layers(n_inputs: int) -> dict[str, tuple[int, ...]]:
    """Of the parameters of such a network, by name, without making one."""
    shapes, last = dict[str, tuple[int, ...]](), len(WIDTHS)
    for i, (n_in, n_out) in enumerate(pairwise((n_inputs, *WIDTHS, 1))):
        shapes |= {f"{2 * i}.weight": (n_out, n_in)} | ({f"{2 * i}.bias": (n_out,)} if i < last else {})
    return shapes


@dataclass(frozen=True)
class LinearColumns:
    """The columns of D that belong to one linear layer: `D[n, (o, i)] = g[n, o] a[n, i]`.

    Attributes:
        inputs: a, (N, i).
        cotangents: g, the derivatives of the output by what the layer returned, (N, o).
        fan_in: what its weights' variances are divided by: 1 for the first layer, whose inputs have scales.
        biased: whether it has a bias, a column of ones beside a.
    """

    inputs: Tensor
    cotangents: Tensor
    fan_in: float
    biased: bool

    def inner(self, other: "LinearColumns") -> Tensor:
        """`a·a'/fan_in + 1`, (N, N')."""
        return self.inputs @ other.inputs.T / self.fan_in + float(self.biased)

    def outer(self, other: "LinearColumns") -> Tensor:
        """`g·g'`, (N, N')."""
        return self.cotangents @ other.cotangents.T

    def squares(self) -> Tensor:
        """The diagonal of the product of the two, (N,)."""
        return (self.inputs.square().sum(1) / self.fan_in + float(self.biased)) * self.cotangents.square().sum(1)


def linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """By name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}


def linear_columns(network: nn.Module, inputs: Tensor) -> list[LinearColumns]:
    """Of all linear layers, in the order of their calls, with the graph that leads to the inputs, which require grad.

    Cost: a forward and a backward pass.
    """
    layers, calls = linear_layers(network), list[tuple[nn.Linear, Tensor, Tensor]]()
    with torch.enable_grad(), hooked(layers, lambda name, a, output: calls.append((layers[name], a, output))):
        total = network(inputs).sum()
        cotangents = torch.autograd.grad(total, [output for _, _, output in calls], create_graph=True)
    return [
        LinearColumns(a, g, float(layer.in_features) if i else 1.0, layer.bias is not None)
        for i, ((layer, a, _), g) in enumerate(zip(calls, cotangents, strict=True))
    ]
