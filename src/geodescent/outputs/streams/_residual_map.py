"""The residual of an equation at points as an output map: derivative streams in, rows of D out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._types import Outputs, Theta
from geodescent.jacobian import (
    Block,
    BlockJacobian,
    Columns,
    merged,
)
from geodescent.outputs._function import ModelFunction, ModuleMap
from geodescent.outputs._parameters import Parameter, parameters_of
from geodescent.outputs.streams._algebra import Streams
from geodescent.outputs.streams._columns_of_uses import FormedColumns, LayerColumns, Layout, Piece, formed
from geodescent.outputs.streams._jet import Jet, Tape, Use

FORMED = 2**24  # Numbers of D, 128 MB in float64: up to here its rows are formed.

Rows = Callable[[Tensor, dict[str, Tensor]], Tensor]
"""(streams of the fields (S, P, N, F), unknowns, each (N,)) → residuals (N, Q)."""


@dataclass(frozen=True)
class Equation:
    """One equation or several, at points.

    Attributes:
        rows: what is to vanish, or to equal the target; each row of its own points and of the unknowns alone.
        streams: the derivatives of the fields that it reads.
        n_equations: Q.
        unknowns: name → name in the module, of the coefficients that are parameters of it.
        total: the rows are summed over the points: one row.
    """

    rows: Rows
    streams: Streams
    n_equations: int
    unknowns: tuple[tuple[str, str], ...] = ()
    total: bool = False


class ResidualMap(ModuleMap):
    """`x_i[θ] = R(u, ∂u, …; x_i)`: the residual of an equation for the fields u that a module gives at points.

    One forward pass carries all derivatives by coordinates; one backward pass an equation gives the cotangents of all
    layers, for rows of different points are independent. Layers go by rule, streams being positions of a sample.

    Args:
        model: coordinates (N, d) → fields (N, F), by operations that `Jet` has rules for.
        points: (N, d), or (P, N, d) for equations of P points each.
        equation: at these points.

    Raises:
        NoRule: the module uses an operation without a rule for streams.
    """

    def __init__(self, model: nn.Module, points: Tensor, equation: Equation) -> None:
        self.equation = equation
        self.points = points if points.dim() == 3 else points[None]
        places = parameters_of(model)
        self.function = ModelFunction(model, places, None, self.points.dtype, self.points.device)
        self.n_samples = 1 if equation.total else self.points.shape[1]
        self.output_shape = (equation.n_equations,)
        self._layout = Layout(self.points.shape[1], equation.total)
        self._coordinates = _seeded(equation.streams, self.points.flatten(0, 1))
        self._places = {place.name: place for place in places}

    @property
    def theta(self) -> Theta:
        """The module's own parameters, a flat copy (K,)."""
        return self.function.theta

    def parameters(self) -> dict[str, Tensor]:
        """The module's own parameters by name, in the order of θ."""
        return self.function.own()

    def write(self, theta: Theta) -> None:
        """Copies θ into the module's parameters."""
        self.function.write(theta)

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q); one forward pass."""
        with torch.no_grad():
            return self._residual(theta, Tape(), traced=False)

    def traced(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q), with the graph that leads to θ."""
        return self._residual(theta, Tape(traced=True), traced=True)

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, BlockJacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one forward pass, Q backward passes."""
        theta = self.theta if theta is None else theta
        leaves = self.function.leaves(theta)
        tape = Tape(parameters={id(leaf): leaf for leaf in leaves.values()})
        with torch.enable_grad():
            streams = self.function.standing_at(leaves, lambda: self._streams(tape))
            unknowns = {name: self._at_points(leaves[own].detach()) for name, own in self.equation.unknowns}
            for unknown in unknowns.values():
                unknown.requires_grad_()
            rows = self.equation.rows(streams, unknowns)
        gradients = self._gradients(rows, [*(use.outputs for use in tape.uses), *unknowns.values()])
        columns = self._columns(self._pieces(tape, gradients, leaves))
        block = Block(tuple(columns), self.n_samples, self.n_outputs)
        return self._summed(rows.detach()), BlockJacobian((block,), self.n_params, self.dtype, self.device)

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, (N, Q), exact: s is one more coordinate of the forward pass."""
        views, moved = self.function.views(theta), self.function.views(direction)
        tape = Tape(directions={id(view): moved[name] for name, view in views.items()})
        with torch.no_grad():
            by_line = self.function.standing_at(views, lambda: self._streams(tape, along_line=True))
        n = self.equation.streams.n_points
        value, slope, bend = by_line[:n], by_line[n : 2 * n], by_line[2 * n :]
        with torch.enable_grad():
            s = torch.zeros(self.points.shape[1], dtype=self.dtype, device=self.device, requires_grad=True)
            along = s[:, None]
            unknowns = {
                name: self._at_points(views[own].detach()) + s * self._at_points(moved[own])
                for name, own in self.equation.unknowns
            }
            rows = self.equation.rows(value + along * slope + (0.5 * along * along) * bend, unknowns)
            columns = [_second(rows[:, q].sum(), s) for q in range(self.n_outputs)]
        return self._summed(torch.stack(columns, 1))

    def layers(self) -> dict[str, Tensor]:
        """Name → entries of θ, of the module's parameters by the layer that holds them."""
        by_layer = dict[str, list[Tensor]]()
        for name in self._places:
            by_layer.setdefault(name.rpartition(".")[0], []).append(self._entries(name).reshape(-1))
        return {layer: torch.cat(entries) for layer, entries in by_layer.items()}

    def is_linear(self) -> bool:
        """Not known: a residual is affine in θ only for linear equations and linear networks."""
        return False

    def _residual(self, theta: Theta, tape: Tape, *, traced: bool) -> Outputs:
        views = self.function.views(theta)
        if traced:
            tape.parameters = {id(view): view for view in views.values()}
        streams = self.function.standing_at(views, lambda: self._streams(tape))
        unknowns = {name: self._at_points(views[own]) for name, own in self.equation.unknowns}
        return self._summed(self.equation.rows(streams, unknowns))

    def _streams(self, tape: Tape, *, along_line: bool = False) -> Tensor:
        """Of the fields, (S, P, N, F), or (3S, P, N, F)."""
        fields = self.model(Jet(self._coordinates, self.equation.streams, tape)).data
        wanted = self.equation.streams.n_points * (3 if along_line else 1)
        if len(fields) < wanted:
            fields = torch.cat([fields, fields.new_zeros(wanted - len(fields), *fields.shape[1:])])
        return torch.unflatten(fields, 1, self.points.shape[:2])

    def _at_points(self, unknown: Tensor) -> Tensor:
        expanded = unknown.reshape(()).expand(self.points.shape[1])
        return expanded if unknown.requires_grad else expanded.clone()

    def _summed(self, rows: Tensor) -> Tensor:
        return rows.sum(0, keepdim=True) if self.equation.total else rows

    def _gradients(self, rows: Tensor, wanted: list[Tensor]) -> list[Tensor]:
        """Those of the rows of each equation, (Q, *shape), for each tensor that is wanted."""
        by_equation = list[list[Tensor]]()
        for q in range(self.n_outputs):
            found = torch.autograd.grad(
                rows[:, q].sum(), wanted, retain_graph=q < self.n_outputs - 1, allow_unused=True
            )
            by_equation.append(
                [torch.zeros_like(w) if g is None else g for g, w in zip(found, wanted, strict=True)]
            )
        if self.n_outputs == 1:
            return [g[None] for g in by_equation[0]]
        return [torch.stack(parts) for parts in zip(*by_equation, strict=True)]

    def _pieces(self, tape: Tape, gradients: list[Tensor], leaves: dict[str, Tensor]) -> list[Piece]:
        """Of each use of parameters, then of each unknown; gradients (Q, S, P·N, …, o), of unknowns (Q, N)."""
        names, n_uses = {id(leaf): name for name, leaf in leaves.items()}, len(tape.uses)
        pieces = [self._piece(use, g, names) for use, g in zip(tape.uses, gradients[:n_uses], strict=True)]
        for (name, own), g in zip(self.equation.unknowns, gradients[n_uses:], strict=True):
            values = self._layout.positions(g[:, None, :, None]).sum(2)
            pieces.append(FormedColumns(values, self._entries(own).reshape(1), name))
        return pieces

    def _piece(self, use: Use, g: Tensor, names: dict[int, str]) -> Piece:
        own = [None if p is None else names[id(p)] for p in (use.weight, use.bias)]
        weight, bias = (None if name is None else self._entries(name) for name in own)
        label = next(name for name in own if name is not None).rpartition(".")[0]
        values = self._layout.positions(g)
        n_values = values.shape[2] // self.equation.streams.n_points
        if use.weight is None or use.weight.dim() == 2:
            inputs = self._layout.positions(use.inputs[None])[:, 0]
            weight = weight.T if weight is not None and use.turned else weight
            return LayerColumns(inputs, values, n_values, weight, bias, label)
        assert weight is not None
        by_sample = self._layout.by_sample(g * use.inputs).sum(2)
        shape = (*by_sample.shape[:2], *(1,) * (by_sample.dim() - 2 - weight.dim()), *weight.shape)
        return FormedColumns(by_sample.sum_to_size(shape), weight, label)

    def _columns(self, pieces: list[Piece]) -> list[Columns]:
        """Formed at once where D is small, for then every lift reads its rows; uses of the same parameters as one."""
        size = self.n_samples * self.n_outputs * self.n_params
        if size <= FORMED:
            return [formed(pieces, self.n_params)]
        groups = dict[tuple[int, ...], list[Columns]]()
        for piece in pieces:
            columns = piece.columns()
            groups.setdefault((*columns.index.shape, int(columns.index.reshape(-1)[0])), []).append(columns)
        return [merged(columns) for columns in groups.values()]

    def _entries(self, name: str) -> Tensor:
        return self.function.entries(self._places[name])


def _seeded(streams: Streams, points: Tensor) -> Tensor:
    """The streams of the coordinates themselves, (S, N, d): the value, and 1 in the derivative by itself."""
    data = points.new_zeros(streams.n_points, *points.shape)
    data[0] = points
    for place, derivative in enumerate(streams.derivatives):
        if len(derivative) == 1:
            data[place, :, derivative[0]] = 1.0
    return data


def _second(total: Tensor, s: Tensor) -> Tensor:
    """d²/ds², per point; zero where the total does not depend on s, or only linearly."""
    if not total.requires_grad:
        return torch.zeros_like(s)
    (slope,) = torch.autograd.grad(total, s, create_graph=True, allow_unused=True)
    if slope is None or not slope.requires_grad:
        return torch.zeros_like(s)
    (bend,) = torch.autograd.grad(slope.sum(), s, retain_graph=True, allow_unused=True)
    return torch.zeros_like(s) if bend is None else bend.detach()
