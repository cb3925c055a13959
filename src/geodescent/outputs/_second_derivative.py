"""The second derivative of outputs along a line: by autograd where that is right, else by differences of the first.

Torch differentiates some operations twice and is wrong without a word: the first derivative keeps what the operation
saved, which forward mode takes for constant. `layer_norm`, `instance_norm`, `linalg.solve` and `linalg.det` are of that
kind (torch 2.13). So autograd's answer is held against a difference once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from geodescent._types import Outputs, Theta
from geodescent.linalg import norm, row_norm
from geodescent.outputs._agreement import random_rows


@dataclass(frozen=True)
class Derivatives:
    """What there is of outputs along lines in θ.

    Attributes:
        outputs: `θ ↦ x[θ]`.
        first: `(θ, v) ↦ Dv`; raises RuntimeError or NotImplementedError where there is none.
        second: `(θ, v) ↦ d²x[θ + sv]/ds²` by autograd; raises the same.
    """

    outputs: Callable[[Theta], Outputs]
    first: Callable[[Theta, Theta], Outputs]
    second: Callable[[Theta, Theta], Outputs]

    @classmethod
    def forward(cls, outputs: Callable[[Theta], Outputs]) -> "Derivatives":
        """Those of forward mode: the second is forward over forward."""

        def first(theta: Theta, v: Theta) -> Outputs:
            slope: Tensor = jvp(outputs, (theta,), (v,))[1]
            return slope

        def second(theta: Theta, v: Theta) -> Outputs:
            curvature: Tensor = jvp(lambda at: first(at, v), (theta,), (v,))[1]
            return curvature

        return cls(outputs, first, second)


@dataclass
class SecondDerivative:
    """`d²x[θ + sv]/ds²` of one function, which is held against a difference along one random line, the first time.

    Attributes:
        by_autograd: whether autograd's is right; None before the first question.
    """

    by_autograd: bool | None = None

    def __call__(self, known: Derivatives, theta: Theta, direction: Theta) -> Outputs:
        """At θ along the direction.

        Cost: some six calls of the outputs by autograd, and as many by differences.
        """
        if norm(direction) == 0.0:
            return torch.zeros_like(known.outputs(theta))
        if self.by_autograd is None:
            self.by_autograd = _agree(known, theta)
        curvature = _attempt(known.second, theta, direction) if self.by_autograd else None
        return by_differences(known, theta, direction) if curvature is None else curvature


def by_differences(known: Derivatives, theta: Theta, direction: Theta) -> Outputs:
    """`(D[θ + hv] − D[θ − hv])v/(2h)`, which loses a third of the digits; of the outputs, half, where there is no D."""

    def along(at: Theta) -> Outputs:
        return known.first(at, direction)

    curvature = _attempt(lambda at, _: central_slope(along, at, direction), theta, direction)
    return central_difference(known.outputs, theta, direction) if curvature is None else curvature


def central_difference(outputs: Callable[[Theta], Tensor], theta: Theta, direction: Theta) -> Tensor:
    """`(x[θ + hv] − 2x[θ] + x[θ − hv])/h²`, ‖hv‖ = eps^¼ of θ's size: where no derivative is to be had."""
    h = _step(theta, direction, 1.0 / 4.0)
    if h == 0.0:
        return torch.zeros_like(outputs(theta))
    ahead, behind = outputs(theta + h * direction), outputs(theta - h * direction)
    return (ahead - 2.0 * outputs(theta) + behind) / h**2


def central_slope(outputs: Callable[[Theta], Tensor], theta: Theta, direction: Theta) -> Tensor:
    """`(x[θ + hv] − x[θ − hv])/(2h)`, ‖hv‖ = eps^⅓ of θ's size, v not zero."""
    h = _step(theta, direction, 1.0 / 3.0)
    return (outputs(theta + h * direction) - outputs(theta - h * direction)) / (2.0 * h)


def _agree(known: Derivatives, theta: Theta) -> bool:
    """Whether both ways agree along a random line, to eps^¼: what the less exact of the differences can show."""
    direction = random_rows(theta.shape, theta)
    exact = _attempt(known.second, theta, direction)
    if exact is None:
        return False
    difference = by_differences(known, theta, direction)
    off, size = row_norm(exact - difference), row_norm(difference)
    return off <= math.pow(torch.finfo(theta.dtype).eps, 0.25) * max(size, row_norm(exact)) or not math.isfinite(size)


def _attempt(derivative: Callable[[Theta, Theta], Outputs], theta: Theta, direction: Theta) -> Outputs | None:
    """The derivative, or None where an operation has none of this kind."""
    try:
        return derivative(theta, direction)
    except (NotImplementedError, RuntimeError):
        return None


def _step(theta: Theta, direction: Theta, power: float) -> float:
    """`eps^power` of θ's size, as a multiple of the direction; 0 for no direction."""
    length = norm(direction)
    if length == 0.0:
        return 0.0
    size = max(1.0, norm(theta) / math.sqrt(len(theta)))
    return math.pow(torch.finfo(theta.dtype).eps, power) * size / length
