"""The first layer of a network: what is called on the inputs themselves."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.outputs import Layered, Sampled, Traced, left_as_found, map_inputs, n_samples_of, take

FIRST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def first_layer(outputs: object, theta: Theta) -> dict[str, Tensor]:
    """Name → entries of θ, of the layers that are called on what depends on no parameter, in the order of the calls.

    Empty for a map without layers.
    """
    if not (isinstance(outputs, Layered) and isinstance(outputs, Sampled) and isinstance(outputs, Traced)):
        return {}
    first, entries, model = dict[str, Tensor](), outputs.layers(), outputs.model

    def look_at(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not (args[0] if args else kwargs["input"]).requires_grad:
                first.setdefault(name, entries[name])

        return hook

    modules = dict(model.named_modules())
    layers = {name: modules[name] for name in entries if isinstance(modules[name], FIRST_LAYERS)}
    n = n_samples_of(outputs.inputs)
    two = outputs.on(map_inputs(torch.Tensor.detach, take(outputs.inputs, [0, 1 % n])))
    handles = [m.register_forward_pre_hook(look_at(name), with_kwargs=True) for name, m in layers.items()]
    try:
        with left_as_found(model, outputs.device), torch.enable_grad():
            if isinstance(two, Traced):
                two.traced(theta.detach().clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    return first
