"""Derivatives by autograd: along a line by forward mode, and backwards through the graph of the outputs."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

from geodescent._budget import budget, require
from geodescent._deadline import PIECE_SHARE, PRODUCT, Allowance, has_deadline, measuring, require_time, seconds_of
from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.linalg import norm, row_dot, row_norm

TWICE, FORWARDS = "product by two passes backwards", "product by forward mode"
"""Pieces of work whose seconds decide by which of them products are taken."""
SEED = 7919  # Seed: not 0, with which users often draw θ, because a check along θ itself could miss errors.

SUMMED = 10.0  # Times √eps of a part's own size: sums over samples and layers are taken in another order.


def value_and_derivative(
    function: Callable[..., Tensor], point: tuple[Any, ...], direction: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """`(f(p), d f(p + sv)/ds)` at s = 0, by one call of the function; p and v are its arguments.

    Raises: NotImplementedError or RuntimeError, where an operation has no forward derivative.
    """
    _load_forward_mode()
    answer = torch.func.jvp(function, point, direction)
    return answer[0], answer[1]


@cache
def _load_forward_mode() -> None:
    """Makes torch load forward mode, at which it warns of a deprecated call of its own, once a process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1, device="cpu"),), (torch.zeros(1, device="cpu"),))


@contextmanager
def differentiable(what: str) -> Iterator[None]:
    """Says in a JacobianError why torch cannot differentiate the outputs.

    Args:
        what: the module or the closure, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split(". ")[0].split())
        raise JacobianError(
            f"torch cannot differentiate the outputs of {what}: {said}. Write its forward pass without changing "
            "tensors in place, and checkpoints with use_reentrant=False."
        ) from error


def sizes_of(theta: Theta) -> Theta:
    """The size of each parameter, 1 for one that is zero."""
    return theta.abs().masked_fill_(theta == 0.0, 1.0)


def differ(ours: Tensor, theirs: Tensor, whole: float, power: float = 0.5) -> bool:
    """`‖a − b‖ > 10 eps^power ‖b‖ + eps^¾ ‖whole‖`: by more than rounding.

    Args:
        whole: the size of what the two are a part of, which may be zero by cancellation of much larger numbers.
        power: larger where a difference that is taken for a wrong number costs nothing but time.
    """
    return is_beyond_rounding(norm(ours - theirs), theirs, whole, power)


def is_beyond_rounding(off: float, theirs: Tensor, whole: float, power: float = 0.5) -> bool:
    """The same of a difference of this size."""
    kind = torch.finfo(theirs.dtype)
    allowed = SUMMED * kind.eps**power * norm(theirs) + kind.eps**0.75 * whole
    return not off <= max(allowed, kind.tiny**0.5)


def gradient_of(outputs: Tensor, leaves: list[Tensor], direction: Tensor) -> list[Tensor]:
    """`Dᵀu`, one tensor a leaf; the graph is kept."""
    with torch.enable_grad():
        along = (outputs * direction).sum()
    gradients = torch.autograd.grad(along, leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g.to_dense() for a, g in zip(leaves, gradients, strict=True)]


def random_rows(shape: tuple[int, ...], like: Tensor) -> Outputs:
    """u, random by a fixed seed, without touching the global generator."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device="cpu").to(like.device)


def second_derivative_of(outputs: Tensor, leaves: list[Tensor], direction: list[Tensor]) -> Outputs | None:
    """`d²x[θ + tv]/dt²` at the θ of the graph, in the outputs' shape.

    `d²⟨u, x⟩/dt²` along v is linear in u, and its gradient by u is the result. None where x can be differentiated only
    once: autograd then gives zeros without an error, which are found by `⟨u, Dv⟩ ≠ ⟨Dᵀu, v⟩`.

    Cost: four backward passes.
    """
    u = random_rows(outputs.shape, outputs).requires_grad_()
    with torch.enable_grad():
        along = (outputs * u).sum()
        slope = _along(torch.autograd.grad(along, leaves, create_graph=True, allow_unused=True), direction)
        first, number = _by(slope, u), float(slope.detach())
        if not is_slope(first, u.detach(), number):
            return None
        if not slope.requires_grad:
            return torch.zeros_like(outputs)
        turned = torch.autograd.grad([slope], leaves, create_graph=True, allow_unused=True)
        return _by(_along(turned, direction), u)


