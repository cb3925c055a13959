"""What a step leaves for the next, in torch's `state`: numbers under the first parameter, points under each."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from geodescent._record import StepRecord
from geodescent._types import Theta
from geodescent.descent import NUMBERS, Linearised, State
from geodescent.problem import same_cost

Kept = dict[Any, Any]


def kept(state: State, parameters: list[Tensor]) -> Kept:
    """Parameter → what torch saves and loads of it; Python numbers and tensors alone."""
    entries: Kept = {p: {"best": part} for p, part in zip(parameters, _cut(state.best, parameters), strict=True)}
    if state.momentum is not None:
        for p, part in zip(parameters, _cut(state.momentum, parameters), strict=True):
            entries[p]["momentum"] = part
    numbers = {name: getattr(state, name) for name in NUMBERS}
    made_for = {"n_params": len(state.best), "eps": torch.finfo(state.best.dtype).eps}
    entries[parameters[0]] |= {"step": state.records[-1].step, **made_for, **numbers}
    return entries


def remembered(found: Kept, parameters: list[Tensor], theta: Theta) -> State | None:
    """The state after the last step, or None where there is none for these parameters, this precision and device.

    Nor is there one to go on from after a first batch that was not finite.

    Args:
        found: torch's `state`.
        parameters: that make up θ, in its order.
        theta: where they stand now.
    """
    first = found.get(parameters[0], {})
    if first.get("n_params") != len(theta) or not all("best" in found.get(p, {}) for p in parameters):
        return None
    best, eps = _joined([found[p]["best"] for p in parameters]), torch.finfo(theta.dtype).eps
    if (best.dtype, best.device, first.get("eps", eps)) != (theta.dtype, theta.device, eps):
        return None
    if not math.isfinite(first["floor"]):
        return None
    held = all("momentum" in found[p] for p in parameters)
    return State(
        theta=best if torch.equal(best, theta) else theta,
        best=best,
        records=(_record(first["step"], first["cost"]),),
        momentum=_joined([found[p]["momentum"] for p in parameters]) if held else None,
        **{name: first[name] for name in NUMBERS if name in first},
    )


def on_this_batch(state: State, here: Linearised) -> State:
    """The state, if its cost is the one found here; if not, this is another batch: costs and best point are its own.

    Damping, momentum and what "small" is measured by go on from batch to batch.
    """
    if same_cost(here.cost, state.cost, state.floor):
        return state
    reference = max(state.reference, here.cost) if math.isfinite(here.cost) else state.reference
    state = replace(state, theta=here.theta, cost=here.cost, best=here.theta, best_cost=here.cost)
    return replace(state, reference=reference, returns=0)


def counted(state: State, before: State) -> State:
    """The state with one step more than before."""
    return replace(state, records=(_record(before.records[-1].step + 1, state.cost),))


def _record(step: int, cost: float) -> StepRecord:
    return StepRecord(step, 0.0, cost, cost, math.nan, math.nan, None, None, 0.0)


def _cut(theta: Theta, parameters: list[Tensor]) -> list[Tensor]:
    parts = theta.split([p.numel() for p in parameters])
    return [part.view(p.shape).clone() for part, p in zip(parts, parameters, strict=True)]


def _joined(parts: list[Tensor]) -> Theta:
    return torch.cat([part.reshape(-1) for part in parts])
