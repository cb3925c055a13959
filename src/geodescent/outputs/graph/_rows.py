"""Rows of D for parameters that are used in products anywhere in autograd's graph, also inside of derivatives.

A function that differentiates a network by its inputs uses each weight several times, and no call of a layer accounts
for that. But each use is still a product of rows with the weight, `Z = X W`, or a sum or a multiple: the derivative of
row i of Z is the outer product of row i of X, which the graph keeps, with the cotangent of row i. Which output a row
belongs to is found by two backward passes: for sums Σ y_i and Σ u_i y_i with distinct u, the cotangents of a row that
belongs to output i alone differ by the factor u_i.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from geodescent._budget import budget
from geodescent._deadline import require_time
from geodescent.jacobian import chunks
from geodescent.linalg import norm
from geodescent.outputs._autograd import SEED, derivative_rows, differ, gradient_of, random_rows, require_rows
from geodescent.outputs.graph._inside import has_memory
from geodescent.outputs.graph._uses import Graph

FINE = 1e-12  # Of eps: from here on a million factors are told from each other by one sum.
NEAREST = 0.02  # Of the distance between two factors u: a row off by more belongs to more outputs than one.


@dataclass(frozen=True)
class ProductUse:
    """One operation that uses a parameter.

    Attributes:
        node: the operation in autograd's graph.
        kind: "product", "transposed product" for `Zᵀ = W Xᵀ`, "sum", or "multiple", by one number.
        rows: what it multiplies the parameter with, rows first; None for a sum.
        is_transposed: whether the operation sees the parameter transposed.
    """

    node: Node
    kind: str
    rows: Tensor | None = None
    is_transposed: bool = False

    def by_rows(self, g: Tensor) -> Tensor:
        """A cotangent with the rows first."""
        return g.T if self.kind == "transposed product" else g

    def derivatives(self, g: Tensor, some: slice) -> Tensor:
        """Of some of its rows by the parameter, (n, number of its entries), from the cotangents of all."""
        if self.rows is None:
            return g[some]
        g, rows = g[some], self.rows[some]
        if self.kind == "multiple":
            return (g * rows).reshape(len(g), -1).sum(1, keepdim=True)
        swapped = self.is_transposed != (self.kind == "transposed product")
        first, second = (g, rows) if swapped else (rows, g)
        return (first[:, :, None] * second[:, None, :]).flatten(1)


def rows_of_leaves(outputs: Tensor, leaves: list[Tensor]) -> tuple[Tensor, bool]:
    """D's columns for these leaves, formed, (N, Q, k), and whether products were enough. The graph is kept.

    Args:
        outputs: (N, Q), attached to the graph.

    Raises: MemoryPlanError, where they do not fit.
    Cost: of the others a backward pass for each row, or two for each column, whichever are fewer.
    """
    require_rows(outputs, leaves)
    parts = rows_by_products(outputs, leaves)
    others = [k for k, part in enumerate(parts) if part is None]
    if others:
        left = [leaves[k] for k in others]
        widths = [leaf.numel() for leaf in left]
        by_column = columns_of_leaves(outputs, left) if sum(widths) < outputs.numel() else None
        rest = derivative_rows(outputs, left) if by_column is None else by_column
        for k, part in zip(others, torch.split(rest, widths, 2), strict=True):
            parts[k] = part
    return torch.cat([part for part in parts if part is not None], 2), not others


def rows_by_products(outputs: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """D's columns for each leaf, (N, Q, k); None for a leaf with a use that is no product. The graph is kept.

    Args:
        outputs: (N, Q), attached to the graph.

    Cost: two backward passes for each of the Q outputs, and one outer product for each row and use.
    """
    graph = Graph.of(outputs)
    found = [_uses(graph, leaf) for leaf in leaves]
    rows = [
        None if own is None else outputs.new_zeros(*outputs.shape, leaf.numel())
        for own, leaf in zip(found, leaves, strict=True)
    ]
    uses = [use for own in found for use in own or []]
    for q in range(outputs.shape[1] if uses else 0):
        require_time("a linearisation")
        cotangents = iter(_cotangents(outputs[:, q], uses))
        for k, own in enumerate(found):
            for use in own or []:
                placed, values = next(cotangents), rows[k]
                if placed is None:
                    rows[k] = None
                elif values is not None and len(placed[0]):
                    where, g = placed
                    for some in chunks(len(where), budget().batch_bytes // (values.shape[2] * values.dtype.itemsize)):
                        values[:, q].index_add_(0, where[some], use.derivatives(g, some))
    return [
        values if values is None or _is_right(outputs, leaf, values) else None
        for values, leaf in zip(rows, leaves, strict=True)
    ]


def columns_of_leaves(outputs: Tensor, leaves: list[Tensor]) -> Tensor | None:
    """The same by a graph of Dᵀu and a backward pass through it for each column; None where that is not D.

    So it is where an operation can be differentiated only once: autograd raises an error there, or gives zeros.
    """
    try:
        formed = _columns(outputs, leaves)
    except (RuntimeError, NotImplementedError):
        return None
    parts = torch.split(formed, [leaf.numel() for leaf in leaves], 2)
    return formed if all(_is_right(outputs, leaf, part) for leaf, part in zip(leaves, parts, strict=True)) else None


def _columns(outputs: Tensor, leaves: list[Tensor]) -> Tensor:
    u = random_rows(outputs.shape, outputs).requires_grad_()
    with torch.enable_grad():
        gradients = torch.autograd.grad((outputs * u).sum(), leaves, create_graph=True, allow_unused=True)
    columns = list[Tensor]()
    for leaf, gradient in zip(leaves, gradients, strict=True):
        for entry in leaf.new_zeros(leaf.numel()) if gradient is None else gradient.to_dense().reshape(-1):
            require_time("a linearisation")
            if entry.requires_grad:
                (column,) = torch.autograd.grad(entry, u, retain_graph=True, allow_unused=True)
            columns.append(column.detach() if entry.requires_grad and column is not None else torch.zeros_like(u))
    return torch.stack(columns, 2).detach()


def _is_right(outputs: Tensor, leaf: Tensor, rows: Tensor) -> bool:
    """Whether `Dᵀu` is autograd's, or that is not finite."""
    u = random_rows(outputs.shape, outputs)
    (expected,) = gradient_of(outputs, [leaf], u)
    ours, expected = u.reshape(-1) @ rows.flatten(0, 1), expected.reshape(-1)
    return not bool(torch.isfinite(expected).all()) or not differ(ours, expected, norm(expected))


