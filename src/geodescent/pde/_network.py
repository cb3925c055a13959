"""The network of a system, with its inputs scaled, periodic ones doubled, and conditions built in."""

import json
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from geodescent._conversion import tensor_of
from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.pde._domain import Domain
from geodescent.pde._fields import arguments_of
from geodescent.pde._hints import OF_TENSORS, first_sentence, hint_for, hint_for_name, own_cause
from geodescent.pde._mlp import ACTIVATIONS_OF_FIELDS, Activation

DRY_PLACES = (-0.9, -0.4, 0.1, 0.5, 0.8)  # Places of the dry run's points, in units of half of the coordinates' range.
POINTWISE = 1e-5  # Share of the largest value: fields of one point that differ by more depend on the other points.

FOLDED = (
    2.0**12
)  # Times eps, in periods: what is closer to a whole number of periods than this is one, but for rounding.


class FieldsModule(nn.Module):
    """Coordinates (N, d) → fields (N, F), of tensors and of jets alike.

    Args:
        net: one module with a column a field, or field → module of one column.
        unknowns: name → first value; parameters that equations read.
        points: all points, (N, d), whose range is mapped to [−1, 1].
        domain: that they show, for pictures and tables.
    """

    centre: Tensor
    half_range: Tensor
    domain = Domain()  # Of modules that were stored before they had one: it covers everything.
    slopes: tuple[float, ...] = ()  # One a coordinate, of the exponent of an envelope; empty without one.
    enveloped: tuple[int, ...] = ()  # The coordinates along which there may be one.

    def __init__(
        self,
        net: nn.Module | Mapping[str, nn.Module],
        coordinates: tuple[str, ...],
        fields: tuple[str, ...],
        unknowns: dict[str, float],
        transform: Callable[..., Operand] | None,
        periodic: dict[str, float],
        points: Tensor,
        domain: Domain,
    ) -> None:
        super().__init__()
        if isinstance(net, FieldsModule):
            raise InputError(
                "net is the module of another system, which scales its inputs: pass its network, net=module.net, or "
                "make the system with a new one and load the other's state, system.module.load_state_dict(…)."
            )
        if isinstance(net, Mapping):
            if set(net) != set(fields):
                raise InputError(
                    f"net is a dict of {', '.join(map(str, net))}, the fields are {', '.join(fields)}: a module of one "
                    f"output is needed for each, {{'{fields[0]}': pde.mlp({len(coordinates)}, [20, 20], 1), …}}."
                )
            self.net: nn.Module = nn.ModuleDict({name: net[name] for name in fields})
        else:
            self.net = net
        self.unknowns = nn.ParameterDict(
            {name: nn.Parameter(points.new_tensor(value)) for name, value in unknowns.items()}
        )
        self.coordinates, self.fields, self._transform, self._periodic = coordinates, fields, transform, periodic
        self.domain = domain
        low, high = points.min(0).values, points.max(0).values
        half = torch.where(high > low, (high - low) / 2.0, 1.0)
        self.register_buffer("centre", (low + high) / 2.0)
        self.register_buffer("half_range", half)
        if transform is not None:
            self._wanted = self._checked_transform(transform)
            self.enveloped = tuple(k for k, name in enumerate(coordinates) if name not in periodic)
        self._dry_run(self.centre + self.half_range * points.new_tensor(DRY_PLACES)[:, None])

    @property
    def has_transform(self) -> bool:
        """Whether conditions are built in."""
        return self._transform is not None

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

    @property
    def start(self) -> dict[str, object]:
        """What a choice of the start may have changed beside the parameters, for JSON."""
        return {"activations": [layer.name for layer in self._activations], "slopes": list(self.slopes)}

    def begin_as(self, start: dict[str, object]) -> None:
        """Takes activations and envelope of such a start. Raises ValueError for one of another network."""
        names, slopes = start["activations"], start.get("slopes", [])  # Older ones have no envelope.
        if not isinstance(names, list) or len(names) != len(self._activations) or set(names) - {*ACTIVATIONS_OF_FIELDS}:
            raise ValueError(f"activations {names} of {len(self._activations)} layers")
        allowed = (0, len(self.coordinates)) if self.enveloped else (0,)
        if not isinstance(slopes, list) or len(slopes) not in allowed:
            raise ValueError(f"slopes {slopes} of {len(self.coordinates)} coordinates")
        self.slopes = tuple(map(float, slopes))
        for layer, name in zip(self._activations, names, strict=True):
            layer.name = name

    def get_extra_state(self) -> Tensor:
        """The same for `state_dict`, as JSON in a tensor of bytes: parameters alone would be those of other fields."""
        return torch.tensor(list(json.dumps(self.start).encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """For `load_state_dict`. Raises InputError for the state of another network."""
        try:
            self.begin_as(json.loads(bytes(state.tolist())))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the state is not that of these fields: {error}.") from error

    @property
    def _activations(self) -> list[Activation]:
        return [layer for layer in self.modules() if isinstance(layer, Activation)]

    def folded(self, points: Tensor) -> Tensor:
        """Points (…, d) with periodic coordinates in the first period from the least one on, where it is the same.

        With built-in conditions they stay as they are, for these need not be periodic.
        """
        if self._transform is not None or not self._periodic:
            return points
        folded, step = points.clone(), FOLDED * torch.finfo(points.dtype).eps
        for k, name in enumerate(self.coordinates):
            if name in self._periodic:
                low = self.centre[k] - self.half_range[k]
                share = torch.round((points[..., k] - low) / self._periodic[name] / step) * step
                folded[..., k] = low + (share - torch.floor(share)) * self._periodic[name]
        return folded

    def as_fields(self, values: object, n: int, what: str) -> Tensor:
        """Values of the fields at n points that somebody else knows, (N, F), NaN where they do not.

        Args:
            values: (N, F), or (N,) of one field.
            n: the number of points.
            what: they are, for messages.

        Raises: InputError, for values of another shape, and for what holds no real numbers.
        """
        found = tensor_of(values, self.centre, what)
        if found.dim() == 1 and len(self.fields) == 1:
            found = found[:, None]
        if tuple(found.shape) != (n, len(self.fields)) or found.dtype.is_complex:
            columns = [f"{name}_known" for name in self.fields]
            several = f", a column for each of {', '.join(self.fields)}: torch.stack([{', '.join(columns)}], 1)"
            raise InputError(
                f"{what} is {found.dtype} of shape {tuple(found.shape)} for {n} points: real numbers of shape "
                f"({n}, {len(self.fields)}) are needed{several if len(self.fields) > 1 else f', or ({n},)'}, with NaN "
                "where they are not known."
            )
        return found.detach().to(self.centre.device)

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
        if any(self.slopes):
            scaled = (points - self.centre) / self.half_range
            envelope = torch.exp((scaled @ self.centre.new_tensor(self.slopes)[:, None])[:, 0])
            columns = [envelope * column for column in columns]
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
        if not first or first in self.coordinates or unknown:
            raise InputError(
                f"transform asks for {', '.join([first, *wanted]) or 'nothing'}: its arguments are the network's field"
                f"{'s' if len(self.fields) > 1 else ''}, then coordinates, which are {', '.join(self.coordinates)}, as "
                f"in lambda net, {self.coordinates[-1]}: {self.coordinates[-1]} * net."
            )
        return tuple(wanted)

    def _dry_run(self, points: Tensor) -> None:
        """A few calls, for errors in words; buffers and the state of random numbers are left as they were."""
        kept = {name: buffer.clone() for name, buffer in self.named_buffers()}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            columns = self._columns_of_net(points)
            if self._transform is not None:
                self._require_columns(columns, points)
            values, again, part = self(points), self(points), self(points[:2])
            for name, buffer in self.named_buffers():
                buffer.copy_(kept[name])
        size = POINTWISE * float(values.nan_to_num().abs().max())
        if not torch.allclose(values, again, rtol=0.0, atol=size, equal_nan=True):
            raise InputError("the net draws random numbers: call net.eval() before it is given to a System.")
        if not torch.allclose(values[:2], part, rtol=0.0, atol=size, equal_nan=True):
            raise InputError(
                "the fields at a point depend on the other points: call net.eval() where layers take means over "
                "points, as BatchNorm does, and compute in transform from the same point alone."
            )

    def _columns_of_net(self, points: Tensor) -> list[Tensor]:
        """The columns that the net returns. Raises InputError, where it cannot be called, or returns something else."""
        inputs = self._inputs(points)
        n, n_inputs, names = len(points), inputs.shape[1], self.fields
        parts = {"net": (self.net, names)}
        if isinstance(self.net, nn.ModuleDict):
            parts = {f"net[{name!r}]": (self.net[name], (name,)) for name in names}
        columns = list[Tensor]()
        for what, (module, own) in parts.items():
            try:
                values = module(inputs)
            except Exception as error:  # whatever a user's module raises
                around = ", two for a periodic one" if self._periodic else ""
                raise InputError(
                    f"{what} cannot be called on {n_inputs} inputs a point, {type(error).__name__}: {error}. It takes "
                    f"one for each of {', '.join(self.coordinates)}{around}: pde.mlp({n_inputs}, [20, 20], {len(own)})."
                ) from own_cause(error)
            if not isinstance(values, Tensor) or tuple(values.shape) != (n, len(own)):
                shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise InputError(
                    f"{what} returns {shape} for {n} points: ({n}, {len(own)}) is needed, a column for each of "
                    f"{', '.join(own)}: pde.mlp({n_inputs}, [20, 20], {len(own)})."
                )
            columns += list(values.unbind(1))
        return columns

    def _require_columns(self, columns: list[Tensor], points: Tensor) -> None:
        """Raises InputError, where the transform fails, or returns no field at each point."""
        n, several = len(points), len(self.fields) > 1
        try:
            found = self._transformed(columns, points)
        except Exception as error:  # whatever a user's function raises
            if isinstance(error, KeyError) and error.args and error.args[0] in self.fields:
                every = ", ".join(self.fields)
                raise InputError(
                    f"transform returns no {error}: fields are {every}, a dict of all is needed."
                ) from None
            way = "the network's fields are net.u, net.v" if several else "the network's field is a tensor, u = x * net"
            way = way.replace("net.u, net.v", ", ".join(f"net.{name}" for name in self.fields))
            hint = hint_for_name(error, "transform", self.coordinates, (), self.coordinates) or hint_for(
                error, OF_TENSORS
            )
            text = f"transform fails, {type(error).__name__}: {first_sentence(error)}."
            raise InputError(f"{text}{hint or f' There {way}.'}") from own_cause(error)
        for name, column in zip(self.fields, found, strict=True):
            if not isinstance(column, Tensor) or tuple(column.shape) != (n,):
                shape = tuple(column.shape) if isinstance(column, Tensor) else type(column).__name__
                raise InputError(
                    f"transform returns {shape} for the field {name} at {n} points: a tensor ({n},) is needed, as in "
                    f"lambda net, {self.coordinates[-1]}: {self.coordinates[-1]} * net."
                )
