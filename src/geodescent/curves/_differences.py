"""Derivatives by differences of the rows, with SciPy's relative steps, never outside of the bounds."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import BETWEEN, OrNone

POWERS = {"2-point": 1.0 / 2.0, "3-point": 1.0 / 3.0}
"""Scheme → power of eps that is the relative step: SciPy's."""
SECOND_POWER = 1.0 / 4.0  # Power of eps: the relative step of second differences.
LONGEST_STEP = 1e-2  # Share of a parameter: no lengthened step moves it by more, or its secant is no derivative.
HIDDEN_BY_ROUNDING = 10.0  # Times eps: a change of the rows by this share of their size cannot be told from rounding.
WEAK = 0.1  # Share of the relative step: rows that change by less of their size are mostly rounding.

Function = Callable[[Tensor], Tensor]
Box = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Differences:
    """Columns `(x[u + h e_j] − x[u])/h`, or over both sides.

    `h = eps^p |u_j|`, with p from the scheme, as MINPACK's `lm` and SciPy's `diff_step` have it. SciPy's own default,
    `eps^p max(1, |u_j|)`, would depend on the units of a parameter below 1. From 0, and where the rows hardly change,
    h is lengthened so that they change by more than rounding. A parameter whose half gives the same rows, but for
    rounding, is taken as 0: its own size says nothing of how far it may go.

    Attributes:
        scheme: "2-point" or "3-point".
        relative: the relative step; None for SciPy's.
    """

    scheme: str = "2-point"
    relative: float | None = None

    def __post_init__(self) -> None:
        if self.scheme not in POWERS:
            names = " or ".join(map(repr, POWERS))
            raise InputError(f"jac is {self.scheme!r}: pass a function, {names}, or leave it out.")
        object.__setattr__(self, "relative", OrNone(BETWEEN.such_as(1e-6)).of("diff_step", self.relative))

    def share(self, dtype: torch.dtype) -> float:
        """The relative step, which is also about the relative error of D by two points."""
        return self.relative or float(torch.finfo(dtype).eps ** POWERS[self.scheme])

    def __call__(self, rows: Function, u: Tensor, box: Box) -> Tensor:
        """D at u, (m, k).

        Args:
            box: bounds of u: a step that leaves them goes to the other side, or as far as there is room.
        """
        here, share = rows(u), self.share(u.dtype)
        steps = [share * (abs(value) or 1.0) for value in u.tolist()]
        columns = [self._with_step(rows, u, j, here, box, step) for j, step in enumerate(steps)]
        size = _size_of_rows(here, columns, u)
        if self.relative is None and 0.0 < size < math.inf:
            columns = [self._improved(rows, u, j, here, box, column, size) for j, column in enumerate(columns)]
        return torch.stack(columns, 1)

    def _improved(
        self, rows: Function, u: Tensor, j: int, here: Tensor, box: Box, column: Tensor, size: float
    ) -> Tensor:
        """The column again with a longer step, where its own moved rows of this size by little more than rounding."""
        value, share = float(u[j]), self.share(u.dtype)
        wanted, rounding = share * size, torch.finfo(u.dtype).eps * size
        step = share * (abs(value) or 1.0)
        moved = step * float(column.norm())
        if value != 0.0 and not moved < WEAK * wanted:
            return column
        if value != 0.0 and not _is_as_good_as_zero(rows, u, j, here, box, size):
            # between the rounding of short steps and the bend of long ones
            longest = max(step, LONGEST_STEP * abs(value))
            is_seen = moved > HIDDEN_BY_ROUNDING * rounding
            longer = min(step * math.sqrt(wanted / moved), longest) if is_seen else longest
        else:  # the parameter is 0, or as good as 0
            from_zero = column if value == 0.0 else self._with_step(rows, u, j, here, box, share)
            longer = share * wanted / max(share * float(from_zero.norm()), rounding)
        if not 0.0 < longer < math.inf:
            return column
        made = self._with_step(rows, u, j, here, box, longer)
        return made if bool(torch.isfinite(made).all()) else column  # a long step may leave where rows are defined

    def _with_step(self, rows: Function, u: Tensor, j: int, here: Tensor, box: Box, size: float) -> Tensor:
        value, low, high = (float(v[j]) for v in (u, *box))
        room = {1.0: high - value, -1.0: value - low}
        sign = 1.0 if value >= 0.0 else -1.0
        if size > room[sign] and room[-sign] > room[sign]:
            sign = -sign
        made = (value + sign * min(size, room[sign])) - value  # as it is made in floating point
        if self.scheme == "2-point":
            return (_at(rows, u, j, made) - here) / made
        if min(room.values()) >= size:
            return (_at(rows, u, j, made) - _at(rows, u, j, -made)) / (2.0 * made)
        half = 0.5 * made
        return (4.0 * _at(rows, u, j, half) - 3.0 * here - _at(rows, u, j, made)) / made


def _size_of_rows(here: Tensor, columns: list[Tensor], u: Tensor) -> float:
    """What rounding of rows goes with: their norm, or that of their largest part where parts cancel, `‖u_j D_j‖`."""
    parts = [float((value * column).norm()) for value, column in zip(u.abs(), columns, strict=True)]
    return max(float(here.norm()), *(part for part in parts if part < math.inf), 0.0)


def _is_as_good_as_zero(rows: Function, u: Tensor, j: int, here: Tensor, box: Box, size: float) -> bool:
    """Whether the half of a parameter is within its bounds, and hardly changes the rows, which have this size.

    They change by so little that a step of `LONGEST_STEP` of the parameter would not be told from rounding.
    """
    half, low, high = 0.5 * float(u[j]), float(box[0][j]), float(box[1][j])
    if not low <= half <= high:
        return False
    changed = float((_at(rows, u, j, -half) - here).norm())
    return LONGEST_STEP * changed <= HIDDEN_BY_ROUNDING * torch.finfo(u.dtype).eps * size


def second_difference(rows: Function, u: Tensor, direction: Tensor) -> Tensor:
    """`(x[u + hv] − 2x[u] + x[u − hv])/h²`; h moves no entry of u by more than eps^¼ of itself.

    It is longer where the rows would hardly change.
    """
    eps, here = torch.finfo(u.dtype).eps, rows(u)
    share, both = eps**SECOND_POWER, (u != 0.0) & (direction != 0.0)
    if not bool((direction != 0.0).any()):
        return torch.zeros_like(here)
    ratios = (direction / u)[both].abs() if bool(both.any()) else direction.abs()
    h = share / float(ratios.max())
    ahead = rows(u + h * direction)
    moved, wanted = float((ahead - here).norm()), share * float(here.norm())
    if 0.0 < moved < WEAK * wanted:
        h *= math.sqrt(wanted / moved)
        ahead = rows(u + h * direction)
    curvature: Tensor = (ahead - 2.0 * here + rows(u - h * direction)) / (h * h)
    return curvature


def _at(rows: Function, u: Tensor, j: int, step: float) -> Tensor:
    moved = u.clone()
    moved[j] += step
    return rows(moved)
