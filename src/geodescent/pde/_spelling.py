"""How derivatives are written, as attributes of fields, and how others call them."""

import re
from collections.abc import Sequence
from functools import cache

from geodescent.outputs import MOST_ORDERS, Derivative

LAPLACIANS = ("laplacian", "laplace", "lap")
"""What a Laplacian is called."""


@cache
def derivative_of(key: str, coordinates: tuple[str, ...]) -> Derivative | None:
    """The coordinates that a name like `xx`, `tx` or `r_theta` is made of; None where it is not, or not in one way."""
    return _only(_ways(key.strip("_"), coordinates))


def spelled(derivative: Derivative, coordinates: tuple[str, ...]) -> str:
    """The attribute of a derivative: `xxy`, and `r_theta` where names have several letters."""
    names = [coordinates[k] for k in derivative]
    return ("" if all(len(name) == 1 for name in names) else "_").join(names)


def attribute_called(name: str, field: str, coordinates: tuple[str, ...], *, bare: bool = False) -> str | None:
    """The attribute that others call u_x, ux, du_dx, d2u_dx2 or lap_u; None where the name is of none.

    Args:
        name: as others write it.
        field: whose derivative it is.
        coordinates: that it may be by.
        bare: whether the field may be left out, as in dx and d2_dx2.
    """
    rest = name.lower().removeprefix(field.lower()).removesuffix(field.lower()).strip("_")
    if rest in LAPLACIANS and (bare or rest != name.lower()):
        return "laplacian"
    whose = rf"(?:{re.escape(field)}_?){'?' if bare else ''}"
    head = re.match(rf"_*(?:(?:d(\d?)|partial)_?)?{whose}(?=.)", name)
    if head is None:
        return None
    order = int(head[1]) if head[1] else None
    counted = order is not None or not any(coordinate[-1].isdigit() for coordinate in coordinates)
    ways = _quotients(name[head.end() :].strip("_"), coordinates, counted=counted)
    found = _only([way for way in ways if way and order in (None, len(way))])
    return None if found is None else spelled(found, coordinates)


def too_high(attribute: str, order: int) -> str:
    """A sentence about a derivative of an order that is not computed."""
    return (
        f"{attribute} is a derivative of order {order}: orders up to {MOST_ORDERS} are computed. Give the lower "
        "derivative a field of its own, and a term that says that it is one."
    )


def as_attribute(name: str, fields: Sequence[str], coordinates: tuple[str, ...]) -> str | None:
    """The same of the first of several fields that the name may be of, with the field: `u.xy`."""
    found = ((field, attribute_called(name, field, coordinates)) for field in fields)
    return next((f"{field}.{attribute}" for field, attribute in found if attribute), None)


def way_to_write(attribute: str, coordinates: tuple[str, ...]) -> str:
    """What is to be done about an attribute `u.xy` that was called otherwise, in a sentence or two."""
    derivative = derivative_of(attribute.partition(".")[2], coordinates) or ()
    return too_high(attribute, len(derivative)) if len(derivative) > MOST_ORDERS else f"Write {attribute}."


def _ways(key: str, coordinates: tuple[str, ...]) -> list[Derivative]:
    if not key:
        return [()]
    found = list[Derivative]()
    for k, name in enumerate(coordinates):
        if key.startswith(name):
            rest = key[len(name) :]
            found += [tuple(sorted((k, *more))) for more in _ways(rest.removeprefix("_"), coordinates)]
    return found


def _quotients(key: str, coordinates: tuple[str, ...], *, counted: bool) -> list[Derivative]:
    """All ways to read dx_dy, dx2, dxdy or xy; digits after a coordinate are its order where orders are counted."""
    if not key:
        return [()]
    found = list[Derivative]()
    for k, name in enumerate(coordinates):
        head = re.match(rf"_?(?:(?:d|partial)_?)?{re.escape(name)}", key)
        if head is None:
            continue
        rest = key[head.end() :]
        found += [(k, *more) for more in _quotients(rest, coordinates, counted=counted)]
        if counted and rest[:1].isdigit():
            times = (k,) * int(rest[0])
            found += [(*times, *more) for more in _quotients(rest[1:], coordinates, counted=counted)]
    return [tuple(sorted(way)) for way in found]


def _only(ways: Sequence[Derivative]) -> Derivative | None:
    """The derivative that all ways to read a name agree on; None where there is none, or another."""
    different = set(ways)
    return next(iter(different)) if len(different) == 1 else None
