"""How each parameter enters the Jacobian: by a layer's rule, or by per-sample derivatives."""

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from geodescent._errors import InputError, JacobianError
from geodescent.outputs import _capture as capture
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs
from geodescent.outputs._per_sample import vectorises
from geodescent.outputs._probing import probe
from geodescent.outputs._rules import RULES


@dataclass(frozen=True)
class Routes:
    """How the parameters of a map enter its Jacobian, told once when the map is made.

    Attributes:
        modules: the layers to record.
        calls: names of the layers called, in order.
        layouts: of these calls; None for a call that is left out.
        index: module → parameter → entries of θ, for what goes by rule.
        groups: positions of records that share parameters.
        per_sample: names of the parameters that go through per-sample derivatives.
        vectorised: whether vmap can go through the model.
    """

    modules: dict[str, nn.Module]
    calls: list[str]
    layouts: list[capture.Layout | None]
    index: dict[str, dict[str, Tensor]]
    groups: list[list[int]]
    per_sample: list[str]
    vectorised: bool

    def kept(self, calls: list[capture.Call]) -> tuple[list[capture.Call], list[capture.Layout]]:
        """The calls that go by rule, with their layouts.

        Raises: JacobianError, where the model took another path than when it was first looked at.
        """
        if [c.name for c in calls] != self.calls:
            raise JacobianError(
                f"the model calls its layers in the order {[c.name for c in calls]}, and {self.calls} when it "
                "was first looked at: its path depends on the data. Let every sample take the same path."
            )
        pairs = [(c, lay) for c, lay in zip(calls, self.layouts, strict=True) if lay is not None]
        return [c for c, _ in pairs], [lay for _, lay in pairs]


def find_routes(function: ModelFunction, inputs: Inputs) -> Routes:
    """The routes of a model's parameters, told from its calls on two and on three samples."""
    model = function.model
    modules = {name: m for name, m in model.named_modules() if type(m) in RULES and _trainable(m)}
    two, outputs, leaves = _recorded(function, modules, probe(inputs, 2))
    if not outputs.requires_grad:
        raise InputError("the outputs depend on no parameter that requires grad: there is nothing to fit.")
    three, _, _ = _recorded(function, modules, probe(inputs, 3))
    layouts = capture.layouts_of(two, three)
    counts, graph = capture.uses(outputs, leaves)
    seen = [lay if c.edge.node in graph else None for c, lay in zip(two, layouts, strict=True)]
    index = _index_by_rule(function, modules, two, seen, counts)
    ruled = {name: m for name, m in modules.items() if index.get(name)}
    calls = [(c, lay) for c, lay in zip(two, layouts, strict=True) if c.name in ruled]
    rest = _outside(function, index, counts)
    routes = Routes(
        modules=ruled,
        calls=[c.name for c, _ in calls],
        layouts=[lay for _, lay in calls],
        index=index,
        groups=[],
        per_sample=rest,
        vectorised=not rest or vectorises(function, probe(inputs, 2), rest),
    )
    kept, places = routes.kept([c for c, _ in calls])
    records = capture.records_of(kept, places, capture.cotangents(outputs, kept, places), index)
    return replace(routes, groups=capture.groups_of(records, function.n_params))


def _recorded(
    function: ModelFunction, modules: dict[str, nn.Module], inputs: Inputs
) -> tuple[list[capture.Call], Tensor, dict[str, Tensor]]:
    leaves = function.leaves(function.theta)
    with torch.enable_grad(), capture.recording(modules) as calls:
        outputs = function.outputs(leaves, inputs)
    return calls, outputs, leaves


def _index_by_rule(
    function: ModelFunction,
    modules: dict[str, nn.Module],
    calls: list[capture.Call],
    layouts: list[capture.Layout | None],
    counts: Counter[str],
) -> dict[str, dict[str, Tensor]]:
    """Module → parameter → entries of θ, for the parameters whose every use is a call with a known layout."""
    names = {id(p): name for name, p in function.model.named_parameters()}
    owned = {name: _owned(m, names) for name, m in modules.items()}
    known = Counter[str]()
    for call, layout in zip(calls, layouts, strict=True):
        known.update({parameter: int(layout is not None) for parameter in owned[call.name].values()})
    where = {p.name: p for p in function.parameters}
    index = dict[str, dict[str, Tensor]]()
    for name, parameters in owned.items():
        good = {own: p for own, p in parameters.items() if p in where and 0 < counts[p] == known[p]}
        index[name] = {own: function.entries(where[p]) for own, p in good.items()}
    return index


def _outside(function: ModelFunction, index: dict[str, dict[str, Tensor]], counts: Counter[str]) -> list[str]:
    """The parameters that are used and that no rule accounts for."""
    covered = {int(where.reshape(-1)[0]) for own in index.values() for where in own.values()}
    return [p.name for p in function.parameters if p.offset not in covered and counts[p.name] > 0]


def _trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters(recurse=False))


def _owned(module: nn.Module, names: dict[int, str]) -> dict[str, str]:
    """Own name → name in the model, of the parameters that the module's rule accounts for."""
    rule = RULES[type(module)]
    own = dict(module.named_parameters(recurse=False))
    return {key: names[id(own[key])] for key in rule.parameters if key in own}
