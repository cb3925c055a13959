"""What a forward pass shows of each layer: what it is given, what its units return, and with what slope."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.outputs import Layered, Sampled, n_samples_of

PASS_SAMPLES = 1024  # Samples of one forward pass.
PROJECTIONS = 8  # Random projections over the samples that tell one unit from another.

UNIT_AXES: dict[type[nn.Module], int] = {
    nn.Linear: -1,
    nn.Conv1d: -2,
    nn.Conv2d: -3,
    nn.Conv3d: -4,
    nn.ConvTranspose1d: -2,
    nn.ConvTranspose2d: -3,
    nn.ConvTranspose3d: -4,
}
"""Kinds of layers whose units are watched, and the axis of the units in what they return."""
WATCHED_ACTIVATIONS: frozenset[type[nn.Module]] = frozenset(
    {
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Softplus,
        nn.Tanh,
        nn.Sigmoid,
        nn.Hardtanh,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.LogSigmoid,
        nn.Softsign,
        nn.Softshrink,
        nn.Hardshrink,
    }
)
"""Elementwise activations, whose slope says whether a unit is idle."""
CARRIERS: frozenset[type[nn.Module]] = frozenset(
    {
        nn.Identity,
        nn.Dropout,
        nn.LayerNorm,
        nn.RMSNorm,
        nn.GroupNorm,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.InstanceNorm1d,
        nn.InstanceNorm2d,
        nn.InstanceNorm3d,
    }
)
"""Modules between a layer and its activation whose units are those of the layer."""


class WatchedMap(Layered, Sampled, Protocol):
    """A map of samples whose layers can be looked at."""


@dataclass(frozen=True)
class LayerSummary:
    """What was seen of a layer: extremes over samples and positions, (units,), and random projections over them.

    Attributes:
        signature: `Σ h a`, (PROJECTIONS, units); a the unit's output, before the activation where that is functional.
        square: `Σ a²`.
        highest, nearest: max z and min |z| of what the layer returned.
        loudest, steepest: max |a| and max |slope|, or None where no activation module was called.
        final: whether these are the outputs of the model.
    """

    signature: Tensor
    square: Tensor
    highest: Tensor
    nearest: Tensor
    loudest: Tensor | None = None
    steepest: Tensor | None = None
    final: bool = False

    def joined(self, other: "LayerSummary") -> "LayerSummary":
        """Of more samples, or of another call."""
        return LayerSummary(
            self.signature + other.signature,
            self.square + other.square,
            torch.maximum(self.highest, other.highest),
            torch.minimum(self.nearest, other.nearest),
            _larger(self.loudest, other.loudest),
            _larger(self.steepest, other.steepest),
            self.final or other.final,
        )


def watched_layers(maps: Sequence[WatchedMap], theta: Theta) -> dict[str, LayerSummary]:
    """Every layer that was called, seen on all samples."""
    watch = LayerWatch(maps[0].model)
    for outputs in maps:
        n_samples = n_samples_of(outputs.inputs)
        for start in range(0, n_samples, PASS_SAMPLES):
            chunk = list(range(start, min(start + PASS_SAMPLES, n_samples)))
            with watch.watching(), torch.no_grad():
                watch.close(outputs.at(chunk)(theta))
    return watch.layers


class LayerWatch:
    """Hooks on layers and activations; they are gone after `watching`, whatever happens.

    Attributes:
        layers: what was seen, by the name of the layer.
        inputs: what each layer was called on first.
    """

    def __init__(self, model: nn.Module) -> None:
        kinds = {*UNIT_AXES, *WATCHED_ACTIVATIONS, *CARRIERS}
        self.modules = {name: m for name, m in model.named_modules() if type(m) in kinds}
        self.generator = torch.Generator().manual_seed(0)
        self.layers = dict[str, LayerSummary]()
        self.inputs = dict[str, Tensor]()
        self._source = dict[int, tuple[str, int, Tensor]]()  # id of a tensor → the layer whose units it holds
        self._inputs = list[Tensor]()
        self._calls = list[tuple[str, int, Tensor, LayerSummary]]()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches the calls inside the block."""
        handles = [m.register_forward_pre_hook(self._before, with_kwargs=True) for m in self.modules.values()]
        handles += [m.register_forward_hook(self._after_of(n), with_kwargs=True) for n, m in self.modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._source.clear()
            self._inputs.clear()
            self._calls.clear()

    def close(self, outputs: Tensor) -> None:
        """Takes in what the forward pass showed."""
        for layer, _, returned, summary in self._calls:
            same_size = returned.numel() == outputs.numel()
            final = same_size and bool(torch.equal(returned.reshape(-1), outputs.reshape(-1)))
            summary = replace(summary, final=final)
            before = self.layers.get(layer)
            self.layers[layer] = summary if before is None else before.joined(summary)

    def _before(self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        inputs = args[0] if args else kwargs["input"]
        self._inputs.append(inputs.detach().clone() if type(module) in WATCHED_ACTIVATIONS else inputs)

    def _after_of(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor], Tensor], None]:
        def after(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], returned: Tensor) -> None:
            inputs, source = self._inputs.pop(), args[0] if args else kwargs["input"]
            layer = self._source.get(id(source))
            if type(module) in UNIT_AXES:
                self._layer(name, UNIT_AXES[type(module)], inputs, returned)
            elif layer is not None and type(module) in WATCHED_ACTIVATIONS:
                self._activation(layer[0], layer[1], module, inputs, returned)
            elif layer is not None:
                self._source[id(returned)] = (layer[0], layer[1], returned)

        return after

    def _layer(self, name: str, axis: int, inputs: Tensor, returned: Tensor) -> None:
        self.inputs.setdefault(name, inputs.detach())
        self._source[id(returned)] = (name, axis, returned)
        z = _by_unit(returned, axis)
        summary = LayerSummary(*self._projected(z), z.amax(0), z.abs().amin(0))
        self._calls.append((name, axis, returned.clone(), summary))

    def _activation(self, layer: str, axis: int, module: nn.Module, inputs: Tensor, returned: Tensor) -> None:
        slope, a = _by_unit(_slope(module, inputs), axis), _by_unit(returned, axis)
        place = max(i for i, call in enumerate(self._calls) if call[0] == layer)
        summary = self._calls[place][3]
        steepest, loudest = slope.abs().amax(0), a.abs().amax(0)
        signature, square = self._projected(a)
        if summary.steepest is not None:  # two activations of one tensor: a unit is idle only if it is behind both
            signature, square = signature + summary.signature, square + summary.square
        summary = replace(
            summary,
            signature=signature,
            square=square,
            loudest=loudest if summary.loudest is None else torch.maximum(loudest, summary.loudest),
            steepest=steepest if summary.steepest is None else torch.maximum(steepest, summary.steepest),
        )
        self._calls[place] = (layer, axis, returned.detach(), summary)

    def _projected(self, a: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.randn(PROJECTIONS, len(a), generator=self.generator, dtype=torch.float64, device="cpu").to(a.device)
        return h @ a.double(), a.double().square().sum(0)


def _by_unit(tensor: Tensor, axis: int) -> Tensor:
    """`(samples × positions, units)`; one row for a layer that is called on a vector."""
    units_last = tensor.detach().movedim(axis, -1)
    return units_last.reshape(-1, units_last.shape[-1])


def _slope(module: nn.Module, z: Tensor) -> Tensor:
    """`f'(z)` of an elementwise activation; `forward` is called so that no hook fires."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        returned = module.forward(leaf.clone())
        return torch.autograd.grad(returned.sum(), leaf)[0]


def _larger(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The larger of both; None as soon as a call was not followed by an activation module."""
    return None if a is None or b is None else torch.maximum(a, b)
