"""The Jacobian by layers against autograd: where two vectors differ by more than rounding, a rule does not fit."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian
from geodescent.linalg import norm
from geodescent.outputs._autograd import gradient_of, random_rows, value_and_derivative
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs

TOLERANCE = 10.0  # Times √eps of a part's own size: sums over samples and layers are taken in another order.


def disagreeing(parts: Iterable[tuple[str, Tensor | slice]], ours: Tensor, theirs: Tensor) -> list[str]:
    """Names of the parts in which two vectors differ by more than rounding; none where the numbers are not finite.

    Args:
        parts: name and entries of each part.
        ours, theirs: two results for the same vector, such as Dᵀu.
    """
    if not bool(torch.isfinite(theirs).all()):
        return []
    whole = norm(theirs)
    return [name for name, where in parts if _differ(ours[where], theirs[where], whole)]


def _differ(ours: Tensor, theirs: Tensor, whole: float) -> bool:
    """`‖a − b‖ > 10 √eps ‖b‖ + eps ‖whole‖`: a part may be zero by cancellation of much larger numbers."""
    eps = torch.finfo(theirs.dtype).eps
    allowed = TOLERANCE * eps**0.5 * norm(theirs) + eps * whole
    return not norm(ours - theirs) <= max(allowed, torch.finfo(theirs.dtype).tiny ** 0.5)


def check_agreement(function: ModelFunction, inputs: Inputs, jacobian: BlockJacobian) -> None:
    """Compares Dᵀu and G u by layers with autograd's Dᵀu and D(Dᵀu), u random.

    Args:
        jacobian: of these inputs, at the model's own parameters.

    Raises: JacobianError, naming the layer that disagrees.
    """
    theta, (block,) = function.theta, jacobian.blocks
    u = random_rows(torch.Size((block.n_samples, block.n_outputs)), theta)
    leaves = function.leaves(theta)
    with torch.enable_grad():
        x = function.outputs(leaves, inputs)
    gradient = torch.cat([g.reshape(-1) for g in gradient_of(x, list(leaves.values()), u)])
    parts = [(piece.label, piece.index.reshape(-1)) for piece in jacobian.columns]
    everything = ("parameters outside every layer", slice(None))
    _refuse([*parts, everything], jacobian.rmv(u), gradient, "Dᵀu")
    for piece, (label, where) in zip(jacobian.columns, parts, strict=True):
        part = torch.zeros_like(theta)
        part[where] = gradient[where]
        own = replace(jacobian, blocks=(replace(block, columns=(piece,)),))
        expected = _autograd_mv(function, theta, part, inputs).reshape(-1)
        _refuse([(label, slice(None))], own.gram() @ u.reshape(-1), expected, "G u")
    reference = _autograd_mv(function, theta, gradient, inputs).reshape(-1)
    _refuse([("the whole model", slice(None))], jacobian.gram() @ u.reshape(-1), reference, "G u")


def _refuse(parts: list[tuple[str, Tensor | slice]], ours: Tensor, theirs: Tensor, what: str) -> None:
    for name in disagreeing(parts, ours, theirs):
        where = dict(parts)[name]
        difference, size = norm(ours[where] - theirs[where]), norm(theirs[where])
        raise JacobianError(
            f"{name or 'the model'}: {what} by layers differs from autograd's by {difference:.2g} (of {size:.2g}). "
            "The layer mixes samples, or its rule does not fit what it computes: use layers that act on each sample "
            "alone, correct the rule given to gd.register_rule, or write the layer as a custom module."
        )


def _autograd_mv(function: ModelFunction, theta: Theta, v: Theta, inputs: Inputs) -> Outputs:
    """`D v` by autograd: forward mode, or row by row where an operation has no forward derivative.

    Differentiating Dᵀu would give zeros without an error where an operation can be differentiated only once.
    """
    views, tangents = function.views(theta), function.views(v)
    try:
        return value_and_derivative(lambda p: function.outputs(p, inputs), (views,), (tangents,))[1]
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
