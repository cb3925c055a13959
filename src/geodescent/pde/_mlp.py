"""The multilayer perceptron of a system, whose activation the start may choose."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geodescent._errors import InputError

ACTIVATIONS_OF_FIELDS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
}


class Activation(nn.Module):
    """An elementwise function by its name.

    Attributes:
        name: of the function.
        is_open: whether the start of a system may choose another.
    """

    def __init__(self, name: str, *, is_open: bool = False) -> None:
        super().__init__()
        self.name, self.is_open = name, is_open

    def forward(self, z: Tensor) -> Tensor:
        """Elementwise."""
        return ACTIVATIONS_OF_FIELDS[self.name](z)

    def extra_repr(self) -> str:
        return self.name


def mlp(n_coordinates: int, widths: Sequence[int], n_fields: int = 1, activation: str | None = None) -> nn.Sequential:
    """A multilayer perceptron in float64 for the fields of a system.

        pde.mlp(2, [20, 20], 1)

    Args:
        n_coordinates: of its inputs; one more for each periodic coordinate.
        widths: of the hidden layers; two or three small ones do better than one large (docs/decisions.md).
        n_fields: of its outputs.
        activation: "tanh", "sin", "gelu", "silu", "softplus" or "sigmoid"; None for tanh, which `gd.initialise`
            replaces by a sine where the equations say so.

    Raises: InputError, for sizes that are none, and for an activation that is not known.
    """
    if activation is not None and activation not in ACTIVATIONS_OF_FIELDS:
        raise InputError(f"activation={activation!r}: {', '.join(map(repr, ACTIVATIONS_OF_FIELDS))} are known.")
    if not isinstance(widths, Sequence):
        raise InputError(f"widths = {widths!r}: a list of the widths of layers is needed, pde.mlp(2, [20, 20], 1).")
    sizes = [n_coordinates, *widths, n_fields]
    if not all(isinstance(n, int) and n > 0 for n in sizes):
        raise InputError(f"sizes {sizes}: whole numbers above 0 are needed, pde.mlp(2, [20, 20], 1).")
    layers = list[nn.Module]()
    for i, o in pairwise(sizes):
        layers.append(nn.Linear(i, o, dtype=torch.float64))
        layers.append(Activation(activation or "tanh", is_open=activation is None))
    return nn.Sequential(*layers[:-1])
