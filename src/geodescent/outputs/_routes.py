"""How each parameter enters the Jacobian: by a layer's rule, or by derivatives that autograd computes row by row.

Calls on two and on three samples tell: the axis of a layer's input whose size differs is that of the samples.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from geodescent._errors import InputError, JacobianError
from geodescent.jacobian import Columns, merged
from geodescent.outputs._capture import (
    Call,
    Layout,
    SampleBytes,
    columns_of,
    cotangents,
    groups_of,
    layouts_of,
    recording,
)
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs
from geodescent.outputs._rules import GIVEN, RULES
from geodescent.outputs._standing import unrolled
from geodescent.outputs.graph import uses
from geodescent.outputs.recorded import product_layers, row_layouts


@dataclass(frozen=True)
class Routes:
    """How the parameters of a map enter its Jacobian.

    Attributes:
        modules: the layers to record.
        products: names of parameters that enter by products outside of these; those with `calls` of their own follow
            the calls of layers.
        calls: names of the layers called, in order.
        layouts: of these calls; None for a call that is left out.
        index: module → parameter → entries of θ, for parameters that go by rule.
        rest: names of the other parameters, whose columns autograd computes row by row.
        held: how much memory a call of the model takes for each sample.
        groups: positions of the columns that share parameters; None before they are known.
        outline: the columns of two samples.
    """

    modules: dict[str, nn.Module]
    calls: list[str]
    layouts: list[Layout | None]
    index: dict[str, dict[str, Tensor]]
    rest: list[str]
    products: list[str] = field(default_factory=list)
    held: SampleBytes = field(default_factory=SampleBytes)
    groups: list[list[int]] | None = None
    outline: tuple[Columns, ...] = ()

    @property
    def by_given_rules(self) -> bool:
        """Whether all rules are those of the package: their columns have the products that Dᵀu belongs to."""
        return all(RULES[kind] is GIVEN.get(kind) for kind in map(type, self.modules.values()))

    @property
    def read_buffers(self) -> bool:
        """Whether a rule reads buffers, which may be others by the time that columns are made later."""
        return any(next(module.buffers(recurse=False), None) is not None for module in self.modules.values())

    def kept(self, calls: list[Call]) -> tuple[list[Call], list[Layout]]:
        """The calls that go by rule, with their layouts.

        Raises: JacobianError, where the model calls its layers in another order than at its first call.
        """
        if [c.name for c in calls] != self.calls:
            raise JacobianError(
                f"the model calls its layers in the order {[c.name for c in calls]}, and at its first call in "
                f"the order {self.calls}: its path depends on the data. Let every sample take the same path."
            )
        pairs = [(c, lay) for c, lay in zip(calls, self.layouts, strict=True) if lay is not None]
        return [c for c, _ in pairs], [lay for _, lay in pairs]

    def product_calls(self, outputs: Tensor, leaves: dict[str, Tensor]) -> list[Call]:
        """The calls outside of layers, in attached outputs."""
        if not self.products:
            return []
        layers = product_layers(outputs, {name: leaves[name] for name in self.products})
        return [call for layer in layers for call in layer.calls]

    def by_rule(self, calls: list[Call], layouts: list[Layout], gradients: list[Tensor]) -> list[Columns]:
        """The columns of these calls from their inputs and cotangents; the columns of shared parameters as one."""
        return self.joined(columns_of(calls, layouts, gradients, self.index))

    def joined(self, columns: list[Columns]) -> list[Columns]:
        """All uses of the same parameters as one piece."""
        return [merged([columns[i] for i in group]) for group in self.groups or []]

    def grouped(self, columns: list[Columns], n_params: int) -> "Routes":
        """The same, with the groups found from these columns."""
        return replace(self, groups=groups_of(columns, n_params))


def ruled_modules(function: ModelFunction) -> dict[str, nn.Module]:
    """The layers that have a rule and a parameter in θ."""
    return {name: m for name, m in function.model.named_modules() if type(m) in RULES and owned(function, m)}


def owned(function: ModelFunction, module: nn.Module) -> dict[str, str]:
    """Own name → name in the model, of the parameters in θ that the module's rule accounts for."""
    names = {id(parameter): name for name, parameter in function.own().items()}
    own = dict(module.named_parameters(recurse=False))
    parameters = RULES[type(module)].parameters
    return {key: names[id(own[key])] for key in parameters if key in own and id(own[key]) in names}


