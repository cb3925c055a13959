"""The columns by rules of layers against autograd."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian
from geodescent.linalg import norm
from geodescent.outputs._autograd import differ, is_nothing, sizes_of, value_and_derivative
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs

Part = tuple[str, Tensor | slice]
"""The name of some entries of θ, and where they stand."""


def disagreeing(parts: Iterable[Part], ours: Theta, theirs: Theta, theta: Theta) -> list[Part]:
    """The parts of θ in which two results for the same Dᵀu differ by more than rounding.

    Parts are compared in units of the parameters' own sizes, so that one of tiny units counts like any other. None
    where the numbers are not finite.
    """
    if not bool(torch.isfinite(theirs).all()):
        return []
    sizes = sizes_of(theta)
    ours, theirs = ours * sizes, theirs * sizes
    whole = norm(theirs)
    return [(name, where) for name, where in parts if differ(ours[where], theirs[where], whole)]


def check_agreement(
    function: ModelFunction, inputs: Inputs, theta: Theta, jacobian: BlockJacobian, u: Outputs, gradient: Theta
) -> None:
    """Compares Dᵀu and G u by layers with autograd's Dᵀu and D(Dᵀu).

    Args:
        jacobian: of these inputs, at θ.
        u: random, (N, Q).
        gradient: Dᵀu by autograd.

    Raises: JacobianError, naming the layer that disagrees.
    """
    (block,) = jacobian.blocks
    parts: list[Part] = [(piece.label, piece.index.reshape(-1)) for piece in jacobian.columns]
    ours = jacobian.rmv(u)
    for name, where in disagreeing([*parts, ("parameters outside every layer", slice(None))], ours, gradient, theta):
        _refuse(name, "Dᵀu", norm(ours[where] - gradient[where]), norm(gradient[where]))
    sizes = sizes_of(theta)
    whole = norm(gradient * sizes)
    for piece, (label, where) in zip(jacobian.columns, parts, strict=True):
        part = torch.zeros_like(theta)
        part[where] = gradient[where]
        if is_nothing(part * sizes, whole):  # zero by cancellation: what is left is rounding, and G u its square
            continue
        own = replace(jacobian, blocks=(replace(block, columns=(piece,)),))
        _compare(label, own.gram() @ u.reshape(-1), _autograd_mv(function, theta, part, inputs))
    _compare("the whole model", jacobian.gram() @ u.reshape(-1), _autograd_mv(function, theta, gradient, inputs))


def _compare(name: str, ours: Outputs, theirs: Outputs) -> None:
    theirs = theirs.detach().reshape(-1)
    if bool(torch.isfinite(theirs).all()) and differ(ours, theirs, norm(theirs)):
        _refuse(name, "G u", norm(ours - theirs), norm(theirs))


def _refuse(name: str, what: str, difference: float, size: float) -> None:
    raise JacobianError(
        f"{name or 'the model'}: {what} by layers differs from autograd's by {difference:.2g} (of {size:.2g}). "
        "The layer mixes samples, a hook changes what goes backwards, or the rule does not fit what it computes: use "
        "layers that act on each sample alone, remove the hook, correct the rule given to gd.register_rule, or write "
        "the layer as a custom module."
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
        return function.standing_at(leaves, lambda: _row_by_row(function, leaves, list(tangents.values()), inputs))


def _row_by_row(function: ModelFunction, leaves: dict[str, Tensor], v: list[Tensor], inputs: Inputs) -> Outputs:
    with torch.enable_grad():
        x = function.rows(inputs)
    used = list(leaves.values())
    rows = [torch.autograd.grad(e, used, retain_graph=True, allow_unused=True) for e in x.reshape(-1)]
    return torch.stack([_paired(row, v) for row in rows]).view(x.shape)


def _paired(gradients: Iterable[Tensor | None], directions: list[Tensor]) -> Tensor:
    """`⟨gradient, direction⟩` over all parameters; None for a gradient that is zero."""
    pairs = zip(gradients, directions, strict=True)
    return sum(((g.to_dense() * t).sum() for g, t in pairs if g is not None), directions[0].new_zeros(()))
