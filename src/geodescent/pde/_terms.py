"""Terms of a system: equations at points, and integrals."""

from collections.abc import Callable, Sized
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent._settings import FINITE, POSITIVE
from geodescent.pde._boxes import Box, Intervals, Part, Points, Sides, shortened

PointsOfTerm = Tensor | Points | tuple[Any, ...] | Any
"""A tensor (N, d), `Points` of a box, a tuple of these for several points in one equation, or an object that has
`random_points(n)` or `sample(n)`."""
PRINTED_NAME = 24  # Columns of a name: what is printed beside it fits a line of 80.
DRAWN_POINTS = 1000  # Points that are asked of an object that draws its own.


@dataclass(frozen=True, eq=False, repr=False)
class Term:
    """One equation or several at points: what it returns is to vanish there, or to equal the target.

        pde.Term("diffusion", lambda u, kappa: u.t - kappa * u.xx, box.inside(900))
        pde.Term("sensors", lambda u: u, where, target=measured)
        pde.Term("periodic", lambda u: (u[0] - u[1], u[0].x - u[1].x), (left, right))

    The names of the arguments say what the equation wants: fields, coordinates, unknowns; each is (N,). With a tuple of
    points each field and each coordinate is a tuple too.

    Attributes:
        name: for the history, the certificate and the table of residuals.
        equation: a function; it returns a tensor (N,), or a tuple of them.
        points: (N, d), columns in the order of the system's coordinates; or `Points` of a box; or several of them.
        weight: of the term's mean square against the others; None for 0.01 where a target was measured, 1 where
            derivatives are asked for, 100 for values alone. Steps weigh measured values as exact ones, by 100, once
            they are met to 1e-9 of their size.
        weights: of single points, (N,); None for those that the points bring.
        target: measured values, (N,), or (N, Q) for Q equations; None for 0. Exact values belong into the equation, as
            `u - torch.sin(x)`.
    """

    name: str
    equation: Callable[..., Any]
    points: "PointsOfTerm"  # In quotes `help` shows the names of these types, and not all that they are.
    weight: float | None = None
    weights: "Values | None" = None
    target: "Values | None" = None

    def __post_init__(self) -> None:
        _require_name(self.name)
        if self.weight is not None and not POSITIVE.allows(self.weight):
            raise InputError(f"term {self.name!r} has weight {self.weight}: {POSITIVE.need}, for example weight=100.0.")

    def __repr__(self) -> str:
        parts = [_counted(self.points)]
        parts += [] if self.target is None else ["measured"]
        parts += [] if self.weight is None else [f"weight {self.weight:.4g}"]
        return shortened(f"Term({shortened(repr(self.name), PRINTED_NAME)}, {', '.join(parts)})")


@dataclass(frozen=True, eq=False, repr=False)
class Total:
    """One equation for an integral: ∫ integrand = value over the box that the points were taken from.

        pde.Total("norm", lambda u: u**2, box.inside(60), 1.0)

    Attributes:
        name: as of a term.
        integrand: a function of fields, coordinates and unknowns, as the equation of a term; it returns (N,).
        points: `Points` of a box, which have weights and a volume; of a tensor the mean is taken.
        value: of the integral.
        weight: against the other terms.
    """

    name: str
    integrand: Callable[..., Any]
    points: "PointsOfTerm"
    value: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        _require_name(self.name)
        if not POSITIVE.allows(self.weight):
            raise InputError(f"total {self.name!r} has weight {self.weight}: {POSITIVE.need}, for example weight=1.0.")
        if not FINITE.allows(self.value):
            raise InputError(f"total {self.name!r} has the value {self.value!r}: a finite number is needed, as in 1.0.")
        object.__setattr__(self, "value", FINITE.of("value", self.value))

    def __repr__(self) -> str:
        parts = [_counted(self.points), f"value {self.value:.4g}", f"weight {self.weight:.4g}"]
        return shortened(f"Total({shortened(repr(self.name), PRINTED_NAME)}, {', '.join(parts)})")


def _counted(points: object) -> str:
    """How many points there are, or what draws them."""
    if isinstance(points, tuple):
        return f"{len(points)} times {_counted(points[0])}" if points else "no points"
    if not isinstance(points, Sized):
        return f"points of a {shortened(type(points).__name__, PRINTED_NAME // 2)}"
    try:
        n = len(points)
    except TypeError:  # a tensor without dimensions
        return "one number"
    return f"{n:,} point{'' if n == 1 else 's'}"


def _require_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise InputError(f"the name of a term is {name!r}: pass a text, for example pde.Term('heat', …).")


