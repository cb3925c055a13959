"""The units of a network's data: of each input column of its first layers, and of its targets."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.metric._end_layers import EndLayers, entries_of, input_columns, over_weight
from geodescent.metric._units import target_unit, unit_of
from geodescent.outputs import NetworkMap
from geodescent.problem import Problem, RowBlock, require_squares


@dataclass(frozen=True)
class LayerUnits:
    """The units of what the layers at both ends see.

    Attributes:
        outputs: a map through the network.
        layers: first and last.
        inputs: name of a first layer → the unit of each of its input columns, (d,), float64.
        target: the unit of y − ȳ; 1 where no linear layer returns the outputs.
    """

    outputs: NetworkMap
    layers: EndLayers
    inputs: dict[str, Tensor]
    target: float

    @classmethod
    def of(cls, problem: Problem) -> "LayerUnits | None":
        """From all blocks that are maps of one network on samples; None where there is none.

        Raises: InputError, for inputs whose squares leave the range of float64.
        Cost: a forward pass, where a first layer is not called on the samples themselves.
        """
        blocks = network_blocks(problem)
        if not blocks:
            return None
        outputs, theta = blocks[0].map, problem.theta
        assert isinstance(outputs, NetworkMap)
        layers = EndLayers.of(outputs, theta)
        maps = [block.map for block in blocks if isinstance(block.map, NetworkMap)]
        parts = [input_columns(network, theta, layers, is_own=network is outputs) for network in maps]
        columns = {name: torch.cat([part[name] for part in parts if name in part]) for name in layers.first}
        for name, values in columns.items():
            require_squares(values, f"the input of layer {name}" if name else "X")
        inputs = {name: unit_of(values) for name, values in columns.items()}
        target = 1.0 if layers.last is None else target_unit(blocks)
        return cls(outputs, layers, inputs, target)

    @property
    def are_ones(self) -> bool:
        """Whether all data are of order one."""
        return self.target == 1.0 and all(bool((unit == 1.0).all()) for unit in self.inputs.values())

    def squares(self, theta: Theta) -> Theta:
        """M of the layers, (K,): `u(a_d)²` for column d of a first layer, `u(y − ȳ)⁻²` for the last; 1 elsewhere."""
        metric = torch.ones(len(theta), dtype=torch.float64, device=theta.device)
        for name, unit in self.inputs.items():
            layer = self.layers.first[name]
            where = entries_of(self.outputs, _weight(layer))
            if where is not None:
                metric[where] *= over_weight(unit, layer).reshape(-1).square()
        if self.layers.last is not None:
            for parameter in (self.layers.last.weight, self.layers.last.bias):
                where = entries_of(self.outputs, parameter)
                if where is not None:
                    metric[where] /= self.target**2
        return metric


def network_blocks(problem: Problem) -> list[RowBlock]:
    """The blocks whose rows are outputs of the first such block's module."""
    models = [block.map.model if isinstance(block.map, NetworkMap) else None for block in problem.blocks]
    first = next((model for model in models if model is not None), None)
    return [block for block, model in zip(problem.blocks, models, strict=True) if model is not None and model is first]


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight
