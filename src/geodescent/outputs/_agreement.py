"""D against another path: the rules of layers against autograd, the D of a formula against differences of outputs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geodescent._errors import InputError, JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian, Jacobian, MatrixJacobian
from geodescent.linalg import norm, row_dot, row_norm
from geodescent.outputs._autograd import gradient_of, random_rows, value_and_derivative
from geodescent.outputs._function import ModelFunction, Parameter
from geodescent.outputs._inputs import Inputs
from geodescent.outputs._second_derivative import Function

TOLERANCE = 10.0  # Times √eps of a part's own size: sums over samples and layers are taken in another order.
AGREES = 1e-3
"""Share of `⟨u, D v⟩` by which D may differ from a difference: solvers inside f have derivatives this good."""
BENT = 10.0  # Times the difference of the slopes ahead and behind: D at a kink is one of them, summed over random rows.
ROUNDED = 100.0  # Times eps of the outputs: what calls of f are off by, for sums of some thousand numbers.
SHORTENED = (2.0, 5.0, 11.0)
"""Factors by which other differences are shorter: they agree on a slope, not on jumps or noise."""
NEARBY = 1e-2  # Share of each parameter by which the point of the check lies off the start, where kinks and zeros are.
GROUPS = 3  # Directions at first: a part of θ is not hidden by larger ones, and the check stays at a dozen calls.
NAMED = 3  # Parts of θ that a message names.


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


def as_jacobian(returned: object, shape: tuple[int, int], places: list[Parameter], theta: Theta) -> Jacobian:
    """The D that a user's function returned: a tensor or an array, a dict of them by name, or a Jacobian.

    Args:
        shape: (m, K).
        places: the named parameters; none where θ is a flat tensor.
    """
    if isinstance(returned, Mapping):
        returned = _joined(returned, shape, places, theta)
    if not isinstance(returned, Jacobian):
        dense = _as_tensor(returned, theta, "jacobian returned")
        if tuple(dense.shape) != shape:
            raise InputError(f"jacobian returned shape {tuple(dense.shape)}: (m, K) = {shape} is needed.")
        return MatrixJacobian(dense)
    if tuple(returned.shape) != shape:
        raise InputError(f"jacobian returned a Jacobian of shape {tuple(returned.shape)}: (m, K) = {shape} is needed.")
    if returned.dtype != theta.dtype or returned.device != theta.device:
        raise InputError(
            f"jacobian returned a Jacobian of {returned.dtype} on {returned.device}, and θ is {theta.dtype} on "
            f"{theta.device}: pass gd.MatrixJacobian dtype={theta.dtype} and device={str(theta.device)!r}."
        )
    return returned


def _joined(returned: Mapping[str, object], shape: tuple[int, int], places: list[Parameter], theta: Theta) -> Tensor:
    """D from its columns by name."""
    if not places:
        raise InputError(f"jacobian returned a dict and θ is a flat tensor: return D, (m, K) = {shape}.")
    missing = [p.name for p in places if p.name not in returned]
    if missing:
        raise InputError(f"jacobian returned a dict without {', '.join(missing)}: one entry a parameter.")
    columns = list[Tensor]()
    for p in places:
        part = _as_tensor(returned[p.name], theta, f"the entry {p.name!r} of what jacobian returned is")
        if part.numel() != shape[0] * math.prod(p.shape):
            raise InputError(
                f"jacobian returned shape {tuple(part.shape)} for {p.name!r}: (m, *shape) = {(shape[0], *p.shape)} is "
                "needed."
            )
        columns.append(part.reshape(shape[0], -1))
    return torch.cat(columns, 1)


def _as_tensor(returned: object, theta: Theta, what: str) -> Tensor:
    try:
        return torch.as_tensor(returned).detach().to(theta)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} {type(returned).__name__}, which is no tensor: return D as a tensor (m, K), a dict of tensors by "
            f"name, or a gd.Jacobian. Torch says: {error}"
        ) from error


def sizes_of(theta: Theta) -> Theta:
    """The size of each parameter, 1 for one that is zero."""
    return torch.where(theta == 0.0, torch.ones_like(theta), theta.abs())


def point_of_check(function: Function, theta: Theta, u: Outputs) -> Theta:
    """θ, moved a little, if the function is defined there: at the start derivatives are often zero, or have a kink.

    Args:
        u: of the outputs' shape.
    """
    moved = theta + NEARBY * sizes_of(theta) * random_rows(theta.shape, theta)
    return moved if bool(torch.isfinite(_where_defined(function, moved, u)).all()) else theta.clone()


def _where_defined(function: Function, theta: Theta, u: Outputs) -> Outputs:
    """`x[θ]`; not a number where the function raises an error, or returns another shape than that of u."""
    try:
        outputs = function(theta)
    except Exception:  # a function of the user's, which may not be defined near the start, may raise anything
        return torch.full_like(u, math.nan)
    return outputs if outputs.shape == u.shape else torch.full_like(u, math.nan)


@dataclass(frozen=True)
class SlopeCheck:
    """Compares `⟨Dᵀu, v⟩` with `⟨u, (x[θ + hv] − x[θ − hv])/2h⟩`, v a random direction in some entries of θ.

    The verdict is that they differ only where the outputs have a slope: where the differences ahead and behind are
    alike, and a shorter one gives the same. Kinks, jumps, noise and numbers that are not finite give no verdict.

    Attributes:
        function: `θ ↦ x[θ]`.
        theta: the point.
        u: random, in the outputs' shape.
        gradient: Dᵀu at the point.
        edges: where the parts of θ begin, and K.
    """

    function: Function
    theta: Theta
    u: Outputs
    gradient: Theta
    edges: Sequence[int]

    def wrong(self) -> list[int]:
        """The parts of θ in which D is not the derivative, a few of them; mostly none.

        Cost: two calls a direction; there are `GROUPS` directions, and one more for all entries whose gradient is zero.
        """
        v = sizes_of(self.theta) * random_rows(self.theta.shape, self.theta)
        n, silent = len(self.edges) - 1, self.gradient == 0.0
        found = self._among(v * silent, 0, n) if bool(silent.any()) else []
        for group in range(min(GROUPS, n)):
            found += self._among(v, group * n // min(GROUPS, n), (group + 1) * n // min(GROUPS, n))
        return sorted(set(found))

    def sizes(self, parts: list[int]) -> tuple[float, float]:
        """By how much the two differ along these parts, and the difference of the outputs itself."""
        v, part = sizes_of(self.theta) * random_rows(self.theta.shape, self.theta), torch.zeros_like(self.theta)
        for i in parts:
            part[self.edges[i] : self.edges[i + 1]] = v[self.edges[i] : self.edges[i + 1]]
        slope = row_dot(self.u, self._slope(part, self._step)[0])
        return abs(slope - row_dot(self.gradient, part)), abs(slope)

    def _among(self, v: Theta, first: int, last: int) -> list[int]:
        """Which of these parts are wrong, by halves."""
        along, entries = torch.zeros_like(v), slice(self.edges[first], self.edges[last])
        along[entries] = v[entries]
        if not bool(along.any()) or not self._differs(along):
            return []
        if last - first == 1:
            return [first]
        middle = (first + last) // 2
        found = self._among(v, first, middle)
        return found if len(found) > NAMED else found + self._among(v, middle, last)

    def _differs(self, v: Theta) -> bool:
        slope, bend = self._slope(v, self._step)
        ours, theirs = row_dot(self.gradient, v), row_dot(self.u, slope)
        moved = self.u * self._here * (slope != 0.0)
        noise = ROUNDED * torch.finfo(v.dtype).eps * row_norm(moved) / self._step
        allowed = AGREES * (abs(ours) + row_norm(self.u * slope)) + BENT * row_norm(self.u * bend) + noise
        off = abs(ours - theirs)
        if not off > allowed:
            return False
        others = (row_dot(self.u, self._slope(v, self._step / factor)[0]) for factor in SHORTENED)
        alike = 0.1 * min(off, row_norm(self.u * slope))
        return all(abs(other - theirs) <= alike for other in others)

    def _slope(self, v: Theta, h: float) -> tuple[Tensor, Tensor]:
        """The slope of the outputs along v over a length h to both sides, and its change from behind to ahead."""
        ahead, behind = (_where_defined(self.function, self.theta + s * h * v, self.u) for s in (1.0, -1.0))
        return (ahead - behind) / (2.0 * h), ((ahead - self._here) - (self._here - behind)) / h

    @cached_property
    def _here(self) -> Outputs:
        return self.function(self.theta)

    @property
    def _step(self) -> float:
        """`eps^⅓`, at which rounding and curvature spoil a central difference alike; v has the size of θ."""
        return math.pow(torch.finfo(self.theta.dtype).eps, 1.0 / 3.0)
