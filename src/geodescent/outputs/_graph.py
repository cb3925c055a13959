"""Derivatives of what autograd's graph holds already: rows of D, and the second derivative by backward passes."""

import math

import torch
from torch import Tensor

from geodescent._budget import budget, require


def gradient_of(outputs: Tensor, leaves: list[Tensor], direction: Tensor) -> list[Tensor]:
    """`Dᵀu`, one tensor a leaf; the graph is kept."""
    gradients = torch.autograd.grad((outputs * direction).sum(), leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g.to_dense() for a, g in zip(leaves, gradients, strict=True)]


def second_derivative_of(outputs: Tensor, leaves: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, Tensor]:
    """`(Dv, d²x[θ + tv]/dt²)` at the θ of the graph, both in the outputs' shape.

    Dᵀw is linear in w, so its derivative along v is Dv, with a graph; the same once more gives vᵀ∂²x v.

    Cost: some four backward passes more than Dᵀw.
    Source: the double-backward trick (J. Townsend, 2017), applied twice.
    """
    first = _forward(outputs, leaves, direction)
    return first.detach(), _forward(first, leaves, direction).detach()


def derivative_rows(outputs: Tensor, leaves: list[Tensor]) -> Tensor:
    """D's columns for these leaves, formed: `(N, Q, k)`; the graph is kept.

    Args:
        outputs: (N, Q), attached to the graph.

    Raises: MemoryPlanError, where they do not fit.
    Cost: a backward pass a row, many at a time where autograd's batching can go through the graph.
    """
    width = sum(math.prod(leaf.shape) for leaf in leaves)
    what = f"the rows of {width} parameters outside the rules, for {outputs.numel()} residuals,"
    n_bytes = outputs.numel() * width * outputs.dtype.itemsize
    require(n_bytes, outputs.device, what=what, instead="Use fewer samples, or layers that have a rule.")
    flat, derivatives = outputs.reshape(-1), outputs.new_empty(outputs.numel(), width)
    chunk = max(1, budget().batch_bytes // max(1, width * outputs.dtype.itemsize))
    for start in range(0, len(flat), chunk):
        part = flat[start : start + chunk]
        derivatives[start : start + len(part)] = _batched(part, leaves)
    return derivatives.view(*outputs.shape, width)


def _forward(outputs: Tensor, leaves: list[Tensor], direction: list[Tensor]) -> Tensor:
    """Dv, attached to the graph; zeros where nothing depends on the leaves."""
    zeros = torch.zeros_like(outputs, requires_grad=True)
    if not outputs.requires_grad:
        return zeros.detach()
    back = torch.autograd.grad(outputs, leaves, zeros, create_graph=True, allow_unused=True)
    pairs = [(g, v) for g, v in zip(back, direction, strict=True) if g is not None and g.requires_grad]
    if not pairs:
        return zeros.detach()
    along = torch.autograd.grad([g for g, _ in pairs], zeros, [v for _, v in pairs], create_graph=True)[0]
    return along


def _batched(rows: Tensor, leaves: list[Tensor]) -> Tensor:
    """`∂rows/∂leaves`, (r, k): all rows at once, or one after the other."""
    unit = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    try:
        gradients = torch.autograd.grad(rows, leaves, unit, retain_graph=True, allow_unused=True, is_grads_batched=True)
    except RuntimeError:  # an operation that cannot be batched; the loop answers the same question
        return torch.stack([torch.cat([g.reshape(-1) for g in gradient_of(rows, leaves, u)]) for u in unit])
    pairs = zip(leaves, gradients, strict=True)
    return torch.cat([rows.new_zeros(len(rows), a.numel()) if g is None else g.flatten(1) for a, g in pairs], 1)
