"""Named parameters: which are free, between which bounds, which are fixed, and which are tied to others."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import Number

Tie = Callable[[Mapping[str, Tensor]], Tensor | float]
"""The value of a tied parameter from those of the others by name, in arithmetic or torch."""

ANY_NUMBER = Number("a number is needed", lambda x: True, 1.0)


@dataclass(frozen=True)
class Parameters:
    """Named parameters of a formula, for `curve_fit(…, p0=)` and `least_squares(fun, x0)`.

        gd.Parameters({"size": 2.0, "rate": 1.0, "c": 0.5}, lower={"rate": 0.0}, tied={"c": lambda p: p["size"] / 4})

    Attributes:
        values: name → first value, in the order of the formula's arguments.
        lower, upper: name → bound of a free parameter.
        fixed: names of those that keep their value.
        tied: name → function of the values by name. A tie may use the ties that stand before it.

    Raises: InputError, for a name that nobody has, a tied parameter with bounds, or a value outside of its bounds.
    """

    values: Mapping[str, float]
    lower: Mapping[str, float] = field(default_factory=dict)
    upper: Mapping[str, float] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    tied: Mapping[str, Tie] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._require_kinds()
        for what in ("lower", "upper", "fixed", "tied"):
            unknown = [name for name in getattr(self, what) if name not in self.values]
            if unknown:
                raise InputError(f"{what} names {unknown[0]!r}, and the parameters are {', '.join(self.values)}.")
        for name in {*self.fixed, *self.lower, *self.upper} & set(self.tied):
            raise InputError(
                f"{name!r} is tied, so it cannot be fixed or have bounds: leave it out of tied, or of these."
            )
        if not self.values or len(self.free) == 0:
            raise InputError(f"no parameter is free among {', '.join(self.values) or 'none'}: leave one unfixed.")

    def _require_kinds(self) -> None:
        """Raises InputError for what are no names, numbers and functions."""
        for what in ("values", "lower", "upper", "tied"):
            given = getattr(self, what)
            if not isinstance(given, Mapping):
                kind = "the function of its parameter" if what == "tied" else "a number"
                raise InputError(f"{what} is a {type(given).__name__}: a dict is needed, each name with {kind}.")
        names: object = self.fixed
        if isinstance(names, str):
            raise InputError(f"fixed is a str: a tuple of names is needed, fixed=({names!r},).")
        for what in ("values", "lower", "upper"):
            for name, value in getattr(self, what).items():
                ANY_NUMBER.of(f"{what}[{name!r}]", value)
        for name, tie in self.tied.items():
            if not callable(tie):
                raise InputError(
                    f"tied[{name!r}] is a {type(tie).__name__}: a function of the values by name is needed, for "
                    "example lambda p: 2 * p['a']."
                )

    @property
    def free(self) -> list[str]:
        """The names of those that are fitted."""
        return [name for name in self.values if name not in self.fixed and name not in self.tied]


@runtime_checkable
class Variable(Protocol):
    """A parameter of lmfit: what is read of it."""

    @property
    def value(self) -> float: ...

    @property
    def vary(self) -> bool: ...

    @property
    def min(self) -> float: ...

    @property
    def max(self) -> float: ...

    @property
    def expr(self) -> str | None: ...


def parameters_of(given: object) -> Parameters | None:
    """`Parameters` themselves, or those of lmfit's `Parameters`; None for anything else, such as an array.

    Raises: InputError, for another dict, and for an expression of lmfit's, which is a text.
    """
    if isinstance(given, Parameters):
        return given
    if not isinstance(given, Mapping):
        return None
    if not (given and all(isinstance(p, Variable) for p in given.values())):
        raise InputError(f"the start is a {type(given).__name__}: name the parameters by gd.Parameters(…) of it.")
    for name, p in given.items():
        if p.expr:
            raise InputError(
                f"the parameter {name!r} of lmfit has the expression {p.expr!r}, a text: pass gd.Parameters(…, "
                f"tied={{{name!r}: lambda p: …}}) with a function in its place."
            )
    return Parameters(
        {name: float(p.value) for name, p in given.items()},
        lower={name: float(p.min) for name, p in given.items()},
        upper={name: float(p.max) for name, p in given.items()},
        fixed=tuple(name for name, p in given.items() if not p.vary),
    )


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How all parameters, (K,), follow from the free ones u, (k,), which are in units of `scale`.

    Attributes:
        names: of all.
        start: values of all.
        free: places of the free ones among all.
        lower, upper: bounds of the free ones.
        scale: powers of two, so that a bound times its scale is exact.
        ties: place → function.
    """

    names: tuple[str, ...]
    start: Tensor
    free: tuple[int, ...]
    lower: Tensor
    upper: Tensor
    scale: Tensor
    ties: Mapping[int, Tie] = field(default_factory=dict)

    @property
    def first(self) -> Tensor:
        """u of the start."""
        return self.start[list(self.free)] / self.scale

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """The bounds of u."""
        return self.lower / self.scale, self.upper / self.scale

    @property
    def is_bounded(self) -> bool:
        """Whether any parameter has a bound."""
        return bool((torch.isfinite(self.lower) | torch.isfinite(self.upper)).any())

    def full(self, u: Tensor) -> Tensor:
        """All parameters, (K,), those with bounds kept between them."""
        free = torch.clamp(u * self.scale, self.lower, self.upper) if self.is_bounded else u * self.scale
        if len(self.free) == len(self.names):
            return free
        values = list(self.start.unbind())
        for place, value in zip(self.free, free.unbind(), strict=True):
            values[place] = value
        named = dict(zip(self.names, values, strict=True))
        for place, tie in self.ties.items():
            named[self.names[place]] = values[place] = torch.as_tensor(tie(named), device=self.start.device).to(
                self.start
            )
        return torch.stack(values)

    def derivative(self, u: Tensor) -> Tensor:
        """`∂(all)/∂u`, (K, k)."""
        places = torch.tensor(self.free, device=u.device)
        if not self.ties:
            return torch.eye(len(self.names), dtype=u.dtype, device=u.device)[:, places] * self.scale
        leaf = u.detach().clone().requires_grad_()
        with torch.enable_grad():
            rows = [_gradient(value, leaf) for value in self.full(leaf).unbind()]
        return torch.stack(rows)

    def without(self, place: int, value: float, at: Tensor) -> "Arrangement":
        """The arrangement with one free parameter kept at a value, beginning at these values of all."""
        start = at.clone()
        start[place] = value
        stays = [i for i, other in enumerate(self.free) if other != place]
        places = tuple(self.free[i] for i in stays)
        return replace(
            self, start=start, free=places, lower=self.lower[stays], upper=self.upper[stays], scale=self.scale[stays]
        )