def derivative_rows(outputs: Tensor, leaves: list[Tensor]) -> Tensor:
    """D's columns for these leaves, formed: `(N, Q, k)`; the graph is kept.

    Args:
        outputs: (N, Q), attached to the graph.

    Raises: MemoryPlanError, where they do not fit.
    Cost: a backward pass for each row, many at a time where autograd can batch them.
    """
    width = require_rows(outputs, leaves)
    flat, derivatives = outputs.reshape(-1), outputs.new_empty(outputs.numel(), width)
    chunk = max(1, budget().batch_bytes // max(1, width * outputs.dtype.itemsize))
    for start in range(0, len(flat), chunk):
        require_time("a linearisation")
        part = flat[start : start + chunk]
        derivatives[start : start + len(part)] = _batched(part, leaves)
    u = random_rows(flat.shape, flat)
    expected = torch.cat([g.reshape(-1) for g in gradient_of(flat, leaves, u)])
    if bool(torch.isfinite(expected).all()) and differ(u @ derivatives, expected, norm(expected)):
        derivatives = _one_by_one(flat, leaves)
    return derivatives.view(*outputs.shape, width)


def require_rows(outputs: Tensor, leaves: list[Tensor]) -> int:
    """How many columns these leaves have; raises MemoryPlanError where their part of D does not fit."""
    width = sum(math.prod(leaf.shape) for leaf in leaves)
    what = f"the rows of {width} parameters outside the rules, for {outputs.numel()} residuals,"
    n_bytes = outputs.numel() * width * outputs.dtype.itemsize
    require(n_bytes, outputs.device, what=what, instead="Use fewer samples, or layers that have a rule.")
    return width


def columns_twice(outputs: Tensor, leaf: Tensor) -> Tensor | None:
    """D, (m, K), column by column by two passes backwards, without parts of torch that take a second to load.

    None where that takes too large a share of the time that is left to a deadline.

    Raises: RuntimeError, where an operation can be differentiated only once.
    Cost: one graph, and a backward pass through it for each column.
    """
    twice = _kept_twice(outputs, leaf)
    if twice is None:
        raise RuntimeError("an operation of the function can be differentiated only once.")
    allowed, columns = Allowance(PIECE_SHARE), list[Tensor]()
    for unit in torch.eye(len(leaf), dtype=leaf.dtype, device=leaf.device):
        if allowed.is_spent:
            return None
        columns.append(twice(unit))
    return torch.stack(columns, 1)


def products(function: Callable[[Theta], Tensor], theta: Theta) -> tuple[Callable[[Tensor], Tensor], ...]:
    """`v ↦ D v` and `u ↦ Dᵀu` at θ, without D; the graph of one call lives as long as they do.

    Cost: of D v one call by forward mode, or two backward passes where an operation has no forward derivative; of Dᵀu
        one backward pass.
    """
    leaf = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = function(leaf)

    def forwards(v: Tensor) -> Tensor:
        with suppress(RuntimeError, NotImplementedError):
            return value_and_derivative(function, (leaf.detach(),), (v,))[1].reshape(-1)
        return _backward_twice(outputs, leaf, v)  # with the error gone: its frames hold hooks of checkpoints

    def backwards(u: Tensor) -> Tensor:
        if not outputs.requires_grad:  # a branch of the function that does not depend on θ
            return torch.zeros_like(leaf)
        return gradient_of(outputs, [leaf], u.view(outputs.shape))[0]

    if not has_deadline():
        return forwards, backwards
    faster = _faster(forwards, outputs, leaf)
    return _timely(faster), _timely(backwards)


def _timely(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same, not begun after the deadline."""

    def measured(v: Tensor) -> Tensor:
        require_time("products with D")
        with measuring(PRODUCT, v.device):
            return product(v)

    return measured


def _faster(forwards: Callable[[Tensor], Tensor], outputs: Tensor, leaf: Tensor) -> Callable[[Tensor], Tensor]:
    """`D v` by forward mode or by a second pass backwards, whichever takes less time: that differs by some factor."""
    if not outputs.requires_grad:
        return forwards
    twice = _kept_twice(outputs, leaf)
    if twice is None:
        return forwards
    if not (seconds_of(TWICE) and seconds_of(FORWARDS)):  # once a run
        for piece, product in ((TWICE, twice), (FORWARDS, forwards)):
            with measuring(piece, leaf.device):
                product(leaf.detach())
    return twice if seconds_of(TWICE) < seconds_of(FORWARDS) else forwards


def _kept_twice(outputs: Tensor, leaf: Tensor) -> Callable[[Tensor], Tensor] | None:
    """`v ↦ D v` as the derivative of `⟨Dᵀu, v⟩` by u, whose graph is kept; None where that is not D v."""
    u = random_rows(outputs.shape, outputs).requires_grad_()
    try:
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((outputs * u).sum(), [leaf], create_graph=True)
        v = random_rows(leaf.shape, leaf)
        product, number = _by((gradient * v).sum(), u), row_dot(gradient.detach(), v)
    except (RuntimeError, NotImplementedError):
        return None
    if not is_slope(product, u.detach(), number):
        return None

    def twice(v: Tensor) -> Tensor:
        with torch.enable_grad():
            slope = (gradient * v).sum()
        return _by(slope, u).reshape(-1)

    return twice


def is_slope(product: Tensor, u: Tensor, number: float) -> bool:
    """Whether `⟨u, D v⟩` is what `⟨Dᵀu, v⟩` is: where x can be differentiated only once, autograd may give zeros."""
    size = row_norm(u) * row_norm(product) + abs(number)
    return abs(row_dot(u, product) - number) <= math.sqrt(torch.finfo(u.dtype).eps) * size


def _backward_twice(outputs: Tensor, leaf: Tensor, v: Tensor) -> Tensor:
    """`D v`, as the derivative of `⟨Dᵀu, v⟩` by u, in which it is linear.

    Raises: JacobianError, where an operation can be differentiated only once: autograd may then give zeros.
    """
    u = random_rows(outputs.shape, outputs).requires_grad_()
    with torch.enable_grad():
        slope = _along(torch.autograd.grad((outputs * u).sum(), [leaf], create_graph=True), [v])
    product, number = _by(slope, u), float(slope.detach())
    if not is_slope(product, u.detach(), number):
        raise JacobianError(
            "D is too large to be formed, and torch has no product D v of the function: an operation in it has no "
            "forward derivative and can be differentiated only once. Pass jacobian=, a function that returns "
            "gd.MatrixJacobian((mv, rmv), shape=(m, K))."
        )
    return product.reshape(-1)


def _along(gradients: Sequence[Tensor | None], direction: list[Tensor]) -> Tensor:
    """`⟨gradient, v⟩` over all leaves, with its graph."""
    zero = torch.zeros((), dtype=direction[0].dtype, device=direction[0].device)
    return sum(((g.to_dense() * v).sum() for g, v in zip(gradients, direction, strict=True) if g is not None), zero)


def _by(number: Tensor, u: Tensor) -> Outputs:
    """The gradient of a number by u; zeros where it does not depend on u."""
    if not number.requires_grad:
        return torch.zeros_like(u)
    gradient = torch.autograd.grad([number], [u], retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(u) if gradient is None else gradient.detach()


def _batched(rows: Tensor, leaves: list[Tensor]) -> Tensor:
    """`∂rows/∂leaves`, (r, k): all rows at once, or one after the other."""
    unit = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    gradients = None
    with suppress(RuntimeError):  # of an operation that cannot be batched; the loop gives the same rows
        gradients = torch.autograd.grad(rows, leaves, unit, retain_graph=True, allow_unused=True, is_grads_batched=True)
    if gradients is None:
        return _one_by_one(rows, leaves)
    pairs = zip(leaves, gradients, strict=True)
    return torch.cat(
        [rows.new_zeros(len(rows), a.numel()) if g is None else g.reshape(len(rows), -1) for a, g in pairs], 1
    )


def _one_by_one(rows: Tensor, leaves: list[Tensor]) -> Tensor:
    """The same by one backward pass a row."""
    return torch.stack(
        [torch.cat([g.reshape(-1) for g in gradient_of(row, leaves, torch.ones_like(row))]) for row in rows]
    )
