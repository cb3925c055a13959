"""The routes of a model, by calls on two and on three samples: the axis whose size differs is that of the samples."""

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.outputs._capture import Call, SampleBytes, columns_of, cotangents, layouts_of, recording, uses
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs
from geodescent.outputs._routes import Routes, index_of, known_uses, left_over, owned, ruled_modules


def probed_routes(function: ModelFunction, two_samples: Inputs, three_samples: Inputs) -> Routes:
    """The routes of a model's parameters, found by its calls on two and on three samples.

    A parameter goes by rule if every use of it in autograd's graph is a call with a known layout.
    """
    modules = ruled_modules(function)
    two, outputs, leaves = _recorded(function, modules, two_samples)
    if not outputs.requires_grad:
        raise InputError("the outputs depend on no parameter that requires grad: there is nothing to fit.")
    three, outputs_of_three, leaves_of_three = _recorded(function, modules, three_samples)
    counts, graph = uses(outputs, leaves)
    held = SampleBytes.of(graph, uses(outputs_of_three, leaves_of_three)[1])
    layouts = [
        layout if call.edge.node in graph else None for call, layout in zip(two, layouts_of(two, three), strict=True)
    ]
    known = known_uses(function, two, layouts)
    used = {name for m in modules.values() for name in owned(function, m).values()}
    index = index_of(function, modules, {name for name in used if 0 < counts[name] == known[name]})
    ruled = {name: m for name, m in modules.items() if index[name]}
    calls = [(c, layout) for c, layout in zip(two, layouts, strict=True) if c.name in ruled]
    routes = Routes(
        modules=ruled,
        calls=[c.name for c, _ in calls],
        layouts=[layout for _, layout in calls],
        index={name: index[name] for name in ruled},
        rest=left_over(function, index, counts),
        held=held,
    )
    kept, places = routes.kept([c for c, _ in calls])
    gradients = function.standing_at(leaves, lambda: cotangents(outputs, kept, places))
    columns = columns_of(kept, places, gradients, routes.index)
    return routes.grouped(columns, function.n_params)


def _recorded(
    function: ModelFunction, modules: dict[str, nn.Module], inputs: Inputs
) -> tuple[list[Call], Tensor, dict[str, Tensor]]:
    leaves = function.leaves(function.theta)
    with torch.enable_grad(), recording(modules) as calls:
        outputs = function.outputs(leaves, inputs)
    return calls, outputs, leaves