def _cotangents(outputs: Tensor, uses: list[ProductUse]) -> list[tuple[Tensor, Tensor] | None]:
    """Of each use, the output that each of its rows belongs to, (n,), and its cotangents; None where there is not one.

    Args:
        outputs: (N,), attached.
    """
    n, levels = len(outputs), _levels(outputs)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(SEED), device="cpu").to(outputs.device)
    place_of, digits = torch.argsort(order), [order % levels, order // levels] if levels < n else [order]
    edges = [GradientEdge(use.node, 0) for use in uses]
    with torch.enable_grad():
        sums = [outputs.sum(), *(((1.0 + digit.to(outputs) / levels) * outputs).sum() for digit in digits)]
    gradients = [torch.autograd.grad(s, edges, retain_graph=True, allow_unused=True) for s in sums]
    found = list[tuple[Tensor, Tensor] | None]()
    for k, use in enumerate(uses):
        own: list[Tensor | None] = [of_sum[k] for of_sum in gradients]
        known = [use.by_rows(g) for g in own if g is not None]
        if len(known) < len(own):
            found.append((place_of[:0], outputs.new_zeros(0, 1)))  # these outputs do not depend on it
            continue
        g, *weighted = known
        alike = use.kind != "multiple" or (use.rows is not None and use.rows.shape == g.shape)
        parts = [_digit(g.reshape(len(g), -1), h.reshape(len(h), -1), levels) for h in weighted] if alike else [None]
        ordinal = sum(
            (part * levels**d for d, part in enumerate(parts) if part is not None), place_of.new_zeros(len(g))
        )
        found.append(None if any(part is None for part in parts) else (place_of[ordinal.clamp(max=n - 1)], g))
    return found


def _levels(outputs: Tensor) -> int:
    """How many factors are told from each other: N in float64; √N, in two digits, where there are fewer bits."""
    n = len(outputs)
    return n if torch.finfo(outputs.dtype).eps < FINE else math.isqrt(n - 1) + 1


def _digit(g: Tensor, h: Tensor, levels: int) -> Tensor | None:
    """k with h = (1 + k/levels) g, of each row, from 0 to levels − 1; None where a row has none."""
    size = g.square().sum(1)
    ratio = (g * h).sum(1) / torch.where(size == 0.0, 1.0, size)
    nearest = ((ratio - 1.0) * levels).round().clamp(0, levels - 1)
    off = (h - (1.0 + nearest[:, None] / levels) * g).square().sum(1).sqrt()
    return nearest.long() if bool((off <= NEAREST / levels * size.sqrt()).all()) else None


def _uses(graph: Graph, leaf: Tensor) -> list[ProductUse] | None:
    """All uses of a leaf; None where one of them is of another kind."""
    found = [_use(node, k, leaf, is_transposed) for node, k, is_transposed in graph.uses(leaf)]
    known = [use for use in found if use is not None]
    return known if len(known) == len(found) else None


def _use(node: Any, k: int, leaf: Tensor, is_transposed: bool) -> ProductUse | None:
    """A product of matrices, a sum with a row, or a multiple of a number; `k` is the argument that the leaf is."""
    name = node.name()
    if name == "AddmmBackward0" and node._saved_alpha == node._saved_beta == 1:
        if k == 0:
            return ProductUse(node, "sum") if leaf.dim() == 1 else None
        return _product(node, node._saved_mat1 if k == 2 else node._saved_mat2, k == 2, is_transposed)
    if name == "MmBackward0":
        return _product(node, node._saved_self if k == 1 else node._saved_mat2, k == 1, is_transposed)
    if name == "MulBackward0" and leaf.numel() == 1:
        other = node._saved_other if k == 0 else node._saved_self
        return (
            None
            if other is None or other.dim() == 0 or not has_memory(other)
            else ProductUse(node, "multiple", other.detach())
        )
    return None


def _product(node: Node, other: Tensor | None, is_right: bool, is_transposed: bool) -> ProductUse | None:
    if other is None or not has_memory(other):
        return None
    rows = other.detach() if is_right else other.detach().T
    return ProductUse(node, "product" if is_right else "transposed product", rows, is_transposed)
