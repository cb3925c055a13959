"""What a forward pass shows of each layer: what it is fed, what its units say, and with what slope."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.outputs import SampleMap, take

CHUNK = 1024  # samples of one forward pass
PROJECTIONS = 8  # random projections that tell one unit from another

LAYERS: dict[type[nn.Module], int] = {  # → the axis of the units
    nn.Linear: -1,
    nn.Conv1d: -2,
    nn.Conv2d: -3,
    nn.Conv3d: -4,
    nn.ConvTranspose1d: -2,
    nn.ConvTranspose2d: -3,
    nn.ConvTranspose3d: -4,
}
ACTIVATIONS = frozenset({
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh,
    nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softsign, nn.Softshrink, nn.Hardshrink,
})  # fmt: skip
CARRIERS = frozenset({
    nn.Identity, nn.Dropout, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
})  # fmt: skip


@dataclass(frozen=True)
class Sight:
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

    def joined(self, other: "Sight") -> "Sight":
        """Seen on more samples, or at another call."""
        return Sight(
            self.signature + other.signature,
            self.square + other.square,
            torch.maximum(self.highest, other.highest),
            torch.minimum(self.nearest, other.nearest),
            _both(self.loudest, other.loudest),
            _both(self.steepest, other.steepest),
            self.final or other.final,
        )


def seen(maps: list[SampleMap], theta: Theta) -> dict[str, Sight]:
    """Every layer that was called, seen on all samples."""
    watcher = Watcher(maps[0].model)
    for outputs in maps:
        for start in range(0, outputs.n_samples, CHUNK):
            chunk = list(range(start, min(start + CHUNK, outputs.n_samples)))
            with watcher.watching(), torch.no_grad():
                watcher.close(outputs.on(take(outputs.inputs, chunk))(theta))
    return watcher.sights


class Watcher:
    """Hooks on layers and activations; they are gone after `watching`, whatever happens."""

    def __init__(self, model: nn.Module) -> None:
        kinds = {*LAYERS, *ACTIVATIONS, *CARRIERS}
        self.modules = {name: m for name, m in model.named_modules() if type(m) in kinds}
        self.generator = torch.Generator().manual_seed(0)
        self.sights = dict[str, Sight]()
        self.fed = dict[str, Tensor]()
        self._known = dict[int, tuple[str, int, Tensor]]()  # tensor → the layer it speaks for
        self._given = list[Tensor]()
        self._calls = list[tuple[str, int, Tensor, Sight]]()

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles = [m.register_forward_pre_hook(self._before, with_kwargs=True) for m in self.modules.values()]
        handles += [m.register_forward_hook(self._after_of(n), with_kwargs=True) for n, m in self.modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._known.clear()
            self._given.clear()
            self._calls.clear()

    def close(self, outputs: Tensor) -> None:
        """Takes in what the forward pass showed."""
        for layer, _, said, sight in self._calls:
            final = said.numel() == outputs.numel() and bool(torch.equal(said.reshape(-1), outputs.reshape(-1)))
            sight = replace(sight, final=final)
            before = self.sights.get(layer)
            self.sights[layer] = sight if before is None else before.joined(sight)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = args[0] if args else kwargs["input"]
        self._given.append(given.detach().clone() if type(module) in ACTIVATIONS else given)

    def _after_of(self, name: str) -> Any:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], said: Tensor) -> None:
            given, source = self._given.pop(), args[0] if args else kwargs["input"]
            known = self._known.get(id(source))
            if type(module) in LAYERS:
                self._layer(name, LAYERS[type(module)], given, said)
            elif known is not None and type(module) in ACTIVATIONS:
                self._activation(known[0], known[1], module, given, said)
            elif known is not None:
                self._known[id(said)] = (known[0], known[1], said)

        return after

    def _layer(self, name: str, axis: int, given: Tensor, said: Tensor) -> None:
        self.fed.setdefault(name, given.detach())
        self._known[id(said)] = (name, axis, said)
        z = _by_unit(said, axis)
        sight = Sight(*self._projected(z), z.amax(0), z.abs().amin(0))
        self._calls.append((name, axis, said.clone(), sight))

    def _activation(self, layer: str, axis: int, module: nn.Module, given: Tensor, said: Tensor) -> None:
        slope, a = _by_unit(_slope(module, given), axis), _by_unit(said, axis)
        place = max(i for i, call in enumerate(self._calls) if call[0] == layer)
        sight = self._calls[place][3]
        steepest, loudest = slope.abs().amax(0), a.abs().amax(0)
        signature, square = self._projected(a)
        if sight.steepest is not None:  # two activations of one tensor: asleep only if both are
            signature, square = signature + sight.signature, square + sight.square
        sight = replace(
            sight,
            signature=signature,
            square=square,
            loudest=loudest if sight.loudest is None else torch.maximum(loudest, sight.loudest),
            steepest=steepest if sight.steepest is None else torch.maximum(steepest, sight.steepest),
        )
        self._calls[place] = (layer, axis, said.detach(), sight)

    def _projected(self, a: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.randn(PROJECTIONS, len(a), generator=self.generator, dtype=torch.float64).to(a.device)
        return h @ a.double(), a.double().square().sum(0)


def _by_unit(tensor: Tensor, axis: int) -> Tensor:
    """`(samples × positions, units)`."""
    return tensor.detach().movedim(axis, -1).flatten(0, -2)


def _slope(module: nn.Module, z: Tensor) -> Tensor:
    """`f'(z)` of an elementwise activation; `forward` is called so that no hook fires."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        said = module.forward(leaf.clone())
        return torch.autograd.grad(said.sum(), leaf)[0]


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The larger of both; None as soon as a call was not followed by an activation module."""
    return None if a is None or b is None else torch.maximum(a, b)
