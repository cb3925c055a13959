"""The streams of a module's fields by rule: jets go through its code."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._types import Operand, Theta
from geodescent.outputs._function import ModelFunction
from geodescent.outputs.streams._algebra import Streams
from geodescent.outputs.streams._columns_of_uses import FormedColumns, LayerColumns, Piece, PointLayout
from geodescent.outputs.streams._jet import Jet, NoRule, Tape, Use

IN_CACHE = 2**17  # Numbers of a layer's streams along a line, 1 MB in float64, which stay in the processor's cache.
FEWEST_AT_ONCE = 64  # Points: of fewer the calls take longer than the work.


@dataclass(frozen=True)
class StreamsByJets:
    """`θ ↦` streams of the fields at points, (S, P, N, F), one forward pass.

    Attributes:
        function: the module, which is called on coordinates.
        points: (P, N, d).
        streams: which derivatives.
        layout: of samples in what layers see.

    Methods raise `NoRule` where the module uses an operation that jets do not know.
    """

    function: ModelFunction
    points: Tensor
    streams: Streams
    layout: PointLayout

    def values(self, theta: Theta) -> Tensor:
        """Without a graph."""
        return self._called(self.function.views(theta), Tape())

    def traced(self, theta: Theta) -> Tensor:
        """With the graph that leads to θ."""
        views = self.function.views(theta)
        return self._called(views, Tape(parameters={id(view): view for view in views.values()}, traced=True))

    def recorded(self, theta: Theta) -> "tuple[Tensor, RecordOfJets]":
        """With a graph that leads to what layers return, and the record of these."""
        leaves = self.function.leaves(theta)
        tape = Tape(parameters={id(leaf): leaf for leaf in leaves.values()})
        with torch.enable_grad():
            values = self._called(leaves, tape)
        return values, RecordOfJets(self, tape.uses, {id(leaf): name for name, leaf in leaves.items()})

    def along_line(self, theta: Theta, direction: Theta) -> tuple[Tensor, Tensor, Tensor]:
        """The streams and their first and second derivatives by s at θ + s·direction."""
        views, moved = self.function.views(theta), self.function.views(direction)
        tape = Tape(directions={id(view): moved[name] for name, view in views.items()})
        widest = max(place.shape[0] for place in self.function.parameters if place.shape)
        few = max(FEWEST_AT_ONCE, IN_CACHE // (self.streams.along_line.n_streams * widest * len(self.points)))
        chunks = [replace(self, points=points)._called(views, tape) for points in torch.split(self.points, few, 1)]
        found, n = torch.cat(chunks, 2), self.streams.n_points
        if len(found) == n:
            return found, torch.zeros_like(found), torch.zeros_like(found)
        return found[:n], found[n : 2 * n], found[2 * n :]

    def _called(self, parameters: dict[str, Tensor], tape: Tape) -> Tensor:
        coordinates: Operand = Jet(_seeded(self.streams, self.points.flatten(0, 1)), self.streams, tape)
        fields = self.function.standing_at(parameters, lambda: self.function.called(coordinates))
        if not isinstance(fields, Jet):
            raise NoRule("something that returns no field")
        return torch.unflatten(fields.data, 1, self.points.shape[:2])


@dataclass(frozen=True)
class RecordOfJets:
    """The uses of parameters in one forward pass.

    Attributes:
        source: whose pass it was.
        uses: in order.
        names: of the parameters, by their id.
    """

    source: StreamsByJets
    uses: list[Use]
    names: dict[int, str]

    @property
    def nodes(self) -> list[Tensor]:
        """What cotangents are wanted of."""
        return [use.outputs for use in self.uses]

    def pieces(self, gradients: list[Tensor]) -> list[Piece]:
        """The columns of D of each use, from the cotangents (Q, S, P·N, …, o) of what it returned."""
        return [self._piece(use, g) for use, g in zip(self.uses, gradients, strict=True)]

    def _piece(self, use: Use, g: Tensor) -> Piece:
        layout, function = self.source.layout, self.source.function
        places = {place.name: place for place in function.parameters}
        own = [None if p is None else self.names[id(p)] for p in (use.weight, use.bias)]
        weight, bias = (None if name is None else function.entries(places[name]) for name in own)
        label = next(name for name in own if name is not None).rpartition(".")[0]
        if use.weight is not None and use.weight.dim() == 2:
            values, inputs = layout.positions(g), layout.positions(use.inputs[None])[:, 0]
            weight = weight.T if weight is not None and use.turned else weight
            return LayerColumns(inputs, values, values.shape[2] // self.source.streams.n_points, weight, bias, label)
        if use.weight is None and use.bias is not None and use.bias.dim() == 1 and use.bias.shape[0] == g.shape[-1]:
            values = layout.positions(g)
            none = values.new_zeros(len(values), values.shape[2], 0)
            return LayerColumns(none, values, values.shape[2] // self.source.streams.n_points, None, bias, label)
        parameter, entries = (use.weight, weight) if use.weight is not None else (use.bias, bias)
        assert parameter is not None and entries is not None
        by_sample = layout.by_sample(g * use.inputs if use.weight is not None else g[:, :1]).sum(2)
        shape = (*by_sample.shape[:2], *(1,) * (by_sample.dim() - 2 - parameter.dim()), *parameter.shape)
        return FormedColumns(by_sample.sum_to_size(shape), entries, label)


def _seeded(streams: Streams, points: Tensor) -> Tensor:
    """The streams of the coordinates themselves, (S, N, d): the value, and 1 in the derivative by itself."""
    data = points.new_zeros(streams.n_points, *points.shape)
    data[0] = points
    for place, derivative in enumerate(streams.derivatives):
        if len(derivative) == 1:
            data[place, :, derivative[0]] = 1.0
    return data
