"""Units that sleep, told from one forward pass: what each layer is fed, what its units say, and with what slope."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._inputs import leaves_of, take
from geodescent._jacobian import Jacobian
from geodescent._outputs import SampleMap
from geodescent._records import Outer
from geodescent._types import Theta

CHUNK = 1024  # samples of one forward pass
PROJECTIONS = 8  # random projections that tell one unit from another
SATURATED = 1e-6  # slopes up to this are none
FAR_OUT = 7.0  # tanh' is 3e-6 here: functional activations are called saturated only beyond

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
class Asleep:
    """Units of a layer that do not act on their own.

    Attributes:
        kind: dead_units, saturated_units or duplicate_units.
        layer: the module's name.
        units: indices; of duplicates, all but the first of each group.
        groups: of duplicates.
        parameters: how many parameters lead into these units.
    """

    kind: str
    layer: str
    units: list[int]
    groups: list[list[int]]
    parameters: int


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


def units_of(maps: list[SampleMap], theta: Theta, jacobian: Jacobian | None = None) -> list[Asleep]:
    """Dead, saturated and duplicate units of every layer.

    Args:
        maps: of the samples, one model.
        theta: where, (K,).
        jacobian: D at θ, for layers whose activation is a function and no module.
    """
    found, modules = list[Asleep](), dict(maps[0].model.named_modules())
    for layer, sight in seen(maps, theta).items():
        dead, saturated = _flat(sight) if sight.steepest is not None else _unmoved(sight, layer, jacobian)
        groups = [] if sight.final else _alike(sight, dead | saturated, theta.dtype)
        twins = sorted(unit for group in groups for unit in group[1:])
        lists = {"dead_units": dead.tolist(), "saturated_units": saturated.tolist()}
        kinds = {kind: [i for i, yes in enumerate(flags) if yes] for kind, flags in lists.items()}
        each = sum(p.numel() for p in modules[layer].parameters(recurse=False) if p.requires_grad) // len(dead)
        for kind, units in (*kinds.items(), ("duplicate_units", twins)):
            if units:
                own = groups if kind == "duplicate_units" else []
                found.append(Asleep(kind, layer or "the model", units, own, each * len(units)))
    return found


def columns_of(outputs: SampleMap, theta: Theta) -> list[tuple[str, list[int], int]]:
    """`(layer, columns, weights on them)` of the input columns that are one number for all samples.

    The columns are those of the layers fed with the inputs themselves; where there is none, those of tables in X.
    """
    if outputs.n_samples < 2:
        return []
    watcher = _Watcher(outputs.model)
    with watcher.watching(), torch.no_grad():
        outputs.on(take(outputs.inputs, [0]))(theta)
    modules = dict(outputs.model.named_modules())
    found, fed = list[tuple[str, list[int], int]](), False
    for layer, given in watcher.fed.items():
        leaf = _source(given, leaves_of(take(outputs.inputs, [0])), leaves_of(outputs.inputs))
        if leaf is None:
            continue
        fed = True
        axis = LAYERS[type(modules[layer])]
        columns = _constant_columns(leaf.reshape(len(leaf) * len(given), *given.shape[1:]).movedim(axis, -1))
        each = modules[layer].weight.numel() // given.shape[axis]
        if columns:
            found.append((layer or "the model", columns, each * len(columns)))
    if fed:
        return found
    tables = [leaf for leaf in leaves_of(outputs.inputs) if leaf.dim() == 2 and leaf.dtype.is_floating_point]
    return [("X", columns, 0) for columns in map(_constant_columns, tables) if columns]


def seen(maps: list[SampleMap], theta: Theta) -> dict[str, Sight]:
    """Every layer that was called, seen on all samples."""
    watcher = _Watcher(maps[0].model)
    for outputs in maps:
        for start in range(0, outputs.n_samples, CHUNK):
            chunk = list(range(start, min(start + CHUNK, outputs.n_samples)))
            with watcher.watching(), torch.no_grad():
                watcher.close(outputs.on(take(outputs.inputs, chunk))(theta))
    return watcher.sights


class _Watcher:
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


# --- verdicts --------------------------------------------------------------------------------------------------------


def _flat(sight: Sight) -> tuple[Tensor, Tensor]:
    """`(dead, saturated)` by the slope of the activation."""
    assert sight.steepest is not None and sight.loudest is not None
    dead = (sight.steepest == 0.0) & (sight.loudest == 0.0)
    return dead, (sight.steepest <= SATURATED) & ~dead


def _unmoved(sight: Sight, layer: str, jacobian: Jacobian | None) -> tuple[Tensor, Tensor]:
    """`(dead, saturated)` behind a functional activation, by the cotangents: what the outputs feel of each unit."""
    none = torch.zeros_like(sight.highest, dtype=torch.bool)
    felt = None if jacobian is None or sight.final else _felt(jacobian, layer)
    if felt is None or len(felt) != len(none) or not bool((felt > 0.0).any()):
        return none, none
    dead = (felt == 0.0) & (sight.highest <= 0.0)
    return dead, (felt <= SATURATED * felt.max()) & (sight.nearest >= FAR_OUT) & ~dead


def _felt(jacobian: Jacobian, layer: str) -> Tensor | None:
    """`max |g|` of each unit of a layer, or None where the layer goes by another route."""
    blocks = list[Tensor]()
    for block in jacobian.blocks:
        own = [r for r in block.records if isinstance(r, Outer) and r.label == layer]
        if not own:
            return None
        blocks.append(torch.cat([r.cotangents.dense().abs().amax((0, 1, 2)) for r in own]))
    return torch.stack(blocks).amax(0)


def _alike(sight: Sight, asleep: Tensor, dtype: torch.dtype) -> list[list[int]]:
    """Groups of units whose projections agree up to sign; before a functional activation, with the same sign."""
    size = sight.square.sqrt()
    tolerance = 1e3 * torch.finfo(dtype).eps
    signature = sight.signature / torch.where(size > 0.0, size, 1.0)
    awake = [j for j in torch.argsort(signature[0].abs()).tolist() if size[j] > 0.0 and not asleep[j]]
    signs = (1.0, -1.0) if sight.steepest is not None else (1.0,)
    first, groups = signature[0].abs().tolist(), list[list[int]]()
    for j in awake:
        reach = first[j] - tolerance
        near = takewhile(lambda g, reach=reach: first[g[0]] >= reach, reversed(groups))  # type: ignore[misc]
        home = next((g for g in near if _same(signature, size, g[0], j, signs, tolerance)), None)
        groups.append([j]) if home is None else home.append(j)
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _same(signature: Tensor, size: Tensor, i: int, j: int, signs: tuple[float, ...], tolerance: float) -> bool:
    if abs(float(size[i] - size[j])) > tolerance * float(size[i]):
        return False
    return any(float((signature[:, i] - s * signature[:, j]).abs().max()) <= tolerance for s in signs)


# --- columns ---------------------------------------------------------------------------------------------------------


def _source(given: Tensor, first: list[Tensor], leaves: list[Tensor]) -> Tensor | None:
    """The leaf of X that a layer was fed with, unchanged but for its shape."""
    for one, whole in zip(first, leaves, strict=True):
        same = one.dtype == given.dtype and one.numel() == given.numel()
        if same and bool(torch.equal(one.reshape(-1), given.reshape(-1))):
            return whole.detach()
    return None


def _constant_columns(table: Tensor) -> list[int]:
    """Columns (last axis) that are one number to rounding."""
    rows = table.detach().flatten(0, -2)
    spread = rows.amax(0) - rows.amin(0)
    still = spread <= 8.0 * torch.finfo(rows.dtype).eps * rows.abs().amax(0)
    return torch.nonzero(still)[:, 0].tolist()
