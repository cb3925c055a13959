"""Derivatives along a chain of layers by formulas: the second along a line, and of the outputs by each layer's return.

Autograd gives the same numbers at a higher cost: the second derivative takes it several forward passes, forward over
forward, and the formulas four products a linear layer; the cotangents take it Q backward passes, and the formulas one
forward pass. `CURVES` and `SHAPES` list the known layers by exact type. The cotangents allow other activations too, by
their forward derivative, where a few rows show that they are elementwise. Autograd handles every other model.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geodescent.jacobian import ChainedCotangents
from geodescent.outputs._autograd import value_and_derivative
from geodescent.outputs._inputs import n_samples_of

Curve = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
PROBED = 4  # Rows: an activation that is not in `CURVES` is tested on these for being elementwise.


@dataclass(frozen=True)
class ChainJet:
    """`x(t)` at t = 0 with `dx/dt` and `d²x/dt²`; None for zeros."""

    value: Tensor
    first: Tensor | None = None
    second: Tensor | None = None


def along_chain(
    model: nn.Module, parameters: dict[str, Tensor], direction: dict[str, Tensor], inputs: Any
) -> Tensor | None:
    """`d²/dt² model(inputs; θ + t·direction)` at t = 0 in the model's own shape; None without a chain of known layers.

    Args:
        parameters, direction: by name, those that move; the others are the module's own.

    Cost: per linear layer four products of the size of its forward pass.
    """
    layers = list(_layers(model))
    if not isinstance(inputs, Tensor) or not all(_known(layer) for layer in layers):
        return None
    moving = {id(p): (parameters[n], direction[n]) for n, p in model.named_parameters() if n in parameters}
    jet = ChainJet(inputs)
    for layer in layers:
        jet = _linear(layer, jet, moving) if isinstance(layer, nn.Linear) else _passed(layer, jet)
    return torch.zeros_like(jet.value) if jet.second is None else jet.second


def cotangents_along_chain(
    model: nn.Module, parameters: dict[str, Tensor], inputs: Any
) -> list[tuple[nn.Module, ChainedCotangents]] | None:
    """Each linear layer with `∂outputs/∂(what it returned)`, in the order of the calls; None without a chain.

    Args:
        parameters: by name, those that are not the module's own.
        inputs: (N, d), or what layers that only reshape bring into this shape before the first linear one.

    Cost: a forward pass; the elementwise layers twice, those that are not in `CURVES` by a forward derivative.
    """
    layers, n = list(_layers(model)), n_samples_of(inputs)
    while isinstance(inputs, Tensor) and len(layers) > 1 and type(layers[0]) in SHAPES and _known(layers[0]):
        inputs = layers.pop(0)(inputs)
    reshaped = any(isinstance(layer, SHAPES) for layer in layers)
    if reshaped or not (isinstance(inputs, Tensor) and inputs.dim() == 2 and _is_linear(layers[-1])):
        return None
    if len(inputs) != n:  # samples were put together
        return None
    own = {id(p): parameters[name] for name, p in model.named_parameters() if name in parameters}
    x, linear, weights, slopes = inputs, list[nn.Linear](), list[Tensor](), list[Tensor]()
    for layer in layers:
        if _is_linear(layer):
            linear.append(layer)
            weights.append(own.get(id(layer.weight), layer.weight).detach().clone())  # D must not follow θ
            x = F.linear(x, weights[-1], own.get(id(layer.bias), layer.bias))
            slopes.append(x.new_ones(()).expand_as(x))
        elif not (_known(layer) or _elementwise(layer, x)):
            return None
        else:
            x, slope = _value_and_slope(layer, x)
            slopes[-1:] = [slopes[-1] * slope] if slopes else []
    last = ChainedCotangents((torch.eye(x.shape[1], dtype=x.dtype, device=x.device),), (slopes[-1],))
    before = [ChainedCotangents(tuple(weights[k + 1 :]), tuple(slopes[k:-1])) for k in range(len(linear) - 1)]
    return list(zip(linear, [*before, last], strict=True))


def is_last_linear(model: nn.Module) -> bool:
    """Whether the one trainable module is a Linear that comes last, so that x[θ] is affine in θ."""
    if type(model) is nn.Sequential:
        chain = list(model)
        last = chain[-1] if chain else model
        owners = [m for _, m in model.named_modules(remove_duplicate=False) if _has_trainable(m)]
        return len(owners) == 1 and owners[0] is last and is_last_linear(last)
    return _is_linear(model)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested `nn.Sequential`s in the order in which they are called; else the module itself."""
    if type(module) is not nn.Sequential or _hooked(module):
        yield module
        return
    for child in module:
        yield from _layers(child)


