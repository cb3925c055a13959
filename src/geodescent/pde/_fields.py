"""What an equation is given for a field: its values, with its derivatives as attributes."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.outputs import MOST_ORDERS, Derivative, Streams
from geodescent.pde._spelling import attribute_called, derivative_of, spelled, too_high

OVER_POINTS = (
    *("mean", "sum", "max", "min", "std", "var", "median", "norm", "prod"),
    *("diff", "gradient", "cumsum", "cumprod", "sort", "roll", "flip"),
)
"""Functions of torch of all points together, which no equation at a point can want."""


@dataclass
class Wanted:
    """The derivatives that an equation asks for, of all of its fields together."""

    derivatives: set[Derivative] = field(default_factory=set)
    laplacian: bool = False
    fields: set[str] = field(default_factory=set)


class FieldValues:
    """A field at points, (N,): it computes as the tensor of its values, and has its derivatives as attributes.

    u.x, u.xx, u.xy, u.laplacian; `u.x.x` is u.xx. No subclass of Tensor, which has t, T, real and data of its own.
    """

    __array_ufunc__ = None  # so that NumPy's numbers leave 2.0 * u to u, and np.sin(u) is refused

    def __init__(self, source: "FieldSource", name: str, derivative: Derivative = ()) -> None:
        self._source, self._name, self._derivative = source, name, derivative

    def __getattr__(self, key: str) -> "FieldValues | Tensor":
        if key.startswith("__"):
            raise AttributeError(key)
        if key == "laplacian":
            lower = spelled(self._derivative, self._source.coordinates)
            self._require_order(f"{lower}.laplacian", (*self._derivative, 0, 0))
            return self._source.laplacian(self._name, self._derivative)
        coordinates = self._source.coordinates
        more = derivative_of(key, coordinates)
        if more is None:
            raise InputError(self._no_such(key))
        derivative = tuple(sorted((*self._derivative, *more)))
        self._require_order(spelled(derivative, coordinates), derivative)
        return FieldValues(self._source, self._name, derivative)

    def _require_order(self, attribute: str, derivative: Derivative) -> None:
        if len(derivative) > MOST_ORDERS:
            raise InputError(too_high(f"{self._name}.{attribute}", len(derivative)))

    def _no_such(self, key: str) -> str:
        """A sentence about an attribute that is none, with what it may stand for."""
        coordinates = self._source.coordinates
        lower = spelled(self._derivative, coordinates)
        this = f"{self._name}.{lower}" if lower else self._name
        named = f"a derivative of {self._name}" if lower else self._name
        meant = attribute_called(key, self._name, coordinates, bare=True)
        if meant is not None:
            more = derivative_of(meant, coordinates)
            every = tuple(sorted((*self._derivative, *(more or ()))))
            if len(every) > MOST_ORDERS:
                return (
                    f"{named} has no {key!r}, and {too_high(f'{self._name}.{spelled(every, coordinates)}', len(every))}"
                )
            way = f"write {f'{this}.laplacian' if more is None else f'{self._name}.{spelled(every, coordinates)}'}"
        elif hasattr(torch, key) and key not in OVER_POINTS:
            way = f"write torch.{key}({this})"
        else:
            way = f"for example {self._name}.{coordinates[0]}"
        return f"{named} has no {key!r}, its derivatives are by {', '.join(coordinates)}: {way}."

    @property
    def value(self) -> Tensor:
        """As a plain tensor."""
        return self._source.derivative(self._name, self._derivative)

    @property
    def shape(self) -> torch.Size:
        return self.value.shape

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Operand], kinds: Sequence[type], args: Operand = (), kwargs: Operand = None
    ) -> Operand:
        return function(*_plain(args), **_plain(kwargs or {}))

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"<{self._name} at {len(self)} points>"


def _plain(value: Operand) -> Operand:
    if isinstance(value, FieldValues):
        return value.value
    if isinstance(value, tuple | list):
        return type(value)(_plain(v) for v in value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _operator(name: str) -> Callable[..., Operand]:
    def operate(self: FieldValues, *others: Operand) -> Operand:
        return getattr(self.value, name)(*_plain(others))

    return operate


for _name in (
    *(f"__{side}{op}__" for op in ("add", "sub", "mul", "truediv", "pow") for side in ("", "r")),
    *(f"__{op}__" for op in ("neg", "pos", "abs", "getitem", "lt", "le", "gt", "ge")),
):
    setattr(FieldValues, _name, _operator(_name) if _name != "__pos__" else lambda self: self.value)


class FieldSource:
    """The streams of the fields at points, taken apart once: derivative → tensor (N,).

    Args:
        parts: (stream, field) → values, (N,).
    """

    def __init__(self, coordinates: tuple[str, ...], fields: tuple[str, ...], streams: Streams, parts: Operand) -> None:
        self.coordinates, self._fields, self._streams, self._parts = coordinates, fields, streams, parts

    def derivative(self, name: str, derivative: Derivative) -> Tensor:
        """One derivative of a field."""
        part: Tensor = self._parts[self._streams.place(derivative)][self._fields.index(name)]
        return part

    def laplacian(self, name: str, derivative: Derivative) -> Tensor:
        """Sum of the second derivatives by all coordinates but time."""
        if self._streams.laplacian and not derivative:
            part: Tensor = self._parts[len(self._streams.derivatives)][self._fields.index(name)]
            return part
        return torch.stack(
            [self.derivative(name, tuple(sorted((*derivative, k, k)))) for k in space_of(self.coordinates)]
        ).sum(0)


class Asking(FieldSource):
    """In place of a source, it notes what an equation asks for; values are made up."""

    def __init__(self, coordinates: tuple[str, ...], like: Tensor) -> None:
        self.coordinates, self._like, self.wanted = coordinates, like, Wanted()

    def derivative(self, name: str, derivative: Derivative) -> Tensor:
        self.wanted.derivatives.add(derivative)
        self.wanted.fields.add(name)
        return torch.full_like(self._like, 0.5 + 0.1 * len(derivative))

    def laplacian(self, name: str, derivative: Derivative) -> Tensor:
        if derivative:
            return sum(
                (self.derivative(name, tuple(sorted((*derivative, k, k)))) for k in space_of(self.coordinates)),
                torch.zeros_like(self._like),
            )
        self.wanted.laplacian = True
        self.wanted.fields.add(name)
        return torch.full_like(self._like, 0.7)


def space_of(coordinates: Sequence[str]) -> tuple[int, ...]:
    """The coordinates of the Laplacian: all but one named t."""
    return tuple(k for k, name in enumerate(coordinates) if name != "t")


def arguments_of(function: Callable[..., Operand], what: str) -> tuple[str, ...]:
    """The names of a function's arguments.

    Raises: InputError, for what is no function of named arguments.
    """
    if not callable(function):
        raise InputError(f"{what} is no function but {function!r:.40}: a function of fields and coordinates is needed.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise InputError(f"{what} has no readable arguments: write it with def or lambda.") from None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise InputError(f"{what} takes *args or **kwargs: name the fields, coordinates and unknowns that it needs.")
    return tuple(p.name for p in parameters if p.default is p.empty)
