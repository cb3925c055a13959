"""Problems of PINA (mathLab) as systems, read by the names of their attributes: PINA is not imported."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.pde._boxes import Box, Points
from geodescent.pde._hints import own_cause
from geodescent.pde._mlp import mlp
from geodescent.pde._system import System
from geodescent.pde._terms import Term
from geodescent.pde.bridges._foreign import NETWORK, FieldsThemselves, ForeignEquation, failing


def from_pina(
    problem: Any,
    net: nn.Module | Mapping[str, nn.Module] | None = None,
    *,
    points: int | Mapping[str, int] = 2500,
    weights: Mapping[str, float] | None = None,
    transform: Callable[..., Any] | None = None,
    periodic: Mapping[str, float] | None = None,
) -> System:
    """The system of a problem of PINA: its conditions become terms, its variables coordinates and fields.

        system = pde.from_pina(problem)
        solution = gd.fit(system, max_seconds=30)

    Equations stay as they are; their `grad` and `laplacian` find the derivatives that the system computes. Cartesian
    domains get Gauss points; other domains are sampled; a domain that was discretised keeps its points.

    Args:
        problem: has `conditions`, `input_variables` and `output_variables`; its conditions have a domain and an
            equation, points (`input`) and an equation, or points and a target. `unknown_parameters` become unknowns.
        net: as of a System; None for three layers of twenty tanh.
        points: n, of a domain with all d coordinates free, or condition → number. A side with f free ones has n^(f/d).
        weights: condition → weight of its term.
        transform, periodic: as of a System.

    Raises: InputError, for what is no such problem, in the words of the condition.
    """
    for name in ("conditions", "input_variables", "output_variables"):
        if not hasattr(problem, name):
            raise InputError(
                f"problem is a {type(problem).__name__} without {name}: pass an instance of a PINA problem."
            )
    coordinates, fields = tuple(problem.input_variables), tuple(problem.output_variables)
    parameters = getattr(problem, "unknown_parameters", None) or {}
    unknowns = {name: float(value.detach()) for name, value in parameters.items()}
    read = _ConditionReader(problem, coordinates, fields, unknowns, points)
    terms = [read.term(name, condition, (weights or {}).get(name)) for name, condition in problem.conditions.items()]
    unknown = set(weights or {}) - set(problem.conditions)
    if unknown:
        raise InputError(f"weights names {min(unknown)!r}: the conditions are {', '.join(problem.conditions)}.")
    net = mlp(len(coordinates) + len(periodic or {}), NETWORK, len(fields)) if net is None else net
    return System(
        net,
        terms,
        coordinates=coordinates,
        fields=fields,
        unknowns=unknowns,
        transform=transform,
        periodic=periodic,
    )


class _ConditionReader:
    """Conditions → terms, for one problem."""

    def __init__(
        self,
        problem: Any,
        coordinates: tuple[str, ...],
        fields: tuple[str, ...],
        unknowns: dict[str, float],
        points: int | Mapping[str, int],
    ) -> None:
        self._problem, self._coordinates, self._fields = problem, coordinates, fields
        self._unknowns, self._points = unknowns, points

    def term(self, name: str, condition: Any, weight: float | None) -> Term:
        """Of one condition."""
        equation = getattr(condition, "equation", None)
        given = getattr(condition, "input", None)
        target = getattr(condition, "target", None)
        if equation is None and target is None:
            raise InputError(
                f"condition {name!r} has neither an equation nor a target: it needs one of these, and a domain or an "
                "input."
            )
        placed, like = self._placed(name, condition) if given is None else (self._columns(given, name), given)
        if equation is None:
            values = torch.as_tensor(target, device="cpu").as_subclass(Tensor).detach().double()
            return Term(name, FieldsThemselves(self._fields), placed, weight=weight, target=values)
        return Term(name, self._equation(name, equation, placed, type(like)), placed, weight=weight)

    def _equation(self, name: str, equation: Any, placed: Any, kind: type[Any]) -> ForeignEquation:
        """A residual whose points and fields are labelled, as PINA's operators want them."""

        def labelled(tensor: Tensor, labels: tuple[str, ...]) -> Any:
            found: Any = tensor.as_subclass(kind)
            found.labels = list(labels)
            return found

        def residual(points: Tensor, fields: Tensor, unknowns: dict[str, Tensor]) -> Tensor:
            values = labelled(fields, self._fields)
            found: Tensor = (
                equation.residual(points, values, unknowns) if unknowns else equation.residual(points, values)
            )
            return found

        points = placed.points if isinstance(placed, Points) else placed
        try:
            return ForeignEquation(
                residual,
                self._coordinates,
                self._fields,
                self._unknowns,
                points,
                lambda points: labelled(points, self._coordinates),
            )
        except Exception as error:
            raise failing(f"condition {name!r}", error) from own_cause(error)

    def _placed(self, name: str, condition: Any) -> tuple[Points | Tensor, Any]:
        """Points of a condition's domain, and one that PINA drew, for its kind."""
        domain: Any = getattr(condition, "domain", None)
        if isinstance(domain, str):
            found: Mapping[str, Any] = getattr(self._problem, "discretised_domains", None) or {}
            if domain in found:
                return self._columns(found[domain], name), found[domain]
            domain = self._problem.domains[domain]
        if not hasattr(domain, "sample"):
            raise InputError(f"condition {name!r} has no domain that can be sampled, and no input.")
        like = domain.sample(1, "random")
        return self._of_domain(domain, self._number(name, domain)), like

    def _number(self, name: str, domain: Any) -> int:
        """How many points."""
        if isinstance(self._points, Mapping):
            if name not in self._points:
                raise InputError(f"points says nothing of condition {name!r}: name each, or pass one number.")
            return self._points[name]
        parts, d = _parts(domain), len(self._coordinates)
        free = [len(_free(part)) if _is_box(part, self._coordinates) else d for part in parts]
        return max(1, round(sum(self._points ** (n / d) for n in free) if max(free) < d else self._points))

    def _of_domain(self, domain: Any, n: int) -> Points | Tensor:
        parts = _parts(domain)
        if all(_is_box(part, self._coordinates) for part in parts):
            found = [self._of_box(part, max(1, n // len(parts))) for part in parts]
            return found[0] if len(found) == 1 else torch.cat([part.points for part in found])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self._columns(domain.sample(n, "random"), "the domain")

    def _of_box(self, domain: Any, n: int) -> Points:
        """Gauss points where coordinates vary, with the others at their values."""
        free, fixed = _free(domain), _fixed(domain)
        box = Box(**{name: (float(low), float(high)) for name, (low, high) in free.items()}) if free else None
        inside = box.inside(n) if box is not None else None

        def with_fixed(points: Tensor) -> Tensor:
            named = dict(zip(free, points.unbind(1), strict=True))
            every = [
                named[name] if name in named else points.new_full((len(points),), float(fixed[name]))
                for name in self._coordinates
            ]
            return torch.stack(every, 1)

        if inside is None:
            point = torch.tensor(
                [[float(fixed[name]) for name in self._coordinates]], dtype=torch.float64, device="cpu"
            )
            return Points(point, self._coordinates, torch.ones_like(point[:, 0]), 1.0, lambda n, seed: point)
        return Points(
            with_fixed(inside.points),
            self._coordinates,
            inside.weights,
            inside.volume,
            lambda n, seed: with_fixed(inside.drawn(n, seed)),
        )

    def _columns(self, points: Any, name: str) -> Tensor:
        """Plain points, columns in the order of the coordinates."""
        labels = list(getattr(points, "labels", None) or self._coordinates)
        missing = [c for c in self._coordinates if c not in labels]
        if missing:
            raise InputError(
                f"condition {name!r}: its points have the labels {', '.join(labels)}, without {missing[0]}."
            )
        plain = points.as_subclass(Tensor) if isinstance(points, Tensor) else torch.as_tensor(points, device="cpu")
        return plain.detach().double()[:, [labels.index(c) for c in self._coordinates]]


def _parts(domain: Any) -> list[Any]:
    """The domains of a union, or the domain itself."""
    several = getattr(domain, "geometries", None)
    return (
        [part for one in several for part in _parts(one)] if several and type(domain).__name__ == "Union" else [domain]
    )


def _free(domain: Any) -> dict[str, Any]:
    """Coordinates that vary, with their intervals; PINA has called the attribute by both names."""
    return dict(getattr(domain, "_range", None) or getattr(domain, "range_", None) or {})


def _fixed(domain: Any) -> dict[str, Any]:
    return dict(getattr(domain, "_fixed", None) or getattr(domain, "fixed_", None) or {})


def _is_box(domain: Any, coordinates: tuple[str, ...]) -> bool:
    """Whether a domain is the product of intervals and numbers."""
    return "Cartesian" in type(domain).__name__ and set(_free(domain)) | set(_fixed(domain)) == set(coordinates)
