"""The Jacobian by layers against autograd, on a few samples."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs


def check_agreement(function: ModelFunction, inputs: Inputs, jacobian: Jacobian) -> None:
    """Compares Dᵀu and G u by layers with autograd's Dᵀu and D(Dᵀu), u random.

    Args:
        jacobian: of these inputs, at the model's own parameters.

    Raises: JacobianError, naming the layer that disagrees.
    """
    theta, (block,) = function.theta, jacobian.blocks
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(block.n_samples, block.n_outputs, generator=generator, dtype=function.dtype).to(function.device)
    leaves = function.leaves(theta)
    with torch.enable_grad():
        x = function.outputs(leaves, inputs)
    found = torch.autograd.grad(x, list(leaves.values()), u, allow_unused=True)
    pairs = zip(leaves.values(), found, strict=True)
    gradient = torch.cat([(torch.zeros_like(leaf) if g is None else g.to_dense()).reshape(-1) for leaf, g in pairs])
    _require_close(jacobian.rmv(u), gradient, jacobian, "Dᵀu")
    for record in jacobian.records:
        part = torch.zeros_like(theta)
        part[record.index.reshape(-1)] = gradient[record.index.reshape(-1)]
        own = replace(jacobian, blocks=(replace(block, records=(record,)),))
        expected = _autograd_mv(function, theta, part, inputs).reshape(-1)
        _raise_unless_close(own.gram() @ u.reshape(-1), expected, record.label, "G u")
    reference = _autograd_mv(function, theta, gradient, inputs).reshape(-1)
    _raise_unless_close(jacobian.gram() @ u.reshape(-1), reference, "the whole model", "G u")


def _require_close(ours: Theta, theirs: Theta, jacobian: Jacobian, what: str) -> None:
    for record in jacobian.records:
        where = record.index.reshape(-1)
        _raise_unless_close(ours[where], theirs[where], record.label, what)
    _raise_unless_close(ours, theirs, "parameters outside every record", what)


def _raise_unless_close(ours: Tensor, theirs: Tensor, label: str, what: str) -> None:
    scale = float(torch.linalg.vector_norm(theirs))
    difference = float(torch.linalg.vector_norm(ours - theirs))
    tolerance = 10.0 * torch.finfo(ours.dtype).eps ** 0.5
    if not difference <= tolerance * max(scale, torch.finfo(ours.dtype).tiny ** 0.5) and not math.isnan(scale):
        raise JacobianError(
            f"{label or 'the model'}: {what} by layers differs from autograd's by {difference:.2g} (of {scale:.2g}). "
            "The layer mixes samples, or its rule does not fit what it computes: take it out of RULES, or write it as "
            "a custom module."
        )


def _autograd_mv(function: ModelFunction, theta: Theta, v: Theta, inputs: Inputs) -> Outputs:
    """`D v` by autograd: forward mode, or row by row where an operation has no forward derivative.

    Not by differentiating Dᵀu: behind a function that can be differentiated once only, that is zero without a word.
    """
    views, tangents = function.views(theta), function.views(v)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch's own, while it loads forward mode
            product: Tensor = torch.func.jvp(lambda p: function.outputs(p, inputs), (views,), (tangents,))[1]
        return product
    except (RuntimeError, NotImplementedError):
        leaves = function.leaves(theta)
        with torch.enable_grad():
            x = function.outputs(leaves, inputs)
    used = list(leaves.values())
    rows = [torch.autograd.grad(e, used, retain_graph=True, allow_unused=True) for e in x.reshape(-1)]
    return torch.stack([_paired(row, list(tangents.values())) for row in rows]).view(x.shape)


def _paired(gradients: Iterable[Tensor | None], directions: list[Tensor]) -> Tensor:
    """`⟨gradient, direction⟩` over all parameters; None for a gradient that is zero."""
    pairs = zip(gradients, directions, strict=True)
    return sum(((g.to_dense() * t).sum() for g, t in pairs if g is not None), directions[0].new_zeros(()))
