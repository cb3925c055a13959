"""The layers at both ends of a network: those that are called on the inputs, and the one that returns the outputs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.outputs import (
    NetworkMap,
    Parametrised,
    Sampled,
    alone,
    left_as_found,
    map_inputs,
    n_samples_of,
    take,
)

FIRST_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

Look = Callable[[str, Tensor, Tensor], None]
"""What is done with the name of a layer, its input and its output."""


@dataclass(frozen=True)
class EndLayers:
    """The layers at both ends of a network.

    Attributes:
        first: name → layer, in the order of the calls: linear or convolutional, its input depends on no parameter.
        last: the linear layer that returns the outputs, or None.
        on_data: names of the first layers that are called once, on the samples themselves, of shape (N, d).
    """

    first: dict[str, nn.Module]
    last: nn.Linear | None
    on_data: frozenset[str] = frozenset()

    @classmethod
    def of(cls, outputs: NetworkMap, theta: Theta) -> "EndLayers":
        """From one call of the module, on two samples where they can be picked."""
        first, returned, model = dict[str, nn.Module](), dict[str, Tensor](), outputs.model
        layers: dict[str, nn.Module] = {name: m for name, m in model.named_modules() if isinstance(m, FIRST_KINDS)}
        few, data, calls = outputs, None, Counter[str]()
        if isinstance(outputs, Sampled):
            n = n_samples_of(outputs.inputs)
            two = outputs.on(map_inputs(torch.Tensor.detach, take(outputs.inputs, [0, 1 % n])))
            few, data = (two, two.inputs) if isinstance(two, NetworkMap) else (outputs, None)

        def look(name: str, inputs: Tensor, output: Tensor) -> None:
            if not inputs.requires_grad:
                first.setdefault(name, layers[name])
            returned[name] = output
            calls[name] += 1 if inputs is data and inputs.dim() == 2 and isinstance(layers[name], nn.Linear) else 2

        with alone(model), hooked(layers, look), left_as_found(model, theta.device):
            rows = few.watched(theta)
        last = None
        for name, output in returned.items():
            layer = layers[name]
            if isinstance(layer, nn.Linear) and output.numel() == rows.numel():
                last = layer if torch.equal(output.reshape(-1), rows.reshape(-1)) else last
        return cls(first, last, frozenset(name for name in first if calls[name] == 1))


@contextmanager
def hooked(layers: Mapping[str, nn.Module], look: Look) -> Iterator[None]:
    """Shows what these layers are called on, and what they return, while the block runs."""

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], object], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if given and isinstance(output, Tensor):
                look(name, given[0], output)

        return hook

    handles = [m.register_forward_hook(hook_of(name), with_kwargs=True) for name, m in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def input_columns(outputs: NetworkMap, theta: Theta, ends: EndLayers, *, is_own: bool) -> dict[str, Tensor]:
    """Name → all inputs of a first layer, (n, d), d its input features or channels.

    Args:
        is_own: whether the layers were found by calls of this map.

    Cost: one call of the module, where one of them is not called on the samples themselves.
    """
    seen, layers = dict[str, Tensor](), dict(ends.first)
    if is_own and isinstance(outputs, Sampled) and isinstance(outputs.inputs, Tensor):
        seen |= {name: outputs.inputs.detach() for name in layers if name in ends.on_data}
        layers = {name: layer for name, layer in layers.items() if name not in seen}
    if not layers:
        return seen

    def look(name: str, inputs: Tensor, output: Tensor) -> None:
        axis = -1 if isinstance(layers[name], nn.Linear) else 1
        columns = inputs.detach().movedim(axis, -1)
        columns = columns.reshape(columns.shape[:-1].numel(), columns.shape[-1])  # a vector is one row
        seen[name] = columns if name not in seen else torch.cat([seen[name], columns])

    with alone(outputs.model), hooked(layers, look), left_as_found(outputs.model, theta.device), torch.no_grad():
        outputs.watched(theta)
    return seen


def over_weight(columns: Tensor, layer: nn.Module) -> Tensor:
    """Values of the input columns, (d,), in the shape of the layer's weight."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if isinstance(layer, nn.Linear):
        return columns.expand(weight.shape)
    groups = int(layer.groups)  # type: ignore[arg-type]
    by_row = columns.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return by_row.reshape(*by_row.shape, *[1] * (weight.dim() - 2)).expand(weight.shape)


def entries_of(outputs: Parametrised, wanted: Tensor | None) -> slice | None:
    """Where a parameter stands in θ; None for one that is not part of it."""
    offset = 0
    for parameter in outputs.parameters().values():
        if parameter is wanted:
            return slice(offset, offset + parameter.numel())
        offset += parameter.numel()
    return None
