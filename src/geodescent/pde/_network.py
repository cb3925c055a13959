"""The network of a system, with its inputs scaled, periodic ones doubled, and conditions built in."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.pde._fields import arguments_of

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
    sizes = [n_coordinates, *widths, n_fields]
    if not all(isinstance(n, int) and n > 0 for n in sizes):
        raise InputError(f"sizes {sizes}: whole numbers above 0 are needed, pde.mlp(2, [20, 20], 1).")
    layers = list[nn.Module]()
    for i, o in pairwise(sizes):
        layers.append(nn.Linear(i, o, dtype=torch.float64))
        layers.append(Activation(activation or "tanh", is_open=activation is None))
    return nn.Sequential(*layers[:-1])


class FieldsModule(nn.Module):
    """Coordinates (N, d) → fields (N, F), of tensors and of jets alike.

    Args:
        net: one module with a column a field, or field → module of one column.
        unknowns: name → first value; parameters that equations read.
        points: all points, (N, d), whose range is mapped to [−1, 1].
    """

    centre: Tensor
    half_range: Tensor

    def __init__(
        self,
        net: nn.Module | Mapping[str, nn.Module],
        coordinates: tuple[str, ...],
        fields: tuple[str, ...],
        unknowns: dict[str, float],
        transform: Callable[..., Operand] | None,
        periodic: dict[str, float],
        points: Tensor,
    ) -> None:
        super().__init__()
        if isinstance(net, Mapping):
            if set(net) != set(fields):
                raise InputError(f"net is a dict of {', '.join(map(str, net))}, the fields are {', '.join(fields)}.")
            self.net: nn.Module = nn.ModuleDict({name: net[name] for name in fields})
        else:
            self.net = net
        self.unknowns = nn.ParameterDict(
            {name: nn.Parameter(points.new_tensor(_number(name, value))) for name, value in unknowns.items()}
        )
        self.coordinates, self.fields, self._transform, self._periodic = coordinates, fields, transform, periodic
        low, high = points.min(0).values, points.max(0).values
        half = torch.where(high > low, (high - low) / 2.0, 1.0)
        self.register_buffer("centre", (low + high) / 2.0)
        self.register_buffer("half_range", half)
        if transform is not None:
            self._wanted = self._checked_transform(transform)
        self._dry_run(points[[0, -1]])

    def forward(self, points: Operand) -> Operand:
        """The fields, (N, F)."""
        inputs = self._inputs(points)
        if isinstance(self.net, nn.ModuleDict):
            columns = [self.net[name](inputs)[:, 0] for name in self.fields]
        else:
            outputs = self.net(inputs)
            if self._transform is None:
                return outputs
            columns = [outputs[:, k] for k in range(len(self.fields))]
        if self._transform is not None:
            columns = self._transformed(columns, points)
        return torch.stack(columns, -1)

    def _inputs(self, points: Operand) -> Operand:
        scaled = (points - self.centre) / self.half_range
        if not self._periodic:
            return scaled
        columns = list[Operand]()
        for k, name in enumerate(self.coordinates):
            if name in self._periodic:
                angle = points[:, k] * (2.0 * math.pi / self._periodic[name])
                columns += [torch.cos(angle), torch.sin(angle)]
            else:
                columns.append(scaled[:, k])
        return torch.stack(columns, -1)

    def _transformed(self, columns: list[Operand], points: Operand) -> list[Operand]:
        assert self._transform is not None
        places = {name: points[:, k] for k, name in enumerate(self.coordinates)}
        single = len(self.fields) == 1
        net = columns[0] if single else SimpleNamespace(**dict(zip(self.fields, columns, strict=True)))
        returned = self._transform(net, *(places[name] for name in self._wanted))
        if single and not isinstance(returned, dict | SimpleNamespace):
            return [returned]
        named = returned if isinstance(returned, dict) else vars(returned)
        return [named[name] for name in self.fields]

    def _checked_transform(self, transform: Callable[..., Operand]) -> tuple[str, ...]:
        first, *wanted = arguments_of(transform, "transform") or ("",)
        unknown = [name for name in wanted if name not in self.coordinates]
        if not first or unknown:
            raise InputError(
                f"transform asks for {', '.join([first, *wanted])}: its arguments are the network's field"
                f"{'s' if len(self.fields) > 1 else ''}, then coordinates, which are {', '.join(self.coordinates)}."
            )
        return tuple(wanted)

    def _dry_run(self, points: Tensor) -> None:
        """One call, for errors in words."""
        n_inputs = len(self.coordinates) + len(self._periodic)
        try:
            with torch.no_grad():
                values = self(points)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the net cannot be called on {n_inputs} inputs a point, {type(error).__name__}: {error}. It takes one "
                f"input for each of {', '.join(self.coordinates)}, two for a periodic one: pde.mlp({n_inputs}, …)."
            ) from error
        if not isinstance(values, Tensor) or tuple(values.shape) != (len(points), len(self.fields)):
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"the net returns {shape} for {len(points)} points: ({len(points)}, {len(self.fields)}) is needed, a "
                f"column for each of {', '.join(self.fields)}."
            )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"unknowns = {{{name!r}: {value!r}}}: a first value is needed, a finite number.")
    return float(value)