def _known(layer: nn.Module) -> bool:
    exact = not isinstance(layer, nn.GELU) or layer.approximate == "none"
    return exact and not _hooked(layer) and type(layer) in {nn.Linear, *CURVES, *SHAPES}


def _elementwise(layer: nn.Module, x: Tensor) -> bool:
    """Whether it has no state, is not random, and `d/dt f(x + tv) = f′(x) v` on the first rows."""
    state = [*layer.children(), *layer.parameters(), *layer.buffers()]
    if state or isinstance(layer, RANDOM) or _hooked(layer):
        return False
    rows = x[:PROBED]
    v = torch.arange(1.0, rows.numel() + 1.0, dtype=rows.dtype, device=rows.device).cos().view_as(rows)
    try:
        moved, slope = (
            value_and_derivative(layer, (rows.clone(),), (tangent.clone(),))[1] for tangent in (v, torch.ones_like(v))
        )
    except RuntimeError:  # no forward derivative
        return False
    return bool(moved.shape == rows.shape and torch.allclose(moved, slope * v))


def _value_and_slope(layer: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """`f(z)` and `f′(z)` of an elementwise layer, which may overwrite its input."""
    if _known(layer):
        return CURVES[type(layer)](z)[:2]
    value, slope = value_and_derivative(layer, (z.clone(),), (torch.ones_like(z),))
    return value, slope


def _is_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    return type(layer) is nn.Linear and not _hooked(layer)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _has_trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters(recurse=False))


def _linear(layer: nn.Linear, x: ChainJet, moving: dict[int, tuple[Tensor, Tensor]]) -> ChainJet:
    """`y = Wx + b`: `ẏ = Wẋ + Ẇx + ḃ`, `ÿ = Wẍ + 2Ẇẋ`."""
    weight, v = moving.get(id(layer.weight), (layer.weight, None))
    bias, c = moving.get(id(layer.bias), (layer.bias, None))
    ones = x.value.new_ones(()).expand(x.value.shape[:-1])[..., None]
    first = _sum(
        None if x.first is None else F.linear(x.first, weight),
        None if v is None else F.linear(x.value, v, c),
        None if v is not None or c is None else ones * c,
    )
    second = _sum(
        None if x.second is None else F.linear(x.second, weight),
        None if x.first is None or v is None else F.linear(x.first, v).mul_(2.0),
    )
    return ChainJet(F.linear(x.value, weight, bias), first, second)


def _passed(layer: nn.Module, x: ChainJet) -> ChainJet:
    """`f(x)` elementwise: `f′ẋ` and `f″ẋ² + f′ẍ`; or a change of shape, which all three go through."""
    if type(layer) in SHAPES:
        return ChainJet(layer(x.value), *(None if part is None else layer(part) for part in (x.first, x.second)))
    value, slope, bend = CURVES[type(layer)](x.value)
    if x.first is None:
        return ChainJet(value)
    curved = bend.mul_(x.first).mul_(x.first)
    return ChainJet(value, slope * x.first, curved if x.second is None else curved.addcmul_(slope, x.second))


def _sum(*parts: Tensor | None) -> Tensor | None:
    total = None
    for part in parts:
        if part is not None:
            total = part if total is None else total.add_(part)
    return total


def _tanh(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.tanh(z)
    slope = torch.addcmul(y.new_ones(()), y, y, value=-1.0)
    return y, slope, (y * slope).mul_(-2.0)


def _sigmoid(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.sigmoid(z)
    slope = y * (1.0 - y)
    return y, slope, slope * (1.0 - 2.0 * y)


def _silu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y, slope, bend = _sigmoid(z)
    return z * y, y + z * slope, 2.0 * slope + z * bend


def _gelu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    below = 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0)))
    density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return z * below, below + z * density, density * (2.0 - z * z)


def _relu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.relu(z), (z > 0).to(z.dtype), torch.zeros_like(z)


CURVES: dict[type[nn.Module], Curve] = {  # value, first and second derivative; the last is overwritten
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    nn.ReLU: _relu,
}
SHAPES: tuple[type[nn.Module], ...] = (nn.Flatten, nn.Unflatten, nn.Identity)
RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)