def _gradient(value: Tensor, leaf: Tensor) -> Tensor:
    """Of one number; zeros where it does not depend on the leaf."""
    (gradient,) = (
        torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True) if value.requires_grad else (None,)
    )
    return torch.zeros_like(leaf) if gradient is None else gradient


def arrangement_of(names: tuple[str, ...], given: Parameters, x_scale: object, device: torch.device) -> Arrangement:
    """The arrangement of these parameters.

    Args:
        x_scale: None or "jac" for units found by the descent, else the size of each free parameter, or of all.

    Raises: InputError, for bounds that leave nothing, a start outside of them, and sizes that are not positive.
    """

    def row(values: Iterable[float]) -> Tensor:
        return torch.tensor([float(value) for value in values], dtype=torch.float64, device=device)

    free = given.free
    lower = row(given.lower.get(name, -math.inf) for name in free)
    upper = row(given.upper.get(name, math.inf) for name in free)
    start = row(given.values[name] for name in names)
    if not bool(torch.isfinite(start).all()):
        wrong = [n for n, v in zip(names, start.tolist(), strict=True) if not math.isfinite(v)]
        raise InputError(f"the start of {', '.join(wrong)} is not finite: pass numbers.")
    for name, low, high in zip(free, lower.tolist(), upper.tolist(), strict=True):
        value = given.values[name]
        if not low < high:
            raise InputError(
                f"the bounds of {name} are {low:g} and {high:g}: the lower must be less than the upper one. "
                f"gd.Parameters(…, fixed=({name!r},)) keeps a value."
            )
        if not low <= value <= high:
            raise InputError(f"{name} starts at {value:g}, outside of its bounds {low:g} and {high:g}: start inside.")
    places = tuple(names.index(name) for name in free)
    ties = {names.index(name): tie for name, tie in given.tied.items()}
    return Arrangement(names, start, places, lower, upper, row(_powers_of_two(x_scale, len(free))), ties)


def _powers_of_two(x_scale: object, k: int) -> list[float]:
    if x_scale is None or (isinstance(x_scale, str) and x_scale == "jac"):
        return [1.0] * k
    try:
        sizes = np.broadcast_to(np.asarray(x_scale, dtype=np.float64), (k,))
    except (TypeError, ValueError) as error:
        raise InputError(f"x_scale is {x_scale!r}: pass {k} positive numbers, one of them, or 'jac'.") from error
    if not (np.isfinite(sizes).all() and (sizes > 0.0).all()):
        raise InputError(f"x_scale is {x_scale!r}: every entry must be positive and finite.")
    rounded: list[float] = np.exp2(np.round(np.log2(sizes))).tolist()
    return rounded