def index_of(
    function: ModelFunction, modules: dict[str, nn.Module], accepted: Collection[str]
) -> dict[str, dict[str, Tensor]]:
    """Module → parameter → entries of θ, for the accepted parameters of these layers."""
    where, index = {p.name: p for p in function.parameters}, dict[str, dict[str, Tensor]]()
    for name, module in modules.items():
        names = owned(function, module)
        index[name] = {own: function.entries(where[p]) for own, p in names.items() if p in accepted}
    return index


def left_over(function: ModelFunction, index: dict[str, dict[str, Tensor]], used: Counter[str]) -> list[str]:
    """The parameters that are used and that no rule accounts for."""
    covered = {int(where.reshape(-1)[0]) for own in index.values() for where in own.values()}
    return [p.name for p in function.parameters if p.offset not in covered and used[p.name] > 0]


def known_uses(function: ModelFunction, calls: Iterable[Call], layouts: Iterable[Layout | None]) -> Counter[str]:
    """How often each parameter is used by a call whose layout is known."""
    known = Counter[str]()
    for call, layout in zip(calls, layouts, strict=True):
        known.update({parameter: int(layout is not None) for parameter in owned(function, call.module).values()})
    return known


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
    own = {name: index[name] for name in ruled}
    routes = Routes(ruled, [c.name for c, _ in calls], [lay for _, lay in calls], own, left_over(function, own, counts))
    graphs = (outputs, outputs_of_three), (leaves, leaves_of_three)
    routes = replace(_with_products(function, routes, *graphs), held=held)
    every = [c for c, _ in calls] + routes.product_calls(outputs, leaves)
    kept, places = routes.kept(every)
    of_one = function.standing_at(leaves, lambda: cotangents(outputs[:, :1], kept, places))
    gradients = [g.expand(-1, outputs.shape[1], *g.shape[2:]) for g in of_one]  # an outline has sizes, and no numbers
    columns = columns_of(kept, places, gradients, routes.index)
    routes = routes.grouped(columns, function.n_params)
    return replace(routes, outline=tuple(routes.joined(columns)))


def _with_products(
    function: ModelFunction, routes: Routes, outputs: tuple[Tensor, Tensor], leaves: tuple[dict[str, Tensor], ...]
) -> Routes:
    """With parameters that no layer accounts for by rule too, where all of their uses are products and sums of rows.

    Args:
        outputs, leaves: of calls on two and on three samples.
    """
    of_two, of_three = (
        product_layers(x, {name: own[name] for name in routes.rest}) for x, own in zip(outputs, leaves, strict=True)
    )
    where, index = {p.name: p for p in function.parameters}, dict(routes.index)
    names, layouts, products = list(routes.calls), list(routes.layouts), list[str]()
    for layer, places in row_layouts(outputs, (of_two, of_three)):
        entries = {own: function.entries(where[name]) for own, name in layer.own.items()}
        if not layer.is_transposed:
            entries["weight"] = entries["weight"].T
        index[layer.name] = entries
        names += [layer.name] * len(places)
        layouts += places
        products += layer.own.values()
    rest = [name for name in routes.rest if name not in products]
    return replace(routes, calls=names, layouts=layouts, index=index, rest=rest, products=products)


def _recorded(
    function: ModelFunction, modules: dict[str, nn.Module], inputs: Inputs
) -> tuple[list[Call], Tensor, dict[str, Tensor]]:
    leaves = function.leaves(function.theta)
    with torch.enable_grad(), recording(modules) as calls, unrolled(function.model):
        outputs = function.outputs(leaves, inputs)
    return calls, outputs, leaves
