"""The second derivative of outputs along a line: forward over forward, by backward passes, or by differences."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from geodescent._types import Outputs, Theta
from geodescent.linalg import norm, row_norm
from geodescent.outputs._autograd import random_rows, second_derivative_of, value_and_derivative

CURVES_AGREE = 10.0  # Times √eps of the second derivative: forward and backward passes sum in different orders.

Function = Callable[[Theta], Outputs]


@dataclass
class SecondDerivative:
    """`d²x[θ + sv]/ds²` at s = 0, for one function of θ that may be called on other samples each time.

    Forward over forward takes little memory, but it is wrong, without an error, for operations whose derivative reuses
    saved results, as torch's `layer_norm`, `linalg.solve` and `linalg.det` do: forward mode takes these as constants.
    So the first call compares it with backward passes along a random line, and where the two differ backward passes are
    used from then on.

    Attributes:
        forward: whether forward over forward is right; None before the first call.
    """

    forward: bool | None = None

    def __call__(self, outputs: Function, few: Function, theta: Theta, direction: Theta) -> Outputs:
        """At θ along the direction; by the central difference of length `eps^¼` where autograd has none.

        Args:
            outputs: `θ ↦ x[θ]`.
            few: the same on a few samples, on which the methods are compared.
        """
        if self.forward is None:
            self.forward = _forward_is_right(few, theta)
        ways = [forward_over_forward, backward] if self.forward else [backward]
        for way in ways:
            curvature = _attempt(way, outputs, theta, direction)
            if curvature is not None:
                return curvature
        return central_difference(outputs, theta, direction)


def forward_over_forward(outputs: Function, theta: Theta, direction: Theta) -> Outputs:
    """Takes as long as some six calls, and little memory."""

    def first(at: Theta) -> Outputs:
        return value_and_derivative(outputs, (at,), (direction,))[1]

    return value_and_derivative(first, (theta,), (direction,))[1]


def backward(outputs: Function, theta: Theta, direction: Theta) -> Outputs | None:
    """One call with its graph and four backward passes; None where the outputs can be differentiated once only."""
    leaf = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        x = outputs(leaf)
    return second_derivative_of(x, [leaf], [direction])


def backwards_if_defined(outputs: Function, theta: Theta, direction: Theta) -> Outputs | None:
    """By backward passes; None where an operation has no such derivative."""
    return _attempt(backward, outputs, theta, direction)


def central_difference(outputs: Function, theta: Theta, direction: Theta) -> Outputs:
    """`(x[θ + hv] − 2x[θ] + x[θ − hv])/h²`, ‖hv‖ = eps^¼ of θ's size: for functions without a derivative."""
    h = _step(theta, direction, 1.0 / 4.0)
    if h == 0.0:
        return torch.zeros_like(outputs(theta))
    ahead, behind = outputs(theta + h * direction), outputs(theta - h * direction)
    return (ahead - 2.0 * outputs(theta) + behind) / h**2


def _forward_is_right(few: Function, theta: Theta) -> bool:
    """Whether forward over forward exists, and agrees with backward passes where these exist."""
    direction = random_rows(theta.shape, theta)
    ours = _attempt(forward_over_forward, few, theta, direction)
    if ours is None:
        return False
    theirs = _attempt(backward, few, theta, direction)
    if theirs is None:
        return True
    off, size = row_norm(ours - theirs), max(row_norm(ours), row_norm(theirs))
    return off <= CURVES_AGREE * math.sqrt(torch.finfo(theta.dtype).eps) * size or not math.isfinite(size)


def _attempt(
    way: Callable[[Function, Theta, Theta], Outputs | None], outputs: Function, theta: Theta, direction: Theta
) -> Outputs | None:
    """The result of this method; None where an operation has no such derivative."""
    try:
        return way(outputs, theta, direction)
    except (NotImplementedError, RuntimeError):
        return None


def _step(theta: Theta, direction: Theta, power: float) -> float:
    """`eps^power` of θ's size, as a multiple of the direction; 0 for no direction."""
    length = norm(direction)
    if length == 0.0:
        return 0.0
    size = max(1.0, norm(theta) / math.sqrt(len(theta)))
    return math.pow(torch.finfo(theta.dtype).eps, power) * size / length
