"""The columns by rules of layers against autograd."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian
from geodescent.linalg import norm
from geodescent.outputs._autograd import SUMMED, differ, is_nothing, sizes_of, value_and_derivative
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs

UNSEEN = 10.0  # Times eps of the outputs: a difference that no output would show.
NOISE = 10.0  # Times what autograd's own Dᵀu is off by: rounding errors of the two ways are of one size.
ANOTHER = 0.5  # Share of a difference by which it changes over some rounding errors of θ, if it is rounding itself.
SILENT = 0.1  # Share of a part of the gradient that rounding makes up, where the part says nothing.

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


@dataclass(frozen=True)
class Gradients:
    """`Dᵀu` at one θ by two ways.

    Attributes:
        theta: where.
        jacobian: D by layers.
        outputs: x[θ], (N, Q).
        u: random, (N, Q).
        ours, theirs: by layers, and by autograd.
    """

    theta: Theta
    jacobian: BlockJacobian
    outputs: Outputs
    u: Outputs
    ours: Theta
    theirs: Theta

    @cached_property
    def sizes(self) -> Theta:
        """Of the parameters, the units in which their parts of Dᵀu are compared."""
        return sizes_of(self.theta)

    @property
    def whole(self) -> float:
        """The size of what rounding errors are a share of."""
        return max(norm(self.theirs * self.sizes), norm(self.outputs * self.u))

    @cached_property
    def off(self) -> Theta:
        """The difference of the two."""
        return (self.ours - self.theirs) * self.sizes


@dataclass(frozen=True)
class Rounding:
    """What tells rounding errors from wrong numbers.

    Attributes:
        nearby: `Dᵀu` by both ways at a few points close by, where rounding is another and a wrong rule as wrong.
        multiples: `Dᵀ(c u)/c` by autograd for c = 2 and a few other c: the same numbers but for rounding, also where
            all that a gradient passes through is fixed; twice u makes the same rounding errors.
        exactly: `Dᵀu` with more digits; None where there are no more, or the model cannot be copied.
    """

    nearby: Callable[[], Iterator[Gradients]]
    multiples: Callable[[], Iterator[Theta]]
    exactly: Callable[[], Theta | None]

    def explains(self, here: Gradients, where: Tensor | slice) -> bool:
        """Whether a difference is rounding: with more digits by layers as right as autograd, no larger than autograd's
        own in multiples of u, or another close by.
        """
        exact = self._exact
        if exact is not None and bool(torch.isfinite(exact).all()):
            ours, theirs = (norm(found[where].double() - exact[where]) for found in (here.ours, here.theirs))
            if ours <= SUMMED * theirs:
                return True
        off, size = here.off[where], norm(here.off[where])
        doubled, *others = (((other - here.theirs) * here.sizes)[where] for other in self._in_multiples)
        if not bool(doubled.any()) and any(size <= NOISE * norm(other) for other in others):
            return True
        return any(norm(off - other.off[where]) > ANOTHER * size for other in self.nearby())

    @cached_property
    def _in_multiples(self) -> list[Theta]:
        """Computed once for all parts."""
        return list(self.multiples())

    @cached_property
    def _exact(self) -> Theta | None:
        """Computed once for all parts."""
        return self.exactly()

    def is_all(self, here: Gradients) -> bool:
        """Whether Dᵀu itself is another close by, as where all of it is zero by cancellation."""
        others = (norm((other.theirs - here.theirs) * here.sizes) for other in self.nearby())
        return any(off > ANOTHER * norm(here.theirs * here.sizes) for off in others)


def check_agreement(function: ModelFunction, inputs: Inputs, here: Gradients, rounding: Rounding) -> Tensor:
    """Compares Dᵀu and G u by layers with autograd's Dᵀu and D(Dᵀu); in which entries Dᵀu is more than rounding, (K,).

    Args:
        here: at the point of the check.
        rounding: of both.

    Raises: JacobianError, naming the layer that disagrees.
    """
    jacobian, u, scaled, known = here.jacobian, here.u, here.theirs * here.sizes, torch.ones_like(here.theirs)
    block, size, whole = jacobian.blocks[0].made(), norm(scaled), here.whole
    parts: list[Part] = [(piece.label, piece.index.reshape(-1)) for piece in jacobian.columns]
    of_parameters: list[Part] = [(p.name, p.entries) for p in function.parameters]  # a bias beside a larger weight
    rounded, tiny, eps = set[str](), torch.finfo(scaled.dtype).tiny, torch.finfo(scaled.dtype).eps
    for name, where in disagreeing([*parts, *of_parameters], here.ours, here.theirs, here.theta):
        if norm(here.off[where]) > UNSEEN * eps * whole and not rounding.explains(here, where):
            _refuse(name, "Dᵀu", norm(here.ours[where] - here.theirs[where]), norm(here.theirs[where]))
        rounded.add(name)
    for _, where in [*parts, *of_parameters]:
        if norm(here.off[where]) > SILENT * norm(scaled[where]):
            known[where] = scaled[where] = 0.0
    products = list[_Product]()
    for piece, (label, where) in zip(jacobian.columns, parts, strict=True):
        if label in rounded or is_nothing(scaled[where], whole):
            continue
        part = torch.zeros_like(known)
        part[where] = here.theirs[where]
        own = replace(jacobian, blocks=(replace(block, columns=(piece,)),))
        share = norm(scaled[where]) / max(whole, tiny)
        products.append(_Product(label, part, own.gram() @ u.reshape(-1), share))
    if not products and not is_nothing(scaled, whole):
        share = size / max(whole, tiny)
        products.append(_Product("the whole model", here.theirs, jacobian.gram() @ u.reshape(-1), share))
    for product in _not_together(products, lambda v: _autograd_mv(function, here.theta, v, inputs)):
        theirs = _autograd_mv(function, here.theta, product.v, inputs)
        if not product.agrees(theirs) and not rounding.is_all(here):
            _refuse(product.name, "G u", norm(product.ours - theirs.detach().reshape(-1)), norm(theirs))
    return known


@dataclass(frozen=True)
class _Product:
    """`G u = D(Dᵀu)` of a part of the parameters, by layers.

    Attributes:
        name: of the part.
        v: Dᵀu, zero outside of the part, (K,).
        ours: the product, (N·Q,).
        share: of the part in Dᵀu, in units of the parameters' own sizes: the product has the rounding errors of the
            whole, divided by it.
    """

    name: str
    v: Theta
    ours: Outputs
    share: float

    def agrees(self, theirs: Outputs) -> bool:
        """Whether autograd's is the same up to rounding, or not finite."""
        theirs = theirs.detach().reshape(-1)
        whole = max(norm(self.ours), norm(theirs)) * max(1.0, SUMMED / max(self.share, torch.finfo(theirs.dtype).eps))
        return not bool(torch.isfinite(theirs).all()) or not differ(self.ours, theirs, whole)


def _not_together(products: list[_Product], autograd_mv: Callable[[Theta], Outputs]) -> list[_Product]:
    """Those that are left to compare after one product with the sum of parts, each in the length that makes its own
    product 1: the parts that are no small share of Dᵀu agree together, or each is looked at.
    """
    least = torch.finfo(products[0].v.dtype).eps ** 0.25 if products else 1.0
    large = [p for p in products if p.share >= least and 0.0 < norm(p.ours) < math.inf]
    if len(large) < 2:
        return products
    lengths = [norm(p.ours) for p in large]
    v = torch.stack([p.v / length for p, length in zip(large, lengths, strict=True)]).sum(0)
    ours = torch.stack([p.ours / length for p, length in zip(large, lengths, strict=True)]).sum(0)
    theirs = autograd_mv(v)
    if not bool(torch.isfinite(theirs).all()) or not _Product("", v, ours, 1.0).agrees(theirs):
        return products
    return [p for p in products if all(p is not q for q in large)]


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
    with suppress(RuntimeError, NotImplementedError):
        return value_and_derivative(lambda p: function.outputs(p, inputs), (views,), (tangents,))[1]
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
