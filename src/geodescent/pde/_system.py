"""A system of equations for the fields of a network, as a problem that every door takes."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.outputs import Equation, ResidualMap
from geodescent.pde._checks import (
    checked_names,
    checked_periods,
    checked_point_weights,
    checked_target,
    checked_terms,
    checked_unknowns,
    far_outside,
    parameter_of,
    ranges_of,
    require_all_read,
    require_apart,
    require_inside,
)
from geodescent.pde._domain import Domain
from geodescent.pde._equations import Names, Written, called, no_derivatives, require_finite_rows
from geodescent.pde._hints import own_cause
from geodescent.pde._left_out import MOST_JUDGED_PARAMETERS, MOST_ROWS_OF_ALL, n_judged_rows, spread
from geodescent.pde._network import FieldsModule
from geodescent.pde._printed import printed_system
from geodescent.pde._start import SystemStart, choose_system_start
from geodescent.pde._terms import Placed, PointsOfTerm, Term, Total, places_of
from geodescent.problem import VALUES_WEIGHT, Problem, RowBlock

LOOSE = (
    "No term says what the fields are anywhere, only what their derivatives are, and no condition is built in: the "
    "solution may be one of many, and the residual does not tell."
)
MEASURED_WEIGHT = 1e-2  # Of a term with measured values (docs/decisions.md).


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

    The cost is `C = Σ_k λ_k mean(w r²)_k / 2`, with a mean over the points of each term.

    Args:
        net: coordinates (N, d) → (N, number of fields), one column a field; or a dict field → module of one column. It
            sees each coordinate mapped to [−1, 1] by the range of all points.
        terms: `Term` and `Total`.
        coordinates: names, in the order of the columns of points.
        fields: names.
        unknowns: name → first value, of coefficients that are found with the fields.
        transform: built-in conditions, a function of the network's fields and the coordinates, `(net, t, x) → field`;
            of several fields, `net.u, net.v` come in and a dict or namespace of the same names is returned. The fields
            that come in are the network's times an exponential of the coordinates where the start shows that it helps.
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
        self.coordinates = checked_names(coordinates, "coordinates", "('t', 'x')")
        self.fields = checked_names(fields, "fields", "('u', 'v')")
        self.terms, values = checked_terms(terms), checked_unknowns(unknowns)
        self.unknowns, periods = tuple(values), checked_periods(periodic, self.coordinates)
        require_apart(self.coordinates, self.fields, self.unknowns)
        like = parameter_of(net)
        self._placed = [self._place(term, like) for term in self.terms]
        require_inside(self.terms, self._placed, self.coordinates, set(periods))
        self._ranges, self._has_warned = ranges_of(self._placed, self.coordinates, set(periods)), False
        every = torch.cat([placed.points.flatten(0, 1) for placed in self._placed])
        domain = Domain.of(self._placed, self.coordinates)
        self.module = FieldsModule(net, self.coordinates, self.fields, values, transform, periods, every, domain)
        self._equations = self._checked_equations(needs_fields=transform is None)
        self._made_with = self._problem.theta
        for term, placed, block in zip(self.terms, self._placed, self._problem.blocks, strict=True):
            require_finite_rows(block.map(self._problem.theta), term, placed.points, self.coordinates)

    def __call__(self, points: Tensor) -> Tensor:
        """The fields at points (N, d), built-in conditions included, (N, number of fields).

        A UserWarning says once where points lie far outside of the terms' own, for a fit says nothing there. `evaluate`
        gives derivatives.
        """
        like = next(self.module.parameters())
        placed = Placed.of(points, self.coordinates, "system(points)", like)
        outside = None if self._has_warned else far_outside(placed.points[0], self.coordinates, self._ranges)
        if outside:
            self._has_warned = True
            warnings.warn(outside, UserWarning, stacklevel=2)
        with torch.no_grad():
            values: Tensor = self.module(placed.points[0])
        return values

    def evaluate(self, quantity: Callable[..., object], points: "PointsOfTerm") -> Tensor:
        """What a function of fields, their derivatives, coordinates and unknowns is at points, (N, Q).

            slopes = system.evaluate(lambda u: (u.x, u.xx), points)

        Args:
            quantity: written as the equation of a `Term`; it returns a tensor (N,), or a tuple of Q of them.
            points: (N, d), or `Points` of a box.

        Raises: InputError, for points of another shape, and in the words of a term for a function that fails.
        """
        term = Term("evaluate", quantity, points)
        placed = Placed.of(points, self.coordinates, "system.evaluate", next(self.module.parameters()))
        outputs = ResidualMap(self.module, placed.points, self._equation(term, placed))
        return outputs(outputs.theta).reshape(outputs.shape)

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The least and the largest value of each coordinate at the points of all terms, (d,) each.

        Of a coordinate c that is the same at all points they are c − 1 and c + 1.
        """
        return self.module.centre - self.module.half_range, self.module.centre + self.module.half_range

    def covers(self, points: "PointsOfTerm") -> Tensor:
        """Whether points (N, d) lie in a box that a term fills, or among the points of terms, (N,); False in holes.

            inside = points[system.covers(points)]

        Args:
            points: a tensor or array of any real numbers, or `Points` of a box; False at those that are NaN.

        Raises: InputError, for points of another shape, and for complex ones.
        """
        places = places_of(points, self.coordinates, "system.covers(points)")
        if places.dtype.is_complex:
            raise InputError(
                f"system.covers(points): its points are {places.dtype}: pass real ones, torch.as_tensor(points).real."
            )
        return self.module.domain.covers(places)

    def __repr__(self) -> str:
        return printed_system(self)

    def problem(self) -> Problem:
        """The problem: a block of rows for each term."""
        return self._problem

    @cached_property
    def _problem(self) -> Problem:
        blocks = list[RowBlock]()
        for term, placed, equation in zip(self.terms, self._placed, self._equations, strict=True):
            elsewhere = self._elsewhere(term, placed)
            try:
                outputs = ResidualMap(self.module, placed.points, equation, elsewhere, placed.drawn, self.module.folded)
            except (RuntimeError, TypeError, AttributeError) as error:
                raise InputError(no_derivatives(error, term)) from own_cause(error)
            if self._is_loose and not blocks:
                outputs.notes.append(LOOSE)
            blocks.append(self._block(term, placed, outputs))
        entries = {name: place.offset for name, place in outputs.places.items()}
        measured = tuple(t.name for t in self.terms if isinstance(t, Term) and t.target is not None)
        return Problem(tuple(blocks), {name: entries[f"unknowns.{name}"] for name in self.unknowns}, measured)

    @property
    def _is_loose(self) -> bool:
        """Whether nothing says what the fields are anywhere, so that only derivatives are known of them."""
        reads_values = [
            e.streams.n_streams == 1 or len(p.points) > 1 for e, p in zip(self._equations, self._placed, strict=True)
        ]
        totals = any(isinstance(term, Total) for term in self.terms)
        return not (self.module.has_transform or totals or any(reads_values))

    @property
    def is_fresh(self) -> bool:
        """Whether the network is as it was when the system was made: a fit goes on from any other."""
        return torch.equal(self._problem.theta, self._made_with) and not self.module.slopes

    def choose_start(self, *, seed: int = 0, seconds: float = math.inf) -> SystemStart | None:
        """Chooses activation, first-layer gains and envelope, in place, by leave-one-out of the linearised residual.

        Args:
            seed: of phases, of kinks, and of the points that judge.
            seconds: no further candidate is begun after this time.
        """
        problem = self._problem
        judged = whole = self._at_some_points(n_judged_rows(problem), seed)
        if problem.n_params <= MOST_JUDGED_PARAMETERS and judged.n_residuals < problem.n_residuals:
            whole = self._at_some_points(min(problem.n_residuals, MOST_ROWS_OF_ALL), seed)
        return choose_system_start(self.module, judged, whole, seed=seed, seconds=seconds)

    def _at_some_points(self, n_rows: int, seed: int) -> Problem:
        """The problem at some points of every term, of about so many rows; all of totals and of short terms."""
        problem, blocks = self._problem, list[RowBlock]()
        share, generator = n_rows / problem.n_residuals, torch.Generator("cpu").manual_seed(seed)
        for term, placed, block in zip(self.terms, self._placed, problem.blocks, strict=True):
            which = spread(placed.points.shape[1], share, generator).to(placed.points.device)
            some = placed.some(which)
            is_whole = isinstance(term, Total) or len(which) == placed.points.shape[1]
            if is_whole or not (some.weights is None or bool(some.weights.any())):
                blocks.append(block)
                continue
            outputs = ResidualMap(self.module, some.points, self._equation(term, some), folded=self.module.folded)
            blocks.append(RowBlock(term.name, outputs, block.target[which], some.weights, block.weight))
        return Problem(tuple(blocks), problem.unknowns, problem.measured)

    def start(self) -> dict[str, object]:
        """What a choice of the start may have changed beside the parameters, for JSON."""
        return self.module.start

    def begin_as(self, start: dict[str, object]) -> None:
        """Gives the network activations and envelope of such a start. Raises ValueError for one of another network."""
        self.module.begin_as(start)

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

    def _place(self, term: Term | Total, like: Tensor) -> Placed:
        """The points of a term, with its own weights where it has such."""
        placed = Placed.of(term.points, self.coordinates, called(term), like)
        if isinstance(term, Total) or term.weights is None:
            return placed
        return replace(placed, weights=checked_point_weights(term, placed.points.shape[1], like))

    def _block(self, term: Term | Total, placed: Placed, outputs: ResidualMap) -> RowBlock:
        like = placed.points
        if isinstance(term, Total):
            return RowBlock(term.name, outputs, like.new_full((1, 1), term.value), weight=term.weight)
        target = checked_target(term, outputs.shape, like)
        weight = term.weight if term.weight is not None else self._weight_of(term, outputs)
        return RowBlock(term.name, outputs, target, placed.weights, weight)

    def _weight_of(self, term: Term, outputs: ResidualMap) -> float:
        """1 for equations, more for exact values, less for measured ones: equations must not give way to noise."""
        if term.target is not None:
            return MEASURED_WEIGHT
        return 1.0 if outputs.equation.streams.n_streams > 1 else VALUES_WEIGHT

    def _checked_equations(self, *, needs_fields: bool) -> list[Equation]:
        """The equations of all terms, by dry runs; every unknown and every field must be read by one of them."""
        found, asked, read = list[Equation](), set[str](), set[str]()
        for term, placed in zip(self.terms, self._placed, strict=True):
            written = Written.of(term, placed, self._names)
            equation, fields = written.equation()
            written.require_sound(equation)
            found.append(equation)
            asked, read = asked | set(written.wanted), read | fields
        way = "name {} among the arguments of an equation, without a default, or leave it out of unknowns=."
        require_all_read(self.unknowns, asked, "unknown", self.terms, way)
        if needs_fields:
            way = "write an equation for {}, or leave it out of fields=."
            require_all_read(self.fields, read, "field", self.terms, way)
        return found

    @property
    def _names(self) -> Names:
        return Names(self.coordinates, self.fields, self.unknowns)

    def _equation(self, term: Term | Total, placed: Placed) -> Equation:
        return Written.of(term, placed, self._names).equation()[0]
