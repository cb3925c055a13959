"""A system of equations for the fields of a network, as a problem that every door takes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._settings import POSITIVE
from geodescent._types import Operand
from geodescent.outputs import Equation, ResidualMap, Streams
from geodescent.pde._fields import Asking, FieldSource, FieldValues, arguments_of, derivative_of, space_of
from geodescent.pde._network import FieldsModule
from geodescent.pde._start import SystemStart, choose_system_start
from geodescent.pde._terms import Placed, Term, Total
from geodescent.problem import Problem, RowBlock

VALUES_WEIGHT = 100.0  # Of a term of values, as on a boundary, beside equations of weight 1 (docs/decisions.md).
MEASURED_WEIGHT = 1e-2  # Of a term with measured values (docs/decisions.md).
RESERVED = ("laplacian", "value", "shape")


class System:
    """Equations for the fields of a network: `gd.fit`, `gd.flow`, `gd.certify` and `gd.initialise` take it.

        box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
        terms = [
            pde.Term("poisson", lambda u, x: u.laplacian + torch.sin(x), box.inside(900)),
            pde.Term("walls", lambda u: u, box.sides().points(120)),
        ]
        system = pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("x", "y"))
        solution = gd.fit(system, max_seconds=20)
        u = system(points)

    The cost is `Σ_k λ_k mean(w r²)_k / 2`, a mean over the points of each term, times the number of points.

    Args:
        net: coordinates (N, d) → (N, number of fields), one column a field; or a dict field → module of one column. It
            sees each coordinate mapped to [−1, 1] by the range of all points.
        terms: `Term` and `Total`.
        coordinates: names, in the order of the columns of points.
        fields: names.
        unknowns: name → first value, of coefficients that are found with the fields.
        transform: built-in conditions, a function of the network's fields and the coordinates, `(net, t, x) → field`;
            of several fields, `net.u, net.v` come in and a dict or namespace of the same names is returned.
        periodic: coordinate → period: the network sees its cosine and sine instead, as one more input.

    Raises: InputError, before any work, in the words of the term.
    """

    def __init__(
        self,
        net: nn.Module | Mapping[str, nn.Module],
        terms: Sequence[Term | Total],
        *,
        coordinates: Sequence[str],
        fields: Sequence[str] = ("u",),
        unknowns: Mapping[str, float] | None = None,
        transform: Callable[..., Operand] | None = None,
        periodic: Mapping[str, float] | None = None,
    ) -> None:
        self.coordinates, self.fields = _names(coordinates, "coordinates"), _names(fields, "fields")
        self.terms, self.unknowns = _checked_terms(terms), tuple(unknowns or {})
        _require_apart(self.coordinates, self.fields, self.unknowns)
        like = _parameter_of(net)
        self._placed = [Placed.of(t.points, self.coordinates, _called(t), like) for t in self.terms]
        every = torch.cat([placed.points.flatten(0, 1) for placed in self._placed])
        for name, period in (periodic or {}).items():
            if name not in self.coordinates or not POSITIVE.allows(period):
                raise InputError(
                    f"periodic = {{{name!r}: {period!r}}}: a coordinate and its period, above 0, are needed."
                )
        self.module = FieldsModule(
            net, self.coordinates, self.fields, dict(unknowns or {}), transform, dict(periodic or {}), every
        )
        self._equations = [self._equation(t, p) for t, p in zip(self.terms, self._placed, strict=True)]

    def __call__(self, points: Tensor) -> Tensor:
        """The fields at points (N, d), built-in conditions included, (N, number of fields)."""
        like = next(self.module.parameters())
        placed = Placed.of(points, self.coordinates, "the points", like)
        with torch.no_grad():
            values: Tensor = self.module(placed.points[0])
        return values

    def problem(self) -> Problem:
        """The problem: a block of rows for each term."""
        return self._problem

    @cached_property
    def _problem(self) -> Problem:
        blocks = []
        for term, placed, equation in zip(self.terms, self._placed, self._equations, strict=True):
            elsewhere = self._elsewhere(term, placed)
            outputs = ResidualMap(self.module, placed.points, equation, elsewhere, placed.drawn)
            blocks.append(self._block(term, placed, outputs))
        entries = {name: place.offset for name, place in outputs.places.items()}
        measured = tuple(t.name for t in self.terms if isinstance(t, Term) and t.target is not None)
        return Problem(tuple(blocks), {name: entries[f"unknowns.{name}"] for name in self.unknowns}, measured)

    def choose_start(self, *, seed: int = 0, seconds: float = math.inf) -> SystemStart | None:
        """Chooses activation and first-layer gains, in place, by leave-one-out of the linearised residual.

        Args:
            seed: of phases and kinks.
            seconds: no further candidate is begun after this time.
        """
        return choose_system_start(self.module.net, self.problem(), seed=seed, seconds=seconds)

    def _elsewhere(self, term: Term | Total, placed: Placed) -> Callable[[Tensor], Equation] | None:
        """The equation at other points, for a term whose residual vanishes anywhere; None where it does not."""
        if isinstance(term, Total) or term.target is not None:
            return None

        def elsewhere(points: Tensor) -> Equation:
            points = points if points.dim() == 3 else points[None]
            return self._equation(term, replace(placed, points=points, weights=None))

        return elsewhere

    def add_points(self, added: Mapping[str, Tensor]) -> None:
        """Adds points, name of a term → (n, d), to the terms; the network stays as it is."""
        for k, (term, placed) in enumerate(zip(self.terms, self._placed, strict=True)):
            if term.name in added:
                self._placed[k] = placed.joined(added[term.name])
                self._equations[k] = self._equation(term, self._placed[k])
        self.__dict__.pop("_problem", None)

    def _block(self, term: Term | Total, placed: Placed, outputs: ResidualMap) -> RowBlock:
        like = placed.points
        if isinstance(term, Total):
            return RowBlock(term.name, outputs, like.new_full((1, 1), float(term.value)), weight=term.weight)
        target: Operand = like.new_zeros(outputs.shape) if term.target is None else term.target
        weights: Operand = placed.weights if term.weights is None else term.weights
        weight = term.weight if term.weight is not None else self._weight_of(term, outputs)
        try:
            return RowBlock(term.name, outputs, target, weights, weight)
        except InputError as error:
            raise InputError(f"term {str(error).removeprefix('block ')}") from None

    def _weight_of(self, term: Term, outputs: ResidualMap) -> float:
        """1 for equations, more for exact values, less for measured ones: equations must not give way to noise."""
        if term.target is not None:
            return MEASURED_WEIGHT
        return 1.0 if outputs.equation.streams.n_streams > 1 else VALUES_WEIGHT

    def _equation(self, term: Term | Total, placed: Placed) -> Equation:
        """The equation of a term, after a dry run on made-up values at two of its points."""
        function = term.integrand if isinstance(term, Total) else term.equation
        wanted = arguments_of(function, f"the equation of {_called(term)}")
        known = {*self.coordinates, *self.fields, *self.unknowns}
        missing = [name for name in wanted if name not in known]
        if missing:
            raise InputError(f"{_called(term)} asks for {' and '.join(missing)}; {self._known()}.")
        few = placed.points[:, [0, -1]]
        asking = Asking(self.coordinates, few[0, :, 0])
        pair = len(placed.points) > 1
        unknowns = {name: self.module.unknowns[name].detach().expand(2) for name in self.unknowns}
        arguments = self._arguments([asking] * len(placed.points), few, unknowns)
        try:
            returned = function(*(arguments[name] for name in wanted))
            columns = _columns(returned, 2, _called(term))
        except InputError:
            raise
        except Exception as error:
            raise InputError(_in_words(error, term, pair)) from error
        laplacian = space_of(self.coordinates) if asking.wanted.laplacian else ()
        streams = Streams.of(asking.wanted.derivatives, laplacian)
        n_equations = 1 if isinstance(term, Total) else columns.shape[1]
        factor = placed.volume / placed.points.shape[1] if isinstance(term, Total) else 1.0
        scale = None
        if isinstance(term, Total):
            if columns.shape[1] > 1:
                raise InputError(
                    f"{_called(term)}: the integrand returns {columns.shape[1]} values a point: one is needed."
                )
            scale = factor * (placed.weights if placed.weights is not None else torch.ones_like(placed.points[0, :, 0]))

        def rows(values: Tensor, unknowns: dict[str, Tensor]) -> Tensor:
            n_streams, n_points, n, n_fields = values.shape
            parts = values.permute(1, 0, 3, 2).flatten(0, 2).unbind(0)
            by_stream = [parts[k : k + n_fields] for k in range(0, len(parts), n_fields)]
            sources = [
                FieldSource(self.coordinates, self.fields, streams, by_stream[k : k + n_streams])
                for k in range(0, n_points * n_streams, n_streams)
            ]
            arguments = self._arguments(sources, placed.points, unknowns)
            found = _columns(function(*(arguments[name] for name in wanted)), n, _called(term))
            return found if scale is None else found * scale[:, None]

        used = tuple((name, f"unknowns.{name}") for name in self.unknowns if name in wanted)
        return Equation(rows, streams, n_equations, used, isinstance(term, Total))

    def _arguments(self, sources: list[Operand], points: Tensor, unknowns: dict[str, Tensor]) -> dict[str, Operand]:
        fields = {name: [FieldValues(source, name) for source in sources] for name in self.fields}
        coordinates = {name: list(points[:, :, k]) for k, name in enumerate(self.coordinates)}
        every = {
            name: tuple(values) if len(points) > 1 else values[0] for name, values in {**fields, **coordinates}.items()
        }
        return {**every, **unknowns}

    def _known(self) -> str:
        known = f"coordinates are {', '.join(self.coordinates)}; fields {', '.join(self.fields)}"
        return f"{known}; unknowns {', '.join(self.unknowns)}" if self.unknowns else known


def _columns(returned: Operand, n: int, what: str) -> Tensor:
    """(N, Q) of what an equation returned."""
    several = returned if isinstance(returned, tuple | list) else (returned,)
    columns = []
    for value in several:
        value = value.value if isinstance(value, FieldValues) else value
        if not isinstance(value, Tensor):
            raise InputError(
                f"{what}: the equation returns {type(value).__name__}: a tensor (N,) or a tuple of them is needed."
            )
        if value.dim() == 2 and value.shape[0] == n:
            columns += list(value.unbind(1))
        elif tuple(value.shape) in ((n,), ()):
            columns.append(value.expand(n))
        else:
            raise InputError(
                f"{what}: the equation returns shape {tuple(value.shape)} for {n} points: ({n},) is needed."
            )
    if not columns:
        raise InputError(f"{what}: the equation returns nothing: return what is to vanish.")
    if any(column.dtype.is_complex for column in columns):
        raise InputError(f"{what}: the equation returns complex numbers: return real and imaginary part as a tuple.")
    return torch.stack(columns, 1)


def _in_words(error: Exception, term: Term | Total, pair: bool) -> str:
    several = " With a tuple of points each field is a tuple: u[0], u[1]." if pair else ""
    text = f"{_called(term)}: its equation fails, {type(error).__name__}: {error}."
    if isinstance(error, AttributeError) and "Tensor" in str(error):
        text += " Derivatives are attributes of fields, not of expressions: write 2*u*u.x in place of (u*u).x."
    return text + several


def _called(term: Term | Total) -> str:
    return f"{'total' if isinstance(term, Total) else 'term'} {term.name!r}"


def _checked_terms(terms: object) -> tuple[Term | Total, ...]:
    found = tuple(terms) if isinstance(terms, Sequence) else ()
    if not found or not all(isinstance(term, Term | Total) for term in found):
        raise InputError("a System needs a list of terms: [pde.Term('heat', equation, points), …].")
    names = [term.name for term in found]
    if len(set(names)) < len(names):
        raise InputError(f"the terms are called {names}: each needs a name of its own.")
    return found


def _names(names: object, what: str) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
    if not found or not all(isinstance(name, str) and name.isidentifier() for name in found):
        raise InputError(f"{what} = {names!r}: names are needed, for example {what}=('t', 'x').")
    if len(set(found)) < len(found):
        raise InputError(f"{what} = {found}: each name may stand once.")
    return found


def _require_apart(coordinates: tuple[str, ...], fields: tuple[str, ...], unknowns: tuple[str, ...]) -> None:
    every = [*coordinates, *fields, *unknowns]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise InputError(f"{twice[0]!r} is named twice among coordinates, fields and unknowns: give each its own name.")
    for name in coordinates:
        others = tuple(other for other in coordinates if other != name)
        if name in RESERVED or (others and derivative_of(name, others) not in (None, ())):
            raise InputError(
                f"a coordinate cannot be called {name!r}: derivatives by {', '.join(others) or 'it'} have that name."
            )


def _parameter_of(net: object) -> Tensor:
    modules: list[Operand] = list(net.values()) if isinstance(net, Mapping) else [net]
    if not modules or not all(isinstance(module, nn.Module) for module in modules):
        raise InputError(
            f"net is a {type(net).__name__}: a module is needed, pde.mlp(2, [20, 20], 1), or a dict of them."
        )
    for module in modules:
        for parameter in nn.ModuleList([module]).parameters():
            return parameter.detach()
    raise InputError("the net has no parameters: there is nothing to fit.")
