"""The columns by rules of layers against autograd."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian, Columns
from geodescent.linalg import norm, row_norm
from geodescent.outputs._autograd import SUMMED, differ, is_beyond_rounding, random_rows, sizes_of
from geodescent.outputs._function import ModelFunction

UNSEEN = 10.0  # Times eps of the outputs: a difference that no output would show.
NOISE = 10.0  # Times what autograd's own Dᵀu is off by: rounding errors of the two ways are of one size.
ANOTHER = 0.5  # Share of a difference by which it changes over some rounding errors of θ, if it is rounding itself.
MIXTURES = 2  # Of the outputs, in the place of all of them: a random mixture has a share of each.
SILENT = 0.1  # Share of a part of the gradient that rounding makes up, where the part says nothing.

Part = tuple[str, Tensor | slice]
"""The name of some entries of θ, and where they stand."""


def disagreeing(parts: Iterable[Part], ours: Theta, theirs: Theta, theta: Theta) -> list[Part]:
    """The parts of θ in which two results for the same Dᵀu differ by more than rounding.

    Parts are compared in units of the parameters' own sizes, so that one of tiny units counts like any other. None
    where the numbers are not finite.
    """
    if torch.equal(ours, theirs) or not bool(torch.isfinite(theirs).all()):
        return []
    sizes = sizes_of(theta)
    return _beyond_rounding(parts, (ours - theirs).mul_(sizes), theirs * sizes)


def _beyond_rounding(parts: Iterable[Part], off: Theta, theirs: Theta) -> list[Part]:
    """The same from the difference, both in units of the parameters' sizes."""
    whole = norm(theirs)
    if not math.isfinite(whole):
        return []
    return [(name, where) for name, where in parts if is_beyond_rounding(norm(off[where]), theirs[where], whole)]


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
        return max(norm(self.scaled), norm(self.outputs * self.u))

    @cached_property
    def scaled(self) -> Theta:
        """Autograd's, in units of the parameters' sizes."""
        return self.theirs * self.sizes

    @cached_property
    def off(self) -> Theta:
        """The difference of the two, in the same units."""
        return (self.ours - self.theirs).mul_(self.sizes)


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


def check_agreement(function: ModelFunction, here: Gradients, rounding: Rounding, *, products: bool) -> list[slice]:
    """Compares Dᵀu by layers with autograd's; in which parameters it is nothing but rounding.

    A D whose `Dᵀu` is right for random u is right. That `D v` and G belong to the same D is found without autograd,
    layer by layer.

    Args:
        here: at the point of the check.
        rounding: of both.
        products: whether D v and G u are looked at.

    Raises: JacobianError, naming the layer that disagrees.
    """
    of_parameters = [(p.name, p.entries) for p in function.parameters]  # a bias beside a larger weight
    if _beyond_rounding(of_parameters, here.off, here.scaled):
        parts: list[Part] = [(piece.label, piece.index.reshape(-1)) for piece in here.jacobian.columns]
        _refuse_other_gradients([*parts, *of_parameters], here, rounding)
    for piece in here.jacobian.columns if products else ():
        _refuse_other_products(here, piece)
    return [where for _, where in of_parameters if norm(here.off[where]) > SILENT * norm(here.scaled[where])]


def _refuse_other_gradients(parts: list[Part], here: Gradients, rounding: Rounding) -> None:
    """Raises JacobianError for parts of θ in which Dᵀu is another by layers, by more than rounding explains."""
    unseen = UNSEEN * torch.finfo(here.theta.dtype).eps * here.whole
    for name, where in _beyond_rounding(parts, here.off, here.scaled):
        if norm(here.off[where]) > unseen and not rounding.explains(here, where):
            _refuse(name, "Dᵀu", "autograd's", here.ours[where], here.theirs[where])


def _refuse_other_products(here: Gradients, piece: Columns) -> None:
    """Raises JacobianError where `D v` or `G u` of a layer do not belong to its Dᵀu.

    Of many outputs a few mixtures are looked at: their G is small.
    """
    block, n_outputs = here.jacobian.blocks[0], here.u.shape[1]
    own = replace(here.jacobian, blocks=(replace(block.made(), columns=(piece,)),))
    if n_outputs > MIXTURES:
        own = own.mixed(random_rows((n_outputs, MIXTURES), here.u))
    u = here.u[:, :MIXTURES].reshape(-1)
    v = own.rmv(u)
    along, gram = own.mv(v), own.gram()
    products, size = gram @ u, norm(gram) * row_norm(u)
    numbers = (along @ u)[None], (v @ v)[None]
    if not all(map(math.isfinite, (size, *map(float, numbers)))):
        return
    if differ(*numbers, row_norm(along) * row_norm(u)):
        _refuse(piece.label, "⟨u, D v⟩", "⟨Dᵀu, v⟩", *numbers)
    if differ(products, along, size):
        _refuse(piece.label, "G u", "D(Dᵀu)", products, along)


def _refuse(name: str, what: str, other: str, ours: Tensor, theirs: Tensor) -> None:
    off, size = norm(ours - theirs), norm(theirs)
    raise JacobianError(
        f"{name or 'the model'}: {what} by layers differs from {other} by {off:.2g} (of {size:.2g}). "
        "The layer mixes samples, a hook changes what goes backwards, or the rule does not fit what it computes: use "
        "layers that act on each sample alone, remove the hook, correct the rule given to gd.register_rule, or write "
        "the layer as a custom module."
    )
