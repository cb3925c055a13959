"""Settings are checked where they are given: a rule says what is needed, and gives an example that may be passed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError

Checked = TypeVar("Checked", covariant=True)


class Setting(Protocol[Checked]):
    """What a setting may be."""

    def of(self, name: str, value: object) -> Checked:
        """The value as a plain number, or whatever the setting is. Raises InputError where it may not be passed."""
        ...


@dataclass(frozen=True)
class Number:
    """A real number, or a tensor or array without dimensions that holds one; no boolean, and no text.

    Attributes:
        need: what is needed, as a clause of the message.
        holds: whether a number is that; false for NaN.
        example: a number that is.
    """

    need: str
    holds: Callable[[float], bool]
    example: float

    def such_as(self, example: float) -> "Number":
        """The same rule with another example."""
        return replace(self, example=example)

    def allows(self, value: object) -> bool:
        """Whether it is one that may be passed."""
        number = number_in(value)
        return number is not None and self.holds(number)

    def of(self, name: str, value: object) -> float:
        number = number_in(value)
        if number is None or not self.holds(number):
            raise InputError(f"{_said(name, value)}: {self.need}, for example {name}={self.example!r}.")
        return number


@dataclass(frozen=True)
class Whole:
    """A whole number, also one written as 1e4.

    Attributes:
        least, most: bounds, which may be reached.
        example: one between them.
    """

    example: int
    least: int = 0
    most: int | None = None

    def of(self, name: str, value: object) -> int:
        number = number_in(value)
        whole = number is not None and math.isfinite(number) and number == math.floor(number)
        if whole and number is not None and self.least <= number <= (number if self.most is None else self.most):
            return int(number)
        raise InputError(f"{_said(name, value)}: {self._need()}, for example {name}={self.example}.")

    def _need(self) -> str:
        if self.most is not None:
            return f"a whole number from {self.least} to {self.most} is needed"
        if self.least == 0:
            return "a whole number is needed, which must not be negative"
        return (
            f"at least {self.least} are needed, a whole number" if self.least > 1 else "a whole number from 1 is needed"
        )


@dataclass(frozen=True)
class OneOf:
    """One of a few values.

    Attributes:
        values: which; compared by identity or, texts, by equality.
    """

    values: tuple[object, ...]

    def of(self, name: str, value: object) -> object:
        if any(value is known or (isinstance(value, str) and value == known) for known in self.values):
            return value
        known = ", ".join(_as_code(known) for known in self.values)
        raise InputError(
            f"{_said(name, value)}: one of {known} is needed, for example {name}={_as_code(self.values[0])}."
        )


@dataclass(frozen=True)
class OrNone(Generic[Checked]):
    """What another rule allows, or None."""

    rule: Setting[Checked]

    def of(self, name: str, value: object) -> Checked | None:
        return None if value is None else self.rule.of(name, value)


POSITIVE = Number("a positive, finite number is needed", lambda x: 0.0 < x < math.inf, 1.0)
NOT_NEGATIVE = Number("a finite number of zero or above is needed", lambda x: 0.0 <= x < math.inf, 0.0)
FINITE = Number("a finite number is needed", math.isfinite, 0.0)
BELOW_ONE = Number("a number from 0 to below 1 is needed", lambda x: 0.0 <= x < 1.0, 0.5)
BETWEEN = Number("a number above 0 and below 1 is needed", lambda x: 0.0 < x < 1.0, 0.5)
SHARE_INSIDE = Number("a share between 0 and 1 is needed", lambda x: 0.0 < x < 1.0, 0.9)
UP_TO_ONE = Number("a number from 0 to 1 is needed", lambda x: 0.0 <= x <= 1.0, 0.5)
COST_LEVEL = Number("a cost of zero or above is needed", lambda x: 0.0 <= x < math.inf, 1e-12)
SECONDS = Number("a number of seconds is needed, which must not be negative", lambda x: x >= 0.0, 60.0)
RCOND = Number("a relative cut on σ from 0 to below 1 is needed", lambda x: 0.0 <= x < 1.0, 1e-10)
ANY_SEED = Whole(0, most=2**63 - 1)
SOLVES_IN = OneOf((torch.float64, torch.float32))


def settle(part: object, **rules: Setting[object]) -> None:
    """Checks fields of a frozen dataclass, and keeps them as plain numbers. Raises InputError by their names."""
    for name, rule in rules.items():
        object.__setattr__(part, name, rule.of(name, getattr(part, name)))


def number_in(value: object) -> float | None:
    """The number that a setting holds; None where it is none, as for booleans, text, and tensors with dimensions.

    Whole numbers that float64 does not hold exactly are returned as they are.
    """
    if isinstance(value, Tensor):
        value = value.item() if value.dim() == 0 and value.device.type != "meta" else None
    elif isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.ndim == 0 else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _said(name: str, value: object) -> str:
    """`name = value`, and its type where that is wrong."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim > 0:
        return f"{name} is a {type(value).__name__} of shape {tuple(value.shape)}"
    if number_in(value) is not None:
        return f"{name} = {number_in(value)}"
    text = repr(value)
    return f"{name} = {text} is a {type(value).__name__}" if len(text) <= 40 else f"{name} is a {type(value).__name__}"


def _as_code(value: object) -> str:
    """A value as it is written."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