@dataclass(frozen=True, eq=False)
class Placed:
    """The points of a term in the order of the system's coordinates.

    Attributes:
        points: (P, N, d).
        weights: of mean 1, (N,), or None.
        volume: of what they were taken from; 1 where it is not known.
        drawn: (n, seed) → others, (P, n, d); None where others cannot be drawn.
        box: coordinate → interval, of the box that the points were taken from; empty for other points.
    """

    points: Tensor
    weights: Tensor | None
    volume: float
    drawn: Callable[[int, int], Tensor] | None = None
    box: Intervals = field(default_factory=dict)

    @classmethod
    def of(cls, points: PointsOfTerm, coordinates: tuple[str, ...], what: str, like: Tensor) -> "Placed":
        """Checked points.

        Raises: InputError, in the words of the term.
        """
        several = points if isinstance(points, tuple) else (points,)
        found = [_checked(part, coordinates, what, like) for part in several]
        sizes = {len(part.points) for part in found}
        if len(sizes) > 1:
            raise InputError(f"{what}: its tuple of points has {sorted(sizes)} points: each must have as many.")
        first = found[0]
        drawn = first.drawn if len(found) == 1 else None
        return cls(torch.stack([part.points for part in found]), first.weights, first.volume, drawn, first.box)

    def some(self, which: Tensor) -> "Placed":
        """These of its points, with their weights."""
        weights = None if self.weights is None else self.weights[which]
        return replace(self, points=self.points[:, which], weights=weights)

    def joined(self, points: Tensor) -> "Placed":
        """With more points (n, d), each with the mean weight."""
        weights = None if self.weights is None else torch.cat([self.weights, self.weights.new_ones(len(points))])
        return replace(self, points=torch.cat([self.points, points[None].to(self.points)], 1), weights=weights)


@dataclass(frozen=True, eq=False)
class _Checked:
    points: Tensor
    weights: Tensor | None
    volume: float
    drawn: Callable[[int, int], Tensor] | None
    box: Intervals


def _checked(points: Any, coordinates: tuple[str, ...], what: str, like: Tensor) -> _Checked:
    tensor = places_of(points, coordinates, what)
    if not len(tensor):
        raise InputError(f"{what} has no points: pass at least one.")
    if not tensor.dtype.is_floating_point:
        these = "points" if isinstance(points, Tensor) else "torch.as_tensor(points)"
        way = f"{these}.real" if tensor.dtype.is_complex else f"{these}.double()"
        raise InputError(f"{what}: its points are {tensor.dtype}: pass numbers with a fraction, {way}.")
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).any(1).sum())
        raise InputError(f"{what}: {bad} of its {len(tensor)} points are NaN or infinite: drop them.")
    tensor = tensor.detach().to(like)
    if not isinstance(points, Points):
        return _Checked(tensor, None, 1.0, None, dict[str, tuple[float, float]]())
    draw, order = points.drawn, [points.coordinates.index(name) for name in coordinates]

    def drawn(n: int, seed: int) -> Tensor:
        return draw(n, seed)[None][:, :, order].to(like)

    return _Checked(tensor, points.weights.to(like), points.volume, drawn, dict(points.box))


def places_of(points: Any, coordinates: tuple[str, ...], what: str) -> Tensor:
    """Points (N, d), columns in the order of the coordinates, of any dtype.

    Raises: InputError, which begins with what they are of, where they have other coordinates or another shape.
    """
    if isinstance(points, Points):
        if set(points.coordinates) != set(coordinates):
            raise InputError(
                f"{what}: its points have the coordinates {', '.join(points.coordinates)}, the system has "
                f"{', '.join(coordinates)}: name the same in pde.Box and in coordinates=."
            )
        return points.points[:, [points.coordinates.index(name) for name in coordinates]]
    tensor = _tensor(points, what)
    if tensor.dim() == 1 and len(coordinates) == 1:
        tensor = tensor[:, None]
    if tensor.dim() != 2 or tensor.shape[1] != len(coordinates):
        raise InputError(
            f"{what}: its points have shape {tuple(tensor.shape)}: (N, {len(coordinates)}) is needed, a column for "
            f"each of {', '.join(coordinates)}."
        )
    return tensor


def _tensor(points: Any, what: str) -> Tensor:
    if isinstance(points, Tensor):
        return points
    if isinstance(points, Box | Part | Sides):
        way = "box.inside(1000)" if isinstance(points, Box) else "box.side(x=0).points(100)"
        raise InputError(f"{what}: its points are a {type(points).__name__}: say how many are taken, {way}.")
    for draw in ("random_points", "sample"):
        if hasattr(points, draw):
            points = getattr(points, draw)(DRAWN_POINTS)
            break
    try:
        return torch.as_tensor(points, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{what}: its points are a {type(points).__name__}: pass a tensor (N, d), box.inside(1000), or an object "
            "with random_points(n) or sample(n)."
        ) from None
