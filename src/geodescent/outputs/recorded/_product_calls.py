"""Products with parameters anywhere in a model, as calls of linear layers: recurrent cells, projections of attention.

Whoever wrote `Z = X Wᵀ + b`, autograd's graph keeps X, and the derivative of the outputs by Z comes from the passes
that go to the returns of layers. So W and b go by the rule of a linear layer. A recurrent layer multiplies the inputs
of all times by one weight, in one product, and each state by the other: its positions are the times.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from geodescent.outputs._autograd import random_rows
from geodescent.outputs._capture import Call, RowLayout, close
from geodescent.outputs._rules import LinearUse
from geodescent.outputs.graph import Graph, has_memory

RESHAPED = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0")
"""What stands between the product of tables of rows and the sum with a bias."""


@dataclass(frozen=True)
class ProductLayer:
    """A weight, a bias or both, all of whose uses are products and sums of rows.

    Attributes:
        name: of the parameters.
        own: "weight", "bias" → name of the parameter in the model.
        is_transposed: whether the weight is used as Wᵀ, as that of a linear layer is.
        calls: the uses, in the order in which they were computed.
    """

    name: str
    own: dict[str, str]
    is_transposed: bool
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class _RowProduct:
    """A product of rows with a weight."""

    node: Node
    rows: Tensor
    is_transposed: bool


def product_layers(outputs: Tensor, leaves: dict[str, Tensor]) -> list[ProductLayer]:
    """Those of these parameters whose uses are all products and sums of rows, in attached outputs."""
    graph = Graph.of(outputs)
    weights = {name: found for name, leaf in leaves.items() if (found := _products(graph, leaf))}
    sums = {name: nodes for name, leaf in leaves.items() if (nodes := _sums(graph, leaf))}
    layers = list[ProductLayer]()
    for name, products in weights.items():
        after = [_sums_after(graph, product.node) for product in products]
        wide = leaves[name].shape[0 if products[0].is_transposed else 1]
        fitting = (other for other, nodes in sums.items() if len(leaves[other]) == wide and _belong(nodes, after))
        bias = next(fitting, None)
        if bias is not None:
            del sums[bias]
        own = {"weight": name} if bias is None else {"weight": name, "bias": bias}
        label, rows = " + ".join(own.values()), [product.rows for product in products]
        calls = tuple(_call(label, p.node, r) for p, r in zip(products, rows, strict=True))
        layers.append(ProductLayer(label, own, products[0].is_transposed, calls))
    for name, nodes in sums.items():
        none = [outputs.new_empty(_shape(node)[:-1].numel(), 0) for node in nodes]
        calls = tuple(_call(name, node, rows) for node, rows in zip(nodes, none, strict=True))
        layers.append(ProductLayer(name, {"bias": name}, True, calls))
    return layers


def row_layouts(
    outputs: tuple[Tensor, Tensor], layers: tuple[list[ProductLayer], list[ProductLayer]]
) -> list[tuple[ProductLayer, list[RowLayout]]]:
    """The layers of a call on two samples with the places of the samples in their uses, where these are clear.

    Args:
        outputs, layers: of a call on two samples, and of one on these and a third.
    """
    u = random_rows((3, outputs[0].shape[1]), outputs[0])
    of_two, of_three = (
        _by_calls(x, [c for layer in own for c in layer.calls], u[: len(x)])
        for x, own in zip(outputs, layers, strict=True)
    )
    others, known = {layer.name: layer for layer in layers[1]}, list[tuple[ProductLayer, list[RowLayout]]]()
    for layer in layers[0]:
        other = others.get(layer.name)
        if other is None or len(other.calls) != len(layer.calls):
            continue
        pairs = zip(layer.calls, other.calls, strict=True)
        places = [_place(a, b, of_two[id(a)], of_three[id(b)]) for a, b in pairs]
        clear = [place for place in places if place is not None]
        if len(clear) == len(places):
            known.append((replace(layer, calls=()), clear))
    return known


def _by_calls(outputs: Tensor, calls: list[Call], u: Tensor) -> dict[int, Tensor]:
    """id of a call → the derivative of `⟨u, outputs⟩` by what it returned."""
    if not calls:
        return {}
    with torch.enable_grad():
        along = (outputs * u).sum()
    gradients = torch.autograd.grad(along, [c.edge for c in calls], retain_graph=True, allow_unused=True)
    return {
        id(call): outputs.new_zeros(call.shape) if g is None else g for call, g in zip(calls, gradients, strict=True)
    }


def _place(two: Call, three: Call, g: Tensor, other: Tensor) -> RowLayout | None:
    """Where the samples stand in the rows of a use: the one place at which those of two samples are those of three."""
    n, m = two.inputs.shape[0], three.inputs.shape[0]
    if n * 3 != m * 2 or n == 0:
        return None
    found = list[RowLayout]()
    for before in (k for k in range(1, n // 2 + 1) if (n // 2) % k == 0):
        layout = RowLayout(before)
        pairs = ((two.inputs, three.inputs), (g, other))
        if all(close(layout.samples_first(b, 3)[:2], layout.samples_first(a, 2)) for a, b in pairs):
            found.append(layout)
    return found[0] if len(found) == 1 else None


def _call(name: str, node: Node, rows: Tensor) -> Call:
    return Call(name, LinearUse(), rows, rows._version, GradientEdge(node, 0), _shape(node))


def _shape(node: Node) -> torch.Size:
    """Of what an operation returned."""
    described: Tensor = node._input_metadata[0]
    return torch.Size(described.shape)


def _products(graph: Graph, leaf: Tensor) -> list[_RowProduct]:
    """All uses of a weight, in the order of their computation; none where one is no product of rows with it."""
    if leaf.dim() != 2:
        return []
    found = [_product(node, k, is_transposed) for node, k, is_transposed in graph.uses(leaf)]
    known = sorted((use for use in found if use is not None), key=lambda use: use.node._sequence_nr())
    alike = len({use.is_transposed for use in known}) == 1
    return known if alike and len(known) == len(found) else []


def _product(node: Node, k: int, is_transposed: bool) -> _RowProduct | None:
    rows: Tensor | None = None
    if node.name() == "MmBackward0" and k == 1:
        rows = _saved(node, "_saved_self")
    elif node.name() == "AddmmBackward0" and k == 2 and _saved(node, "_saved_alpha") == 1:
        rows = _saved(node, "_saved_mat1")
    if rows is None or not has_memory(rows):
        return None
    return _RowProduct(node, rows.detach(), is_transposed)


def _sums(graph: Graph, leaf: Tensor) -> list[Node]:
    """All uses of a bias, in the order of their computation; none where one is no sum with rows."""
    if leaf.dim() != 1:
        return []
    uses = [node for node, k, _ in graph.uses(leaf) if _is_sum(node, k) and _shape(node)[-1:] == leaf.shape]
    return sorted(uses, key=lambda node: node._sequence_nr()) if len(uses) == len(graph.uses(leaf)) else []


def _is_sum(node: Node, k: int) -> bool:
    if node.name() == "AddmmBackward0":
        return k == 0 and bool(_saved(node, "_saved_beta") == 1)
    return node.name() == "AddBackward0" and (k == 0 or bool(_saved(node, "_saved_alpha") == 1))


def _belong(nodes: list[Node], after: list[list[Node]]) -> bool:
    """Whether there is one sum with a bias for each product, in the same order."""
    return len(nodes) == len(after) and all(node in own for node, own in zip(nodes, after, strict=True))


def _sums_after(graph: Graph, node: Node) -> list[Node]:
    """A product, which may add rows itself, and the sum that it enters alone, reshaped at most."""
    return [node, *(after for after in _alone(graph, node) if after.name() == "AddBackward0")]


def _alone(graph: Graph, node: Node) -> Iterator[Node]:
    """The operations that follow where each is the only one, as long as they reshape."""
    while len(graph.consumers.get(node, [])) == 1:
        ((node, _),) = graph.consumers[node]
        yield node
        if node.name() not in RESHAPED:
            return


def _saved(node: Node, name: str) -> Tensor | None:
    """What an operation saved; None where it was overwritten since."""
    try:
        saved: Tensor | None = getattr(node, name)
    except RuntimeError:
        return None
    return saved
