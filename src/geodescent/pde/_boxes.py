"""Boxes of coordinates, their sides, and points in them with quadrature weights."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Operand

Intervals = Mapping[str, tuple[float, float]]
Rule = Literal["grid", "gauss", "sobol", "chebyshev", "random"]
RULES_OF_POINTS = ("grid", "gauss", "sobol", "chebyshev", "random")
PRODUCT_COORDINATES = 3  # Coordinates: up to here Gauss points, whose number is a product of numbers by coordinate.
PRINTED_WIDTH = 80  # Columns of a terminal, which what is printed keeps to.
UNEVEN = 2  # Times: the largest ratio of two numbers of points by coordinate.


@dataclass(frozen=True, eq=False, repr=False)
class Points:
    """Points of a term, with the weight of each in a mean over the box.

    Attributes:
        points: (N, d), float64, columns in the order of the box's coordinates.
        coordinates: their names.
        weights: (N,), of mean 1: the mean of f over the box is Σ w f / N.
        volume: of what they were drawn from: the integral of f is volume · Σ w f / N.
        drawn: (n, seed) → points drawn anew at random from the same set.
        box: coordinate → interval, of the box; empty where there is none.
    """

    points: Tensor
    coordinates: tuple[str, ...]
    weights: Tensor
    volume: float
    drawn: Callable[[int, int], Tensor]
    box: Intervals = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return shortened(f"Points({len(self)} of {', '.join(self.coordinates)})")


class Box:
    """A box of coordinates: an interval of each.

        box = pde.Box(t=(0, 1), x=(-1, 1))
        box.inside(2000)                         # Gauss points, with their weights
        box.side(x=-1).points(100)
        box.sides("x").points(200)               # both sides in x

    Raises: InputError, for an interval that is none.
    """

    def __init__(self, **intervals: tuple[float, float]) -> None:
        if not intervals:
            raise InputError("a box needs coordinates: pde.Box(t=(0, 1), x=(-1, 1)).")
        self.intervals = {name: _interval(name, interval) for name, interval in intervals.items()}

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(self.intervals)

    @property
    def volume(self) -> float:
        """Product of the lengths."""
        return math.prod(high - low for low, high in self.intervals.values())

    def inside(
        self,
        n: int,
        rule: Rule | None = None,
        *,
        seed: int = 0,
        crowd: Mapping[str, tuple[float, float]] | None = None,
    ) -> Points:
        """At most n points inside.

        Args:
            n: how many; a rule that is a product returns the largest product of similar numbers not above it.
            rule: "gauss" (Gauss–Legendre), "grid" (midpoints), "chebyshev", "sobol", "random"; None for Gauss in up to
                three coordinates, Sobol above.
            seed: of Sobol and random points.
            crowd: name → (c, s): points crowd towards c as sinh(s v)/sinh(s), v the distance from c in units of the
                longer side of c; weights take the change of density into account.
        """
        return Part(self, {}).points(n, rule, seed=seed, crowd=crowd)

    def side(self, **at: float) -> "Part":
        """The side where coordinates have these values, for example `box.side(x=-1)`."""
        for name, value in at.items():
            if name not in self.intervals:
                raise InputError(f"side({name}=…): the coordinates are {', '.join(self.coordinates)}.")
            low, high = self.intervals[name]
            if not (isinstance(value, int | float) and low <= value <= high):
                raise InputError(
                    f"side({name}={value}) lies outside the box, where {name} is from {low:g} to {high:g}."
                )
        if not at:
            raise InputError("side() needs a coordinate and its value: box.side(x=-1).")
        return Part(self, {name: float(value) for name, value in at.items()})

    def sides(self, *names: str) -> "Sides":
        """All sides of the box, or those in these coordinates."""
        unknown = [name for name in names if name not in self.intervals]
        if unknown:
            raise InputError(f"sides({unknown[0]!r}): the coordinates are {', '.join(self.coordinates)}.")
        chosen = names or self.coordinates
        return Sides(tuple(self.side(**{name: value}) for name in chosen for value in self.intervals[name]))

    def __repr__(self) -> str:
        intervals = [f"{name}=({low:g}, {high:g})" for name, (low, high) in self.intervals.items()]
        return shortened(f"Box({', '.join(intervals)})")


@dataclass(frozen=True)
class Part:
    """The points of a box at which some coordinates are fixed."""

    box: Box
    fixed: dict[str, float]

    @property
    def free(self) -> tuple[str, ...]:
        """The coordinates that vary."""
        return tuple(name for name in self.box.coordinates if name not in self.fixed)

    @property
    def volume(self) -> float:
        """Of the coordinates that vary; 1 for a corner."""
        return math.prod(self.box.intervals[name][1] - self.box.intervals[name][0] for name in self.free)

    def points(
        self,
        n: int,
        rule: Rule | None = None,
        *,
        seed: int = 0,
        crowd: Mapping[str, tuple[float, float]] | None = None,
    ) -> Points:
        """At most n points, as `Box.inside` has them; one where no coordinate varies."""
        n = _count(n)
        free = self.free
        if rule is not None and rule not in RULES_OF_POINTS:
            raise InputError(f"rule={rule!r}: {', '.join(map(repr, RULES_OF_POINTS))} are known.")
        rule = rule or ("gauss" if len(free) <= PRODUCT_COORDINATES else "sobol")
        unit, weights = _unit_points(n, len(free), rule, seed)
        columns, crowd = dict[str, Tensor](), dict(crowd or {})
        for k, name in enumerate(free):
            low, high = self.box.intervals[name]
            column = low + (high - low) * unit[:, k]
            if name in crowd:
                column, density = _crowded(column, low, high, crowd.pop(name), name)
                weights = weights * density
            columns[name] = column
        if crowd:
            raise InputError(f"crowd names {next(iter(crowd))!r}: coordinates that vary here are {', '.join(free)}.")
        points, box = self._placed(columns, len(unit)), self.box
        return Points(points, box.coordinates, weights, self.volume, self._drawn, box.intervals)

    def _placed(self, columns: dict[str, Tensor], n: int) -> Tensor:
        every = [
            columns[name] if name in columns else torch.full((n,), self.fixed[name], dtype=torch.float64, device="cpu")
            for name in self.box.coordinates
        ]
        return torch.stack(every, 1)

    def _drawn(self, n: int, seed: int) -> Tensor:
        unit, _ = _unit_points(n, len(self.free), "random", seed)
        spans = {name: self.box.intervals[name] for name in self.free}
        columns = {name: low + (high - low) * unit[:, k] for k, (name, (low, high)) in enumerate(spans.items())}
        return self._placed(columns, len(unit))


@dataclass(frozen=True)
class Sides:
    """Several sides of one box."""

    parts: tuple[Part, ...]

    def points(self, n: int, rule: Rule | None = None, *, seed: int = 0) -> Points:
        """At most n points, as many on each side."""
        each = max(1, _count(n) // len(self.parts))
        found = [part.points(each, rule, seed=seed + k) for k, part in enumerate(self.parts)]
        volume = sum(part.volume for part in self.parts)
        shares = [p.weights * part.volume / volume * len(self.parts) for p, part in zip(found, self.parts, strict=True)]
        weights = torch.cat(shares)
        points = torch.cat([p.points for p in found])
        first = found[0]
        return Points(points, first.coordinates, weights / weights.mean(), volume, self._drawn, first.box)

    def _drawn(self, n: int, seed: int) -> Tensor:
        each = max(1, n // len(self.parts))
        return torch.cat([part.points(each, "random", seed=seed + k).points for k, part in enumerate(self.parts)])


def shortened(text: str, width: int = PRINTED_WIDTH) -> str:
    """The text where it is short enough, else its beginning and its end."""
    if len(text) <= width:
        return text
    end = (width - 1) // 3
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def _interval(name: str, interval: Operand) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in interval)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {interval!r}: an interval of two numbers is needed, {name}=(0, 1).") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{name} = ({low:g}, {high:g}): the lower end must be below the upper one, both finite.")
    return low, high


def _count(n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"n = {n!r}: a whole number of points from 1 on is needed.")
    return n


def _unit_points(n: int, d: int, rule: str, seed: int) -> tuple[Tensor, Tensor]:
    """Points of the unit cube (n, d), and weights of mean 1."""
    if d == 0:
        return torch.zeros(1, 0, dtype=torch.float64, device="cpu"), torch.ones(1, dtype=torch.float64, device="cpu")
    ones = torch.ones(n, dtype=torch.float64, device="cpu")
    if rule == "random":
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.rand(n, d, generator=generator, dtype=torch.float64, device="cpu"), ones
    if rule == "sobol":
        engine: Any = torch.quasirandom.SobolEngine
        return engine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64), ones
    nodes = [_nodes(k, rule) for k in counts_of(n, d)]
    points = torch.tensor(list(product(*(node.tolist() for node, _ in nodes))), dtype=torch.float64, device="cpu")
    weights = points.new_tensor([math.prod(w) for w in product(*(w.tolist() for _, w in nodes))])
    return points.reshape(-1, d), weights / weights.mean()


def counts_of(n: int, d: int) -> list[int]:
    """Numbers by coordinate whose product is the largest not above n, the later ones larger; the most even at par."""
    if d == 1:
        return [n]
    best = [1] * d
    for first in range(max(1, int(n ** (1.0 / d) / UNEVEN)), int(n ** (1.0 / d) + 1e-9) + 1):
        counts = [first, *counts_of(n // first, d - 1)]
        uneven = max(counts) > UNEVEN * min(counts)
        if not uneven and math.prod(counts) >= math.prod(best):
            best = counts
    return best if math.prod(best) > 1 or n == 1 else [1] * (d - 1) + [n]


def _nodes(n: int, rule: str) -> tuple[Tensor, Tensor]:
    """Nodes of (0, 1) and their weights, of mean 1."""
    if rule == "gauss":
        x, w = np.polynomial.legendre.leggauss(n)
        return torch.from_numpy((x + 1.0) / 2.0), torch.from_numpy(w * n / 2.0)
    middle = (torch.arange(n, dtype=torch.float64, device="cpu") + 0.5) / n
    if rule == "grid":
        return middle, torch.ones_like(middle)
    weights = torch.sin(math.pi * middle)
    return (1.0 - torch.cos(math.pi * middle)) / 2.0, weights / weights.mean()


def _crowded(column: Tensor, low: float, high: float, crowd: Operand, name: str) -> tuple[Tensor, Tensor]:
    """The coordinate crowded towards a place, and the density of the map, dx/dv."""
    try:
        centre, strength = (float(value) for value in crowd)
    except (TypeError, ValueError):
        raise InputError(f"crowd = {{{name!r}: {crowd!r}}}: (where, how strongly) is needed, (0.0, 3.0).") from None
    if not (low <= centre <= high and 0.0 < strength <= 20.0):
        raise InputError(
            f"crowd = {{{name!r}: ({centre:g}, {strength:g})}}: the place must lie from {low:g} to {high:g}, and the "
            "strength above 0, up to 20."
        )
    reach = torch.where(column < centre, centre - low, high - centre).clamp_min(1e-300)
    v = (column - centre) / reach
    density = strength * torch.cosh(strength * v) / math.sinh(strength)
    return centre + reach * torch.sinh(strength * v) / math.sinh(strength), density
