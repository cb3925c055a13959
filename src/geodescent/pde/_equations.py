"""From a function of fields to the equation of a residual map; dry runs find what is wrong before any work."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.outputs import Equation, Streams
from geodescent.pde._fields import Asking, FieldSource, FieldValues, arguments_of, space_of
from geodescent.pde._hints import first_sentence, hint_for, hint_for_name, own_cause
from geodescent.pde._spelling import as_attribute, way_to_write
from geodescent.pde._terms import Placed, Term, Total

DRY_POINTS = 7  # Points of the first dry run: a number that hardly anyone writes into an equation.
SIZES = (1.0, -1.0, 100.0, -100.0)
"""Factors of made-up values: an equation that has a flat part, as max(u, 0), is flat at no more than some of them."""
SAME_ROWS = 1e-6  # Relative: rows of one point that differ by more depend on other points; rounding is far below it.


@dataclass(frozen=True)
class Names:
    """What an equation may ask for."""

    coordinates: tuple[str, ...]
    fields: tuple[str, ...]
    unknowns: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.coordinates, *self.fields, *self.unknowns)

    def __str__(self) -> str:
        known = f"coordinates are {', '.join(self.coordinates)}; fields {', '.join(self.fields)}"
        return f"{known}; unknowns {', '.join(self.unknowns)}" if self.unknowns else known


@dataclass(frozen=True)
class Written:
    """A term with the points that it holds at.

    Attributes:
        term: as it was written.
        placed: its points.
        names: that it may ask for.
        wanted: the names of its arguments.
    """

    term: Term | Total
    placed: Placed
    names: Names
    wanted: tuple[str, ...]

    @classmethod
    def of(cls, term: Term | Total, placed: Placed, names: Names) -> "Written":
        """Raises InputError, where the arguments of its equation are no names that are known."""
        wanted = arguments_of(_function_of(term), f"the equation of {called(term)}")
        missing = [name for name in wanted if name not in names.known]
        if missing:
            attribute = as_attribute(missing[0], names.fields, names.coordinates)
            way = f" {way_to_write(attribute, names.coordinates)}" if attribute else ""
            also = ": derivatives are attributes of fields" if attribute else ""
            raise InputError(f"{called(term)} asks for {' and '.join(missing)}; {names}{also}.{way}")
        return cls(term, placed, names, wanted)

    def equation(self) -> tuple[Equation, set[str]]:
        """The equation, and the names of the fields that it reads, by a dry run on made-up values at a few points."""
        few = self.placed.points[:, torch.arange(DRY_POINTS, device="cpu") % self.placed.points.shape[1]]
        asking = Asking(self.names.coordinates, few[0, :, 0])
        unknowns = {name: torch.ones_like(few[0, :, 0]) for name in self.names.unknowns}
        columns = self._called([asking] * len(few), few, unknowns)
        laplacian = space_of(self.names.coordinates) if asking.wanted.laplacian else ()
        streams = Streams.of(asking.wanted.derivatives, laplacian)
        scale = self._scale(columns.shape[1])
        total = scale is not None

        def rows(values: Tensor, unknowns: dict[str, Tensor]) -> Tensor:
            n_streams, n_points, _, n_fields = values.shape
            parts = values.permute(1, 0, 3, 2).flatten(0, 2).unbind(0)
            by_stream = [parts[k : k + n_fields] for k in range(0, len(parts), n_fields)]
            sources = [
                FieldSource(self.names.coordinates, self.names.fields, streams, by_stream[k : k + n_streams])
                for k in range(0, n_points * n_streams, n_streams)
            ]
            found = self._called(sources, self.placed.points, unknowns)
            return found if scale is None else found * scale[:, None]

        used = tuple((name, f"unknowns.{name}") for name in self.names.unknowns if name in self.wanted)
        return Equation(rows, streams, columns.shape[1], used, total), asking.wanted.fields

    def require_sound(self, equation: Equation) -> None:
        """Raises InputError where rows are not those of single points, or of no field: at made-up values, all points.

        The rows of some points in another order must be the same rows.
        """
        n, like, what = self.placed.points.shape[1], self.placed.points, called(self.term)
        shape = (equation.streams.n_points, len(like), n, len(self.names.fields))
        values = (0.3 + 0.5 * torch.rand(shape, generator=_generator(), dtype=like.dtype, device="cpu")).to(like)
        unknowns = {name: torch.ones_like(like[0, :, 0]) for name, _ in equation.unknowns}
        rows = self._in_words(lambda: equation.rows(values, unknowns))
        still = self._still(equation, values, unknowns)
        if still:
            which = "its equation" if rows.shape[1] == 1 else f"equation {still[0] + 1} of {rows.shape[1]} it returns"
            raise InputError(
                f"{what}: {which} depends on no field and no unknown, so that no network changes it: return what is to "
                f"vanish, such as {self.names.fields[0]} - 1.0, computed by torch alone, without detach(), item() and "
                "numpy()."
            )
        order = torch.arange(n - 1, -1 if equation.total else n // 2 - 1, -1, device="cpu")
        others, _ = replace(self, placed=self.placed.some(order)).equation()
        again = equation.rows(values, unknowns)
        part = others.rows(values[:, :, order], {name: value[order] for name, value in unknowns.items()})
        if not _same(again, rows):
            raise InputError(f"{what}: its equation draws random numbers: draw them once, before, or leave them out.")
        if not _same(part, rows[order]):
            raise InputError(
                f"{what}: its equation mixes points, by an index, a sum or a mean over them: each row must be that of "
                "one point. An integral is a pde.Total; a condition between two points takes a tuple of points."
            )

    def _scale(self, n_columns: int) -> Tensor | None:
        """What the rows of a Total are multiplied by before they are summed; None for a Term."""
        if isinstance(self.term, Term):
            return None
        if n_columns > 1:
            raise InputError(f"{called(self.term)}: the integrand returns {n_columns} values a point: one is needed.")
        one = torch.ones_like(self.placed.points[0, :, 0])
        weights = one if self.placed.weights is None else self.placed.weights
        return self.placed.volume / len(one) * weights

    def _called(self, sources: list[Operand], points: Tensor, unknowns: dict[str, Tensor]) -> Tensor:
        """(N, Q) of what the function returns for these fields at points (P, N, d)."""
        fields = {name: [FieldValues(source, name) for source in sources] for name in self.names.fields}
        places = {name: list(points[:, :, k]) for k, name in enumerate(self.names.coordinates)}
        pair, function = len(points) > 1, _function_of(self.term)
        every: dict[str, Operand] = {n: tuple(v) if pair else v[0] for n, v in {**fields, **places}.items()}
        returned = self._in_words(lambda: function(*({**every, **unknowns}[name] for name in self.wanted)))
        return _columns(returned, points.shape[1], called(self.term))

    def _still(self, equation: Equation, values: Tensor, unknowns: dict[str, Tensor]) -> list[int]:
        """The equations, of several, that no field and no unknown changes, near made-up values of several sizes."""
        still, n = list(range(equation.n_equations)), values.shape[2]
        uneven = torch.linspace(1.0, 2.0, n, dtype=values.dtype, device=values.device)
        for size in SIZES:
            on = [(size * value).requires_grad_() for value in (values, *unknowns.values())]
            with torch.enable_grad():
                at = dict(zip(unknowns, on[1:], strict=True))
                rows = self._in_words(partial(equation.rows, on[0], at))
                moved = list[int]()
                for q in still if rows.requires_grad else ():
                    found = torch.autograd.grad(rows[:, q] @ uneven, on, retain_graph=True, allow_unused=True)
                    moved += [q] if any(g is not None and not bool((g == 0.0).all()) for g in found) else []
            still = [q for q in still if q not in moved]
            if not still:
                break
        return still

    def _in_words(self, ask: Callable[[], Operand]) -> Operand:
        """What a function returns; its errors in the words of the term."""
        what, names = called(self.term), self.names
        try:
            return ask()
        except InputError as error:
            if str(error).startswith(what):
                raise
            raise InputError(f"{what}: {error}").with_traceback(error.__traceback__) from None
        except Exception as error:  # whatever a user's function raises
            several = (
                " With a tuple of points each field is a tuple: u[0], u[1]." if len(self.placed.points) > 1 else ""
            )
            of_name = hint_for_name(error, "the equation", names.known, names.fields, names.coordinates)
            text = f"{what}: its equation fails, {type(error).__name__}: {first_sentence(error)}."
            raise InputError(f"{text}{of_name or hint_for(error) + several}") from own_cause(error)


def require_finite_rows(rows: Tensor, term: Term | Total, points: Tensor, coordinates: tuple[str, ...]) -> None:
    """Raises InputError where the rows of a term are not finite at the start, with the first point where."""
    bad = ~torch.isfinite(rows).all(1)
    if not bool(bad.any()):
        return
    what = "integrand" if isinstance(term, Total) else "equation"
    if isinstance(term, Total):
        raise InputError(f"{called(term)}: its {what} is NaN or infinite at the start: leave those points out.")
    place = points[0, int(torch.nonzero(bad)[0])].tolist()
    at = ", ".join(f"{name} = {value:.4g}" for name, value in zip(coordinates, place, strict=True))
    raise InputError(
        f"{called(term)}: its {what} is NaN or infinite at {int(bad.sum())} of its {len(rows)} points with the fields "
        f"of the start, first at {at}: write it so that it is finite there, or leave these points out."
    )


def no_derivatives(error: Exception, term: Term | Total) -> str:
    """What is said where torch cannot differentiate the network so often."""
    way = " Use linear layers and smooth elementwise functions such as tanh, as pde.mlp(2, [20, 20], 1) does."
    return (
        f"{called(term)}: the network has no derivatives as it asks for, {type(error).__name__}: "
        f"{first_sentence(error)}.{hint_for(error) if 'numpy' in str(error) else way}"
    )


def called(term: Term | Total) -> str:
    """A term as messages name it."""
    return f"{'total' if isinstance(term, Total) else 'term'} {term.name!r}"


def _function_of(term: Term | Total) -> Callable[..., Operand]:
    return term.integrand if isinstance(term, Total) else term.equation


def _generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(0)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two sets of rows are the same to rounding, NaN where the others are NaN."""
    size = float(b.detach().nan_to_num(0.0, 0.0, 0.0).abs().max()) if b.numel() else 0.0
    return torch.allclose(a, b, rtol=SAME_ROWS, atol=SAME_ROWS * size, equal_nan=True)


