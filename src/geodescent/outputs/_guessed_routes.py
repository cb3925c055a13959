"""The routes of a closure: the axis of the samples is guessed from sizes, and the Jacobian compared with autograd.

A closure cannot be called on other samples, so the axis of the samples is guessed from the shapes of each layer's
inputs and outputs. A wrong guess gives a wrong Dᵀu, and autograd then computes the rows of these parameters.
"""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from geodescent.jacobian import Columns
from geodescent.outputs._capture import AxisLayout, Call, Layout, columns_of
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._routes import Routes, index_of, left_over, owned
from geodescent.outputs._rules import RULES

Signature = tuple[tuple[str, torch.Size, torch.Size], ...]
UNFIT = (RuntimeError, ValueError, IndexError)  # What a rule raises on shapes that it was not made for.


def signature_of(outputs: Tensor, calls: list[Call]) -> Signature:
    """The key of guessed routes: the layers called, with the shapes of what they took and returned."""
    return (("", outputs.shape, outputs.shape), *((c.name, c.inputs.shape, c.shape) for c in calls))


def guessed_routes(
    function: ModelFunction, calls: list[Call], used: Counter[str], n_samples: int, *, without: Iterable[str] = ()
) -> Routes:
    """Parameters of called layers go by rule, except those in `without`; autograd computes the rows of all others."""
    excluded, layouts = set(without), [guessed_layout(call, n_samples) for call in calls]
    for call, layout in zip(calls, layouts, strict=True):
        if layout is None:
            excluded |= set(owned(function, call.module).values())
    modules = {call.name: call.module for call in calls}
    index = index_of(function, modules, {p.name for p in function.parameters} - excluded)
    kept: list[Layout | None] = [
        layout if index[call.name] else None for call, layout in zip(calls, layouts, strict=True)
    ]
    return Routes(modules, [call.name for call in calls], kept, index, left_over(function, index, used))


def guessed_layout(call: Call, n_samples: int) -> AxisLayout | None:
    """Where N samples may stand in a call: an axis of that size, or several rows a sample on the first.

    The last axis of the outputs holds features: a layer that returned a vector has seen no samples.
    """
    inputs, outputs = call.inputs.shape, call.shape[:-1]
    axes = range(min(len(inputs), len(outputs)) if RULES[type(call.module)].any_axis else min(1, len(inputs)))
    for axis in axes:
        if inputs[axis] == outputs[axis] == n_samples:
            return AxisLayout(axis, 1)
    if min(len(inputs), len(outputs)) > 0 and inputs[0] == outputs[0] and inputs[0] % n_samples == 0:
        return AxisLayout(0, inputs[0] // n_samples)
    return None


def fitting_columns(
    function: ModelFunction, routes: Routes, calls: list[Call], layouts: list[Layout], gradients: list[Tensor]
) -> tuple[list[Columns], set[str]]:
    """The columns of the calls, and the parameters of those whose shapes fit no rule."""
    columns, unfit = list[Columns](), set[str]()
    for call, layout in zip(calls, layouts, strict=True):
        try:
            columns += columns_of([call], [layout], [gradients.pop(0)], routes.index)
        except UNFIT:
            unfit |= set(owned(function, call.module).values())
    return columns, unfit
