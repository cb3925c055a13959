"""Units that sleep, and columns that say nothing, told from one forward pass."""

from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.certificate._layer_watch import LAYERS, Sight, Watcher, seen
from geodescent.jacobian import Jacobian, OuterColumns
from geodescent.outputs import SampleMap, leaves_of, take

SATURATED = 1e-6  # slopes up to this are none
FAR_OUT = 7.0  # tanh' is 3e-6 here: functional activations are called saturated only beyond


@dataclass(frozen=True)
class Asleep:
    """Units of a layer that do not act on their own.

    Attributes:
        kind: dead_units, saturated_units, unheard_units or duplicate_units.
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


def units_of(maps: list[SampleMap], theta: Theta, jacobian: Jacobian | None = None) -> list[Asleep]:
    """Dead, saturated, unheard and duplicate units of every layer.

    Args:
        maps: of the samples, one model.
        theta: where, (K,).
        jacobian: D at θ, for layers whose activation is a function and no module, and for units that nothing hears.
    """
    found, modules = list[Asleep](), dict(maps[0].model.named_modules())
    idle = None if jacobian is None else _idle(jacobian)
    for layer, sight in seen(maps, theta).items():
        dead, saturated = _flat(sight) if sight.steepest is not None else _unmoved(sight, layer, jacobian)
        unheard = _unheard(sight, layer, jacobian, idle) & ~dead & ~saturated
        groups = [] if sight.final else _alike(sight, dead | saturated | unheard, theta.dtype)
        twins = sorted(unit for group in groups for unit in group[1:])
        flags = {"dead_units": dead, "saturated_units": saturated, "unheard_units": unheard}
        kinds = {kind: torch.nonzero(flag)[:, 0].tolist() for kind, flag in flags.items()}
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
    watcher = Watcher(outputs.model)
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


def _idle(jacobian: Jacobian) -> Tensor:
    """Which columns of D are zero, (K,), by one product with Dᵀ: exactly zero only if all that is added up is."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(jacobian.n_residuals, generator=generator, dtype=torch.float64)
    return jacobian.rmv(u.to(jacobian.device, jacobian.dtype)) == 0.0


def _unheard(sight: Sight, layer: str, jacobian: Jacobian | None, idle: Tensor | None) -> Tensor:
    """Units whose parameters move no output."""
    none = torch.zeros_like(sight.highest, dtype=torch.bool)
    if jacobian is None or idle is None or sight.final:
        return none
    own = [r for block in jacobian.blocks for r in block.records if isinstance(r, OuterColumns) and r.label == layer]
    if not own or any(len(r.index) != len(none) for r in own):
        return none
    still = torch.stack([idle[r.index].all(1) for r in own]).all(0)
    fed = bool(still.any()) and any(bool((r.inputs.dense() != 0.0).any()) for r in own)
    return still if fed else none  # fed with zeros alone, weights are idle for want of anything to say


def _felt(jacobian: Jacobian, layer: str) -> Tensor | None:
    """`max |g|` of each unit of a layer, or None where the layer goes by another route."""
    blocks = list[Tensor]()
    for block in jacobian.blocks:
        own = [r for r in block.records if isinstance(r, OuterColumns) and r.label == layer]
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