def _columns(returned: Operand, n: int, what: str) -> Tensor:
    """(N, Q) of what an equation returned."""
    columns = list[Tensor]()
    for value in returned if isinstance(returned, tuple | list) else (returned,):
        value = value.value if isinstance(value, FieldValues) else value
        if not isinstance(value, Tensor):
            raise InputError(
                f"{what}: the equation returns {type(value).__name__}: a tensor ({n},) for {n} points is needed, or a "
                "tuple of them, such as u.xx + u, computed from fields by torch."
            )
        if value.dim() == 2 and value.shape[0] == n:
            columns += list(value.unbind(1))
        elif tuple(value.shape) == (n,):
            columns.append(value)
        elif value.dim() == 0:
            raise InputError(
                f"{what}: the equation returns one number for {n} points: return one for each, without sum() and "
                "mean(). An integral is a pde.Total."
            )
        else:
            raise InputError(
                f"{what}: the equation returns shape {tuple(value.shape)} for {n} points: ({n},) is needed, or a tuple "
                "of as many tensors as there are equations."
            )
    if not columns:
        raise InputError(f"{what}: the equation returns nothing: return what is to vanish.")
    if any(column.dtype.is_complex for column in columns):
        raise InputError(f"{what}: the equation returns complex numbers: return real and imaginary part as a tuple.")
    if not all(column.dtype.is_floating_point for column in columns):
        raise InputError(
            f"{what}: the equation returns {columns[0].dtype}: return the difference of both sides, u.xx - u, in place "
            "of u.xx == u."
        )
    return torch.stack(columns, 1)
