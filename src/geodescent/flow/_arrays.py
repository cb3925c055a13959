"""Conversion of velocities between torch and NumPy, for SciPy's integrator."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from geodescent._types import Outputs, Theta

Array = NDArray[np.float64]
Velocity = Callable[[float, Theta], Theta]
"""The velocity of θ at a time and a θ, in the time variable of a field; tensors in and out."""
Remaining = Callable[[Outputs], Outputs]
"""Outputs (m,) ↦ what replaces x − y where the flow is that of another cost."""


def as_arrays(velocity: Velocity, like: Theta) -> Callable[[float, Array], Array]:
    """The same velocity on arrays, as SciPy needs it."""
    return lambda time, theta: velocity(time, tensor_of(theta, like)).double().cpu().numpy()


def tensor_of(theta: Array, like: Theta) -> Theta:
    """A copy of an array as a tensor with the dtype and device of `like`."""
    return torch.from_numpy(theta.copy()).to(like)
