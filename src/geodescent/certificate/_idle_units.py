"""Units that do not act on their own, found by one forward pass and the columns of D."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.certificate._layer_watch import LayerSummary, WatchedMap, watched_layers
from geodescent.jacobian import Jacobian, OuterColumns

SATURATED = 1e-6  # Slope of an activation up to which it counts as none.
FAR_OUT = 7.0  # |z|, where tanh' is 3e-6: behind a functional activation a unit is called saturated only beyond it.
SAME_UNIT = 1e3  # Times eps: projections of two units that differ by less are the same.


@dataclass(frozen=True)
class IdleUnits:
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


def idle_units(maps: Sequence[WatchedMap], theta: Theta, jacobian: Jacobian | None = None) -> list[IdleUnits]:
    """Dead, saturated, unheard and duplicate units of every layer.

    Args:
        maps: of the samples, one model.
        theta: where, (K,).
        jacobian: D at θ, for layers whose activation is a function and no module, and for units that nothing hears.
    """
    idle, modules = list[IdleUnits](), dict(maps[0].model.named_modules())
    zero = None if jacobian is None else _zero_columns(jacobian)
    for layer, summary in watched_layers(maps, theta).items():
        dead, saturated = _flat(summary)
        if summary.steepest is None:
            dead, saturated = _unmoved(summary, layer, jacobian)
        unheard = _unheard(summary, layer, jacobian, zero) & ~dead & ~saturated
        groups = [] if summary.final else _alike(summary, dead | saturated | unheard, theta.dtype)
        twins = sorted(unit for group in groups for unit in group[1:])
        flags = {"dead_units": dead, "saturated_units": saturated, "unheard_units": unheard}
        kinds = {kind: torch.nonzero(flag)[:, 0].tolist() for kind, flag in flags.items()}
        each = sum(p.numel() for p in modules[layer].parameters(recurse=False) if p.requires_grad) // len(dead)
        for kind, units in (*kinds.items(), ("duplicate_units", twins)):
            if units:
                own = groups if kind == "duplicate_units" else []
                idle.append(IdleUnits(kind, layer or "the model", units, own, each * len(units)))
    return idle


def _none(summary: LayerSummary) -> Tensor:
    return torch.zeros_like(summary.highest, dtype=torch.bool)


def _flat(summary: LayerSummary) -> tuple[Tensor, Tensor]:
    """`(dead, saturated)` by the slope of the activation."""
    if summary.steepest is None or summary.loudest is None:
        return _none(summary), _none(summary)
    dead = (summary.steepest == 0.0) & (summary.loudest == 0.0)
    return dead, (summary.steepest <= SATURATED) & ~dead


def _unmoved(summary: LayerSummary, layer: str, jacobian: Jacobian | None) -> tuple[Tensor, Tensor]:
    """`(dead, saturated)` behind a functional activation, by the derivative of the outputs by each unit."""
    none = _none(summary)
    slopes = None if jacobian is None or summary.final else _largest_cotangents(jacobian, layer)
    if slopes is None or len(slopes) != len(none) or not bool((slopes > 0.0).any()):
        return none, none
    dead = (slopes == 0.0) & (summary.highest <= 0.0)
    return dead, (slopes <= SATURATED * slopes.max()) & (summary.nearest >= FAR_OUT) & ~dead


def _zero_columns(jacobian: Jacobian) -> Tensor:
    """Which columns of D are zero, (K,), by one product with Dᵀ: exactly zero only if all that is added up is."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(jacobian.n_residuals, generator=generator, dtype=torch.float64, device="cpu")
    return jacobian.rmv(u.to(jacobian.device, jacobian.dtype)) == 0.0


def _own_columns(jacobian: Jacobian, layer: str) -> list[OuterColumns]:
    """The columns of one layer, where it goes by rule."""
    pieces = [c for block in jacobian.blocks for c in block.columns]
    return [c for c in pieces if isinstance(c, OuterColumns) and c.label == layer]


def _unheard(summary: LayerSummary, layer: str, jacobian: Jacobian | None, zero: Tensor | None) -> Tensor:
    """Units whose parameters move no output."""
    none = _none(summary)
    if jacobian is None or zero is None or summary.final:
        return none
    own = _own_columns(jacobian, layer)
    if not own or any(len(c.index) != len(none) for c in own):
        return none
    still = torch.stack([zero[c.index].all(1) for c in own]).all(0)
    fed = bool(still.any()) and any(bool((c.inputs.dense() != 0.0).any()) for c in own)
    return still if fed else none  # on inputs that are all zero, weights have nothing to pass on


def _largest_cotangents(jacobian: Jacobian, layer: str) -> Tensor | None:
    """`max |g|` of each unit of a layer, or None where the layer goes by another route."""
    own = _own_columns(jacobian, layer)
    if not own or len({len(c.index) for c in own}) > 1:
        return None
    return torch.stack([c.cotangents.dense().abs().amax((0, 1, 2)) for c in own]).amax(0)


def _alike(summary: LayerSummary, idle: Tensor, dtype: torch.dtype) -> list[list[int]]:
    """Groups of units whose projections agree up to sign; before a functional activation, with the same sign."""
    size = summary.square.sqrt()
    tolerance = SAME_UNIT * torch.finfo(dtype).eps
    signature = summary.signature / torch.where(size > 0.0, size, 1.0)
    acting = [j for j in torch.argsort(signature[0].abs()).tolist() if size[j] > 0.0 and not idle[j]]
    signs = (1.0, -1.0) if summary.steepest is not None else (1.0,)
    first, groups = signature[0].abs().tolist(), list[list[int]]()

    for j in acting:
        home = None
        for group in reversed(groups):
            if first[group[0]] < first[j] - tolerance:
                break
            if _same(signature, size, group[0], j, signs, tolerance):
                home = group
                break
        groups.append([j]) if home is None else home.append(j)
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _same(signature: Tensor, size: Tensor, i: int, j: int, signs: tuple[float, ...], tolerance: float) -> bool:
    if abs(float(size[i] - size[j])) > tolerance * float(size[i]):
        return False
    return any(float((signature[:, i] - s * signature[:, j]).abs().max()) <= tolerance for s in signs)
