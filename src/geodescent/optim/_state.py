"""What a step leaves for the next, in torch's `state`: numbers under the first parameter, vectors under each."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from geodescent._record import StepRecord
from geodescent._types import Theta
from geodescent.descent import Best, Linearised, Stages, State, put_together, taken_apart
from geodescent.problem import same_cost

Kept = dict[Any, Any]


def kept(state: State, parameters: list[Tensor]) -> Kept:
    """Parameter → what torch saves and loads of it; Python numbers and tensors alone."""
    numbers, points = taken_apart(state)
    vectors = {name: point for name, point in points.items() if name != "theta"}
    entries: Kept = {p: {} for p in parameters}
    for name, vector in vectors.items():
        for p, part in zip(parameters, _cut(vector, parameters), strict=True):
            entries[p][name] = part
    made_for = {"n_params": len(state.theta), "eps": torch.finfo(state.theta.dtype).eps}
    entries[parameters[0]] |= {"step": state.step, **made_for, "numbers": numbers}
    return entries


def remembered(kept: Kept, parameters: list[Tensor], theta: Theta, stages: Stages) -> State | None:
    """The state after the last step, or None where there is none for these parameters, this precision and device.

    Nor is there one to go on from after a first batch that was not finite. Where the plan for this batch has other
    stages than the last one had, its stage begins anew with the damping where it stood.

    Args:
        found: torch's `state`.
        parameters: that make up θ, in its order.
        theta: where they stand now.
    """
    first = kept.get(parameters[0], {})
    if first.get("n_params") != len(theta) or not all("best" in kept.get(p, {}) for p in parameters):
        return None
    names = [name for name in first if isinstance(first[name], Tensor)]
    points = {name: torch.cat([kept[p][name].reshape(-1) for p in parameters]) for name in names}
    best, eps = points["best"], torch.finfo(theta.dtype).eps
    if (best.dtype, best.device, first["eps"]) != (theta.dtype, theta.device, eps):
        return None
    numbers = dict(first["numbers"])
    if not math.isfinite(numbers["floor"]):
        return None
    points["theta"] = best if torch.equal(best, theta) else theta
    numbers["stage"] = min(numbers["stage"], len(stages) - 1)
    state_type = stages[numbers["stage"]].control.state_type
    control_type = state_type if numbers["control_state"] == state_type.__qualname__ else None
    return put_together(numbers, points, (_record(first["step"], numbers["cost"]),), control_type)


def on_this_batch(state: State, here: Linearised) -> State:
    """The state, if its cost is the one found here; if not, this is another batch: costs and best point are its own.

    Damping, momentum and what "small" is measured by go on from batch to batch.
    """
    if same_cost(here.cost, state.cost, state.floor):
        return state
    reference = max(state.reference, here.cost) if math.isfinite(here.cost) else state.reference
    best = Best(here.theta, here.cost, here.cost)
    return replace(state, theta=here.theta, cost=here.cost, best=best, reference=reference, returns=0)


def one_record(state: State) -> State:
    """The state with its last record alone, one step after the one before."""
    return replace(state, records=state.records[-1:])


def _record(step: int, cost: float) -> StepRecord:
    return StepRecord(step, 0.0, cost, cost)


def _cut(theta: Theta, parameters: list[Tensor]) -> list[Tensor]:
    parts = torch.split(theta, [p.numel() for p in parameters])
    return [part.view(p.shape).clone() for part, p in zip(parts, parameters, strict=True)]
