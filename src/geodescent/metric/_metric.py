"""The metric M of the parameters, diagonal, and how it follows the path."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules import container

from geodescent._types import Theta
from geodescent.jacobian import Jacobian, column_squares
from geodescent.linalg import norm, row_total
from geodescent.metric._layer_units import LayerUnits
from geodescent.outputs import OfModule, Parametrised, alone
from geodescent.problem import Problem

CONTAINERS = tuple(kind for kind in vars(container).values() if isinstance(kind, type) and issubclass(kind, nn.Module))
IN_LAYERS = -1  # The group of entries whose M is fixed by the data.
MOST_BY_COLUMN = 64  # Parameters: more of them outside of layers are a network written as a formula.
COARSE = 12.0  # Decades of ‖B_j‖² to which the units of so many parameters are rounded.


@dataclass(frozen=True)
class Metric:
    """`‖v‖²_M = Σ_j M_j v_j²`, by what a parameter is.

    - Of a parameter outside of layers M_j is the largest ‖B_j‖² on the path so far, as in MINPACK: scalars and vectors
      by entry, tensors of more axes by their mean. Beside layers it is counted in the mean ‖B_j‖² of their columns,
      and only scalars have one. More than `MOST_BY_COLUMN` parameters are those of a network, which a unit for each
      column would slow down: theirs is ‖B_j‖² over the median at the first point, to twelve decades, so that only units
      that somebody chose count.
    - Of a layer M is fixed by the data: `u(a_d)²` for input column d of a first layer, `u(y − ȳ)⁻²` for the last layer
      where it returns the outputs, u the nearest power of ten; 1 for all other layers, and for data of order one.

    Attributes:
        diagonal: M, (K,), float64; 0 where nothing is known yet, which counts as 1. None for ones.
        groups: (K,), which entries share one M_j; `IN_LAYERS` for those that are fixed. None where all are.
        unit: the square in which ‖B_j‖² is counted; None before it is known.

    Source: Moré, *The Levenberg–Marquardt algorithm* (1978), for the running maximum; docs/decisions.md for the rest.
    """

    diagonal: Theta | None = None
    groups: Tensor | None = None
    unit: float | None = 1.0

    @classmethod
    def of(cls, problem: Problem, units: LayerUnits | None = None) -> "Metric":
        """Before the first linearisation.

        Args:
            units: of the problem's data, where they are known already.
        """
        groups = _groups(problem)
        units = LayerUnits.of(problem) if units is None else units
        fixed = None if units is None or units.are_ones else units.squares(problem.theta)
        if groups is None:
            return cls(fixed)
        outside = groups != IN_LAYERS
        if not bool(outside.any()):
            return cls(fixed)
        diagonal = torch.ones(len(groups), dtype=torch.float64, device=groups.device) if fixed is None else fixed
        metric = cls(diagonal.masked_fill(outside, 0.0), groups, None)
        return metric if metric.is_coarse or not metric.is_by_columns else replace(metric, unit=1.0)

    def following(self, jacobian: Jacobian) -> "Metric":
        """M with what this point adds: the largest ‖B_j‖² so far."""
        if self.groups is None or self.diagonal is None:
            return self
        outside = self.groups != IN_LAYERS
        squares = column_squares(jacobian, outside).double()
        count = torch.zeros_like(squares).index_add_(0, self.groups[outside], torch.ones_like(squares[outside]))
        sums = torch.zeros_like(squares).index_add_(0, self.groups[outside], squares[outside])
        unit = self._first_unit(jacobian, squares[outside]) if self.unit is None else self.unit
        here = (sums / count.clamp_min(1.0))[self.groups.clamp_min(0)] / unit
        known = outside & torch.isfinite(here)
        if self.is_coarse:
            known, here = known & (self.diagonal == 0.0), _coarse(here)
        return replace(self, diagonal=torch.where(known, self.diagonal.maximum(here), self.diagonal), unit=unit)

    @property
    def is_coarse(self) -> bool:
        """Whether the parameters outside of layers are so many that they are those of a network."""
        return self.groups is not None and int((self.groups != IN_LAYERS).sum()) > MOST_BY_COLUMN

    def _first_unit(self, jacobian: Jacobian, squares: Tensor) -> float:
        """The square in which others are counted: the mean of layers' columns, or the median of many parameters'."""
        assert self.groups is not None
        if not self.is_by_columns:
            return _mean_inside(jacobian, self.groups == IN_LAYERS)
        some = squares[torch.isfinite(squares) & (squares > 0.0)]
        return float(some.median()) if len(some) else 1.0

    @property
    def is_by_columns(self) -> bool:
        """Whether no parameter belongs to a layer, so that M follows the columns of D alone."""
        return self.groups is not None and not bool((self.groups == IN_LAYERS).any())

    @property
    def squares(self) -> Theta | None:
        """M, (K,), all positive; None for ones."""
        return None if self.diagonal is None else torch.where(self.diagonal > 0.0, self.diagonal, 1.0)

    @property
    def column_scale(self) -> Theta | None:
        """`M^{−½}`, (K,), of the columns of D; None for ones."""
        squares = self.squares
        return None if squares is None else squares.rsqrt()

    @property
    def sentence(self) -> str | None:
        """What the units of the parameters are; None where M = 1."""
        if self.diagonal is None:
            return None
        if self.is_by_columns:
            return "each parameter in the unit in which its column of D has length 1"
        if self.groups is None:
            return "weights in units that inputs and targets of order 1 would give them"
        return "weights as for inputs and targets of order 1, other parameters by the lengths of their columns of D"

    def length(self, velocity: Theta) -> float:
        """`‖v‖_M`."""
        squares = self.squares
        return norm(velocity if squares is None else velocity * squares.to(velocity.dtype).sqrt())


EUCLIDEAN = Metric()


def _groups(problem: Problem) -> Tensor | None:
    """(K,): which entries of θ share one M_j; `IN_LAYERS` for those of layers. None where all are."""
    shared = next(_named(problem), None)
    if shared is None:
        return torch.arange(problem.n_params, device=problem.device)
    inside, parameters = set[int](), list(shared.parameters().values())
    if isinstance(shared, OfModule):
        with alone(shared.model):
            inside, parameters = {id(p) for p in _of_layers(shared.model)}, list(shared.parameters().values())
    if all(id(p) in inside for p in parameters):
        return None
    groups = torch.full((problem.n_params,), IN_LAYERS, dtype=torch.long, device=problem.device)
    mixed, offset = any(id(p) in inside for p in parameters), 0
    for parameter in parameters:
        where = slice(offset, offset + parameter.numel())
        offset += parameter.numel()
        if id(parameter) in inside or (mixed and parameter.numel() > 1):
            continue
        if parameter.dim() > 1:
            groups[where] = where.start
        else:
            groups[where] = torch.arange(where.start, where.stop, device=problem.device)
    return groups


def _named(problem: Problem) -> Iterator[Parametrised]:
    """The maps with named parameters, those of modules first."""
    maps = [b.map for b in problem.blocks if isinstance(b.map, Parametrised) and b.map.parameters()]
    yield from sorted(maps, key=lambda outputs: not isinstance(outputs, OfModule))


def _of_layers(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of torch's own layers, with those of modules inside of them."""
    for module in model.modules():
        kinds = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules.")]
        if any(kind is not nn.Module and kind not in CONTAINERS for kind in kinds):
            yield from module.parameters()


def _coarse(squares: Tensor) -> Tensor:
    """The power of 10^12 nearest to each square, 0 for 0: lengths to six decades."""
    exponent = (squares.log10() / COARSE).round() * COARSE
    return torch.where(squares > 0.0, 10.0**exponent, 0.0)


def _mean_inside(jacobian: Jacobian, inside: Tensor) -> float:
    """The mean ‖B_j‖² of the columns of layers."""
    total = 0.0
    for block in jacobian.blocks:
        for piece in block.columns:
            if bool(inside[piece.index].all()):
                total += row_total(piece.row_squares().reshape(-1))
    mean = total / max(1, int(inside.sum()))
    return mean if 0.0 < mean < math.inf else 1.0
