"""Autograd's graph of the outputs: what uses a parameter, rows of D by these uses, and derivatives taken inside."""

from geodescent.outputs.graph._inside import faster_by_system, has_memory, takes_derivatives, without_a_graph
from geodescent.outputs.graph._rows import columns_of_leaves, rows_by_products, rows_of_leaves
from geodescent.outputs.graph._uses import Graph, uses

__all__ = [
    "Graph",
    "columns_of_leaves",
    "faster_by_system",
    "has_memory",
    "rows_by_products",
    "rows_of_leaves",
    "takes_derivatives",
    "uses",
    "without_a_graph",
]
