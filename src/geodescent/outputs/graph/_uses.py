"""What uses a parameter in autograd's graph of the outputs."""

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor
from torch.autograd.graph import Node

TRANSPOSED = ("TBackward0", "TransposeBackward0")
"""Views of a matrix: what uses them uses the matrix."""


@dataclass
class Graph:
    """The operations that outputs depend on.

    Attributes:
        nodes: all of them.
        consumers: node → the operations that it enters, each with the place of the argument that it is.
        sinks: id of a leaf → the node that stands for it.
    """

    nodes: set[Node] = field(default_factory=set)
    consumers: dict[Node, list[tuple[Node, int]]] = field(default_factory=dict)
    sinks: dict[int, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: Tensor) -> "Graph":
        """Of outputs that are attached."""
        graph, stack = cls(), [outputs.grad_fn]
        while stack:
            node = stack.pop()
            if node is None or node in graph.nodes:
                continue
            graph.nodes.add(node)
            for k, (parent, _) in enumerate(node.next_functions):
                if parent is None:
                    continue
                graph.consumers.setdefault(parent, []).append((node, k))
                variable = getattr(parent, "variable", None)  # only accumulation nodes carry one
                if variable is not None:
                    graph.sinks[id(variable)] = parent
                stack.append(parent)
        return graph

    def uses(self, leaf: Tensor) -> list[tuple[Node, int, bool]]:
        """The operations that a leaf enters, the place of the argument, and whether it enters transposed."""
        sink = self.sinks.get(id(leaf))
        return [] if sink is None else self._uses(sink, is_transposed=False)

    def _uses(self, node: Node, *, is_transposed: bool) -> list[tuple[Node, int, bool]]:
        found = list[tuple[Node, int, bool]]()
        for consumer, k in self.consumers.get(node, []):
            if consumer.name() in TRANSPOSED:
                found += self._uses(consumer, is_transposed=not is_transposed)
            else:
                found.append((consumer, k, is_transposed))
        return found


def uses(outputs: Tensor, leaves: dict[str, Tensor]) -> tuple[Counter[str], set[Node]]:
    """How many operations use each leaf, itself or transposed, and all operations.

    More than the calls of its layer, where the outputs hold derivatives by the layer's inputs.
    """
    graph = Graph.of(outputs)
    counts = Counter({name: len(graph.uses(leaf)) for name, leaf in leaves.items()})
    return Counter({name: n for name, n in counts.items() if n}), graph.nodes
