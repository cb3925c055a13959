"""The residual of an equation at points as an output map: derivative streams in, rows of D out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Block, BlockJacobian, Columns, merged
from geodescent.outputs._function import ModelFunction, ModuleMap
from geodescent.outputs._parameters import parameters_of
from geodescent.outputs.streams._algebra import Streams
from geodescent.outputs.streams._by_autograd import StreamsByAutograd
from geodescent.outputs.streams._by_jets import StreamsByJets
from geodescent.outputs.streams._columns_of_uses import FormedColumns, Piece, PointLayout, formed
from geodescent.outputs.streams._jet import NoRule
from geodescent.outputs.streams._made_up import made_up_number, made_up_streams

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
        unknowns: (name, name in the module), of the coefficients that are parameters of it.
        total: whether the rows are summed over the points, to one row.
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
    Modules with operations that have no rule for streams go by `torch.func`, and `notes` says so.

    Args:
        model: coordinates (N, d) → fields (N, F).
        points: (N, d), or (P, N, d) for equations of P points each.
        equation: at these points.
        elsewhere: other points → the equation there; None where it holds at these points alone.
        drawn: (n, seed) → other points; None where there are no others.
        folded: points → points, the same for those where the fields are the same, as one period apart; None for itself.
    """

    def __init__(
        self,
        model: nn.Module,
        points: Tensor,
        equation: Equation,
        elsewhere: Callable[[Tensor], Equation] | None = None,
        drawn: Callable[[int, int], Tensor] | None = None,
        folded: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.equation, self._elsewhere, self._drawn, self._folded = equation, elsewhere, drawn, folded
        self.points = points if points.dim() == 3 else points[None]
        self.places = {place.name: place for place in parameters_of(model)}
        self.function = ModelFunction(model, tuple(self.places.values()), None, points.dtype, points.device)
        self.n_samples = 1 if equation.total else self.points.shape[1]
        self.output_shape = (equation.n_equations,)
        self.notes, self.converted = list[str](), list[str]()
        layout = PointLayout(self.points.shape[1], equation.total)
        self._streams: StreamsByJets | StreamsByAutograd
        self._streams = StreamsByJets(self.function, self.points, equation.streams, layout)
        try:
            self._n_fields = self._streams.recorded(self.theta)[0].shape[-1]
        except NoRule as error:
            self._streams = StreamsByAutograd(self.function, self.points, equation.streams, layout).checked()
            self._n_fields = self._require_bends(self._streams.values(self.theta)).shape[-1]
            self.notes.append(
                f"The network uses {error}, which has no rule for derivatives by coordinates: all derivatives are "
                "taken by torch.func, which is slower."
            )
        self._layout = layout

    def _require_bends(self, values: Tensor) -> Tensor:
        """The streams. Raises InputError, where those of second and higher order are zero at all points."""
        orders = self.equation.streams.orders
        high = [values[k] for k, order in enumerate(orders) if order > 1]
        if high and not any(bool((stream != 0.0).any()) for stream in high):
            raise InputError(
                "all derivatives of the network of second order are zero, as its functions are straight between kinks, "
                "so that it satisfies no equation of second order: take tanh, sin, GELU, SiLU or softplus instead."
            )
        return values

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
            return self._rows(self._streams.values(theta), self._unknowns(theta))

    def traced(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q), with the graph that leads to θ."""
        return self._rows(self._streams.traced(theta), self._unknowns(theta))

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, BlockJacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one forward pass, Q backward passes."""
        theta = self.theta if theta is None else theta
        with torch.enable_grad():
            streams, record = self._streams.recorded(theta)
            unknowns = {name: u.clone().requires_grad_() for name, u in self._unknowns(theta.detach()).items()}
            rows = self.equation.rows(streams, unknowns)
        gradients = self._gradients(rows, [*record.nodes, *unknowns.values()])
        pieces = record.pieces(gradients[: len(record.nodes)])
        for (name, own), g in zip(self.equation.unknowns, gradients[len(record.nodes) :], strict=True):
            values = self._layout.positions(g[:, None, :, None]).sum(2)
            pieces.append(FormedColumns(values, self.function.entries(self.places[own]).reshape(1), name))
        block = Block(tuple(self._columns(pieces)), self.n_samples, self.n_outputs)
        return self._summed(rows.detach()), BlockJacobian((block,), self.n_params, self.dtype, self.device)

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, (N, Q), exact: s is one more coordinate of the forward pass."""
        with torch.no_grad():
            value, slope, bend = self._streams.along_line(theta, direction)
        with torch.enable_grad():
            s = torch.zeros(self.points.shape[1], dtype=self.dtype, device=self.device, requires_grad=True)
            along = s[:, None]
            moved = self._unknowns(direction)
            unknowns = {name: u + s * moved[name] for name, u in self._unknowns(theta).items()}
            rows = self.equation.rows(value + along * slope + (0.5 * along * along) * bend, unknowns)
            columns = [_second(rows[:, q].sum(), s) for q in range(self.n_outputs)]
        return self._summed(torch.stack(columns, 1))

    @property
    def can_draw(self) -> bool:
        """Whether the equation holds at other points too, and these can be drawn."""
        return self._drawn is not None and self._elsewhere is not None and not self.equation.total

    def fresh(self, seed: int) -> "ResidualMap | None":
        """The same equation at as many other points; None where no others can be drawn."""
        if not self.can_draw:
            return None
        return self.on(self.drawn(self.points.shape[1], seed))

    def drawn(self, n: int, seed: int) -> Tensor:
        """Other points of the same set, (P, n, d). Raises InputError, where there are none."""
        if self._drawn is None:
            raise InputError("no other points can be drawn: pass points of a pde.Box.")
        return self._drawn(n, seed)

    def on(self, points: Tensor) -> "ResidualMap":
        """The same equation at other points, (N, d) or (P, N, d).

        Raises: InputError, where the equation holds at its own points alone.
        """
        if self._elsewhere is None:
            raise InputError("this equation belongs to its points: its target was measured there.")
        return ResidualMap(self.model, points, self._elsewhere(points), self._elsewhere, self._drawn, self._folded)

    @property
    def locations(self) -> Tensor:
        """(N, P·d), where rows look; (1, P·N·d) of a total."""
        points = self._folded_points
        return points.reshape(1, -1) if self.equation.total else points.movedim(1, 0).flatten(1)

    @property
    def _folded_points(self) -> Tensor:
        return self.points if self._folded is None else self._folded(self.points)

    def at_made_up_values(self, draw: int) -> Outputs:
        """The rows, (N, Q), of made-up fields, which are functions of the place alone."""
        streams = made_up_streams(self.equation.streams, self._folded_points, self._n_fields, draw)
        of_each = {name: made_up_number(name, draw) for name, _ in self.equation.unknowns}
        n = self.points.shape[1]
        with torch.no_grad():
            return self._rows(streams, {name: streams.new_full((n,), value) for name, value in of_each.items()})

    def layers(self) -> dict[str, Tensor]:
        """Name → entries of θ, of the module's parameters by the layer that holds them."""
        by_layer = dict[str, list[Tensor]]()
        for name, place in self.places.items():
            by_layer.setdefault(name.rpartition(".")[0], []).append(self.function.entries(place).reshape(-1))
        return {layer: torch.cat(entries) for layer, entries in by_layer.items()}

    def is_linear(self) -> bool:
        """Not known: a residual is affine in θ only for linear equations and linear networks."""
        return False

    def _unknowns(self, theta: Theta) -> dict[str, Tensor]:
        """The coefficients at each point, (N,)."""
        n = self.points.shape[1]
        return {name: theta[self.places[own].entries].expand(n) for name, own in self.equation.unknowns}

    def _rows(self, streams: Tensor, unknowns: dict[str, Tensor]) -> Outputs:
        return self._summed(self.equation.rows(streams, unknowns))

    def _summed(self, rows: Tensor) -> Tensor:
        return rows.sum(0, keepdim=True) if self.equation.total else rows

    def _gradients(self, rows: Tensor, wanted: list[Tensor]) -> list[Tensor]:
        """Those of the rows of each equation, (Q, *shape), for each tensor that is wanted."""
        by_equation = list[list[Tensor]]()
        for q in range(self.n_outputs):
            total, again = rows[:, q].sum(), q < self.n_outputs - 1
            found: tuple[Tensor | None, ...] = (None,) * len(wanted)
            if total.requires_grad:
                found = torch.autograd.grad(total, wanted, retain_graph=again, allow_unused=True)
            by_equation.append([torch.zeros_like(w) if g is None else g for g, w in zip(found, wanted, strict=True)])
        if self.n_outputs == 1:
            return [g[None] for g in by_equation[0]]
        return [torch.stack(parts) for parts in zip(*by_equation, strict=True)]

    def _columns(self, pieces: list[Piece]) -> list[Columns]:
        """Formed at once where D is small, for then every lift reads its rows; uses of the same parameters as one."""
        if self.n_samples * self.n_outputs * self.n_params <= FORMED:
            return [formed(pieces, self.n_params)]
        groups = dict[tuple[int, ...], list[Columns]]()
        for piece in pieces:
            columns = piece.columns()
            groups.setdefault((*columns.index.shape, int(columns.index.reshape(-1)[0])), []).append(columns)
        return [merged(columns) for columns in groups.values()]


def _second(total: Tensor, s: Tensor) -> Tensor:
    """d²/ds², per point; zero where the total does not depend on s, or only linearly."""
    if not total.requires_grad:
        return torch.zeros_like(s)
    (slope,) = torch.autograd.grad(total, s, create_graph=True, allow_unused=True)
    if slope is None or not slope.requires_grad:
        return torch.zeros_like(s)
    (bend,) = torch.autograd.grad(slope.sum(), s, retain_graph=True, allow_unused=True)
    return torch.zeros_like(s) if bend is None else bend.detach()
