"""What a system is made of, checked before any work: names, terms, unknowns, periods, targets, and where points lie."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from geodescent._conversion import tensor_of
from geodescent._errors import InputError
from geodescent._settings import FINITE, POSITIVE, number_in
from geodescent._types import Operand
from geodescent.pde._equations import called
from geodescent.pde._spelling import derivative_of
from geodescent.pde._terms import Placed, Term, Total

RESERVED = ("laplacian", "value", "shape")
OUTSIDE = 0.1  # Share of a coordinate's range beyond which a field is a guess: at its border it may still go on.
INSIDE = 1e-6  # Share of a box's side that a point may lie outside of it, by rounding in float32.


def checked_terms(terms: object) -> tuple[Term | Total, ...]:
    """The terms. Raises InputError, where they are none, or two have one name."""
    found = tuple(terms) if isinstance(terms, Sequence) else ()
    if not found or not all(isinstance(term, Term | Total) for term in found):
        raise InputError("a System needs a list of terms: [pde.Term('heat', equation, points), …].")
    names = [term.name for term in found]
    if len(set(names)) < len(names):
        raise InputError(f"the terms are called {names}: each needs a name of its own.")
    return found


def checked_names(names: object, what: str, example: str) -> tuple[str, ...]:
    """Names, each once. Raises InputError."""
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
    if not found or not all(isinstance(name, str) and name.isidentifier() for name in found):
        raise InputError(f"{what} = {names!r}: names are needed, for example {what}={example}.")
    if len(set(found)) < len(found):
        raise InputError(f"{what} = {found}: each name may stand once.")
    return found


def require_apart(coordinates: tuple[str, ...], fields: tuple[str, ...], unknowns: tuple[str, ...]) -> None:
    """Raises InputError, where a name stands for two things."""
    every = [*coordinates, *fields, *unknowns]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise InputError(f"{twice[0]!r} is named twice among coordinates, fields and unknowns: give each its own name.")
    for name in coordinates:
        others = tuple(other for other in coordinates if other != name)
        if name in RESERVED or (others and derivative_of(name, others) not in (None, ())):
            taken = "attributes of fields" if name in RESERVED else f"derivatives by {', '.join(others)}"
            raise InputError(f"a coordinate cannot be called {name!r}, for {taken} have such names: take another name.")


def checked_unknowns(unknowns: object) -> dict[str, float]:
    """Name → first value. Raises InputError."""
    if unknowns is None:
        return {}
    if not isinstance(unknowns, Mapping):
        raise InputError(f"unknowns = {unknowns!r}: names with first values are needed, unknowns={{'kappa': 1.0}}.")
    for name, value in unknowns.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise InputError(f"unknowns = {unknowns!r}: names are needed, for example unknowns={{'kappa': 1.0}}.")
        if not FINITE.allows(value):
            raise InputError(f"unknowns = {{{name!r}: {value!r}}}: a first value is needed, a finite number.")
    return {name: float(number_in(value) or 0.0) for name, value in unknowns.items()}


def checked_periods(periodic: object, coordinates: tuple[str, ...]) -> dict[str, float]:
    """Coordinate → period. Raises InputError."""
    if periodic is None:
        return {}
    first = coordinates[-1]
    if not isinstance(periodic, Mapping):
        raise InputError(f"periodic = {periodic!r}: coordinates with their periods are needed, {{{first!r}: 2.0}}.")
    for name, period in periodic.items():
        if name not in coordinates or not POSITIVE.allows(period):
            raise InputError(
                f"periodic = {{{name!r}: {period!r}}}: a coordinate and its period, above 0, are needed; coordinates "
                f"are {', '.join(coordinates)}."
            )
    return {name: float(number_in(period) or 0.0) for name, period in periodic.items()}


def parameter_of(net: object) -> Tensor:
    """A parameter of the net, for dtype and device. Raises InputError, where there is none of real numbers."""
    modules: dict[str, Operand] = (
        {f"net[{name!r}]": module for name, module in net.items()} if isinstance(net, Mapping) else {"net": net}
    )
    for name, module in modules.items():
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{name} is of type {type(module).__name__}: a module is needed, pde.mlp(2, [20, 20], 1), or a dict of "
                "one for each field."
            )
    every = [p for module in modules.values() for p in module.parameters()]
    if not every:
        raise InputError("the net has no parameters, so that there is nothing to fit: pass pde.mlp(2, [20, 20], 1).")
    if every[0].dtype not in (torch.float64, torch.float32):
        raise InputError(f"the net is {every[0].dtype}: float64 is needed, net.double(), or float32.")
    first: Tensor = every[0].detach()
    return first


def checked_target(term: Term, shape: tuple[int, int], like: Tensor) -> Tensor:
    """y, (N, Q), zeros where there is none. Raises InputError, where it does not fit the points or is not finite."""
    if term.target is None:
        return like.new_zeros(shape)
    what, (n, q) = f"{called(term)}: its target", shape
    if number_in(term.target) is not None:
        raise InputError(
            f"{what} is one number for {n} points: an exact value belongs into the equation, lambda u: u - "
            f"{number_in(term.target)}, and measured ones need one for each point."
        )
    target: Tensor = tensor_of(term.target, like, what)
    if target.dtype.is_complex or target.dtype == torch.bool:
        raise InputError(f"{what} is {target.dtype}: real numbers are needed, target.double().")
    if tuple(target.shape) not in ([(n,), (n, 1)] if q == 1 else [(n, q)]):
        needed = f"({n},)" if q == 1 else f"({n}, {q}), a column for each equation,"
        raise InputError(f"{what} has shape {tuple(target.shape)} for {n} points: {needed} is needed.")
    bad = int((~torch.isfinite(target)).sum())
    if bad:
        raise InputError(
            f"{what} holds {bad} NaN or infinite values of {target.numel()}: leave these points and values out."
        )
    return target.detach().to(like).reshape(shape)


def checked_point_weights(term: Term, n: int, like: Tensor) -> Tensor:
    """w ≥ 0, (N,). Raises InputError, where they do not fit the points."""
    what = f"{called(term)}: its weights"
    weights: Tensor = tensor_of(term.weights, like, what)
    if weights.dtype.is_complex or weights.dtype == torch.bool or tuple(weights.shape) != (n,):
        raise InputError(f"{what} have shape {tuple(weights.shape)}, {weights.dtype}: ({n},) is needed, one a point.")
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()) or not bool((weights > 0).any()):
        raise InputError(f"{what} must be finite, 0 or above, and some above 0; the smallest is {weights.min():.3g}.")
    return weights.detach().to(like)


def require_inside(terms: Sequence[Term | Total], every: list[Placed], names: Sequence[str], around: set[str]) -> None:
    """Raises InputError, where tensors of points lie outside of the boxes that other terms take their points from.

    Args:
        around: periodic coordinates, which have no outside.
    """
    boxes = [placed.box for placed in every if placed.box]
    for term, placed in zip(terms, every, strict=True):
        for k, name in enumerate(names) if boxes and not placed.box else ():
            low, high = min(box[name][0] for box in boxes), max(box[name][1] for box in boxes)
            spare = INSIDE * (high - low)
            column = placed.points[:, :, k]
            outside = int(((column < low - spare) | (column > high + spare)).any(0).sum())
            if outside and name not in around:
                raise InputError(
                    f"{called(term)}: {outside} of its {column.shape[1]} points lie outside the box, where {name} is "
                    f"from {low:g} to {high:g}: leave them out, or make the box larger."
                )


def ranges_of(every: Sequence[Placed], names: Sequence[str], around: set[str]) -> dict[str, tuple[float, float]]:
    """Coordinate → from where to where the terms hold: by their boxes, and by their points where these have none.

    Args:
        around: periodic coordinates, which are left out, for they have no outside.
    """
    found = dict[str, tuple[float, float]]()
    for k, name in enumerate(names):
        columns = [(placed.box.get(name), placed.points[:, :, k]) for placed in every]
        ends = [box or (float(column.min()), float(column.max())) for box, column in columns]
        if name not in around:
            found[name] = min(low for low, _ in ends), max(high for _, high in ends)
    return found


def far_outside(points: Tensor, names: Sequence[str], ranges: Mapping[str, tuple[float, float]]) -> str | None:
    """A sentence, where points (N, d) lie far outside of where the terms hold; None where none does."""
    farthest, said = 0.0, None
    for name, (low, high) in ranges.items():
        column, spare = points[:, names.index(name)], OUTSIDE * ((high - low) or 1.0)
        beyond = torch.maximum(low - column, column - high) - spare
        at = int(beyond.argmax())
        if float(beyond[at]) / spare > farthest:
            farthest = float(beyond[at]) / spare
            said = (
                f"{int((beyond > 0.0).sum())} of {len(points)} points lie far outside of where the terms hold, one at "
                f"{name} = {float(column[at]):g}, where {name} is from {low:g} to {high:g} in them: a fit says nothing "
                "there."
            )
    return said


def require_all_read(
    names: tuple[str, ...], read: set[str], what: str, terms: Sequence[Term | Total], way: str
) -> None:
    """Raises InputError for a field or an unknown that no term asks for."""
    unread = [name for name in names if name not in read]
    if unread:
        every = ", ".join(term.name for term in terms)
        raise InputError(f"no term asks for the {what} {unread[0]!r}; terms are {every}: {way.format(unread[0])}")
