"""How parameters enter the Jacobian of a closure: layouts are guessed from sizes, and held against autograd.

A closure cannot be run on two and on three samples. What its layers were given is enough to guess where the samples
stand; a wrong guess gives a wrong Dᵀu, and the parameters it is wrong for go through rows of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from geodescent.jacobian import Block, Columns, DenseColumns, Jacobian, merged
from geodescent.outputs import _capture as capture
from geodescent.outputs import _graph as backward
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._rules import RULES

Signature = tuple[tuple[str, torch.Size, torch.Size], ...]
UNFIT = (RuntimeError, ValueError, IndexError)  # what a rule raises on shapes it was not made for


@dataclass(frozen=True)
class Plan:
    """Which parameters go by rule, for one signature of calls.

    Attributes:
        index: module → parameter → entries of θ, for what goes by rule.
        rest: names of the parameters that go through rows.
        groups: positions of records that share parameters; None before they are known.
    """

    index: dict[str, dict[str, Tensor]]
    rest: tuple[str, ...]
    groups: list[list[int]] | None = None


def signature_of(outputs: Tensor, calls: list[capture.Call]) -> Signature:
    """What a plan is made for: the layers called and the shapes they saw."""
    return (("", outputs.shape, outputs.shape), *((c.name, c.inputs.shape, c.shape) for c in calls))


def ruled_modules(function: ModelFunction) -> dict[str, nn.Module]:
    """The layers that have a rule and a parameter in θ."""
    return {name: m for name, m in function.model.named_modules() if type(m) in RULES and _owned(function, m)}


def plan_of(function: ModelFunction, calls: list[capture.Call], used: set[str], without: Iterable[str] = ()) -> Plan:
    """By rule goes every parameter of a layer that was called, but those in `without`; the others used by rows."""
    left, index = set(without), dict[str, dict[str, Tensor]]()
    where = {p.name: p for p in function.parameters}
    for call in calls:
        owned = _owned(function, call.module)
        index[call.name] = {own: function.entries(where[p]) for own, p in owned.items() if p not in left}
    ruled = {int(entries.reshape(-1)[0]) for own in index.values() for entries in own.values()}
    return Plan(index, tuple(p.name for p in function.parameters if p.name in used and p.offset not in ruled))


def jacobian_by(
    function: ModelFunction, plan: Plan, outputs: Tensor, calls: list[capture.Call], leaves: dict[str, Tensor]
) -> tuple[Jacobian, Plan, set[str]]:
    """The Jacobian by this plan, the plan with its groups, and the parameters whose calls fit no rule; frees the graph.

    Args:
        outputs: (N, Q), attached to the graph.
        leaves: the parameters in the graph, by name.
    """
    joined, unfit = list[Columns](), set[str]()
    if plan.rest:
        entries = [function.entries(p).reshape(-1) for p in function.parameters if p.name in plan.rest]
        values = backward.rows(outputs, [leaves[name] for name in plan.rest])
        joined.append(DenseColumns(values, torch.cat(entries), " + ".join(plan.rest)))
    guessed = [(c, guess(c, len(outputs))) for c in calls if plan.index.get(c.name)]
    kept = [(c, layout) for c, layout in guessed if layout is not None]
    unfit |= {p for c, layout in guessed if layout is None for p in _owned(function, c.module).values()}
    records = list[Columns]()
    gradients = capture.cotangents(outputs, [c for c, _ in kept], [layout for _, layout in kept])
    for (call, layout), g in zip(kept, gradients, strict=True):
        try:
            records += capture.records_of([call], [layout], [g], plan.index)
        except UNFIT:
            unfit |= set(_owned(function, call.module).values())
    if plan.groups is None and not unfit:
        plan = replace(plan, groups=capture.groups_of(records, function.n_params))
    joined = [merged([records[i] for i in group]) for group in plan.groups or []] + joined
    block = Block(tuple(joined), *outputs.shape)
    return Jacobian((block,), function.n_params, function.dtype, function.device), plan, unfit


def guess(call: capture.Call, n_samples: int) -> capture.Layout | None:
    """Where N samples may stand in a call: an axis of that size, or several rows a sample on the first."""
    inputs, outputs = call.inputs.shape, call.shape
    axes = range(min(len(inputs), len(outputs)) if RULES[type(call.module)].any_axis else min(1, len(inputs)))
    for axis in axes:
        if inputs[axis] == outputs[axis] == n_samples:
            return capture.Layout(axis, 1)
    if len(inputs) > 0 and inputs[0] == outputs[0] and inputs[0] % n_samples == 0:
        return capture.Layout(0, inputs[0] // n_samples)
    return None


def disagreeing(function: ModelFunction, ours: Tensor, theirs: Tensor) -> set[str]:
    """The parameters for which two Dᵀu differ by more than rounding; none where the numbers are not finite."""
    if not bool(torch.isfinite(theirs).all()):
        return set()
    eps = torch.finfo(theirs.dtype).eps
    difference, size, whole = ours - theirs, theirs.abs(), float(torch.linalg.vector_norm(theirs))
    found = set[str]()
    for p in function.parameters:
        allowed = 10.0 * eps**0.5 * float(torch.linalg.vector_norm(size[p.entries])) + eps * whole
        if not float(torch.linalg.vector_norm(difference[p.entries])) <= allowed:
            found.add(p.name)
    return found


def _owned(function: ModelFunction, module: nn.Module) -> dict[str, str]:
    """Own name → name in the model, of the parameters in θ that the module's rule accounts for."""
    wanted = {p.name for p in function.parameters}
    names = {id(p): name for name, p in function.model.named_parameters() if name in wanted}
    own = dict(module.named_parameters(recurse=False))
    parameters = RULES[type(module)].parameters
    return {key: names[id(own[key])] for key in parameters if key in own and id(own[key]) in names}
