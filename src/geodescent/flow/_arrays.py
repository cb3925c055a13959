"""Velocities as arrays: NumPy is met here, where SciPy integrates, and nowhere else in the room."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from geodescent._types import Outputs, Theta

Array = NDArray[np.float64]
Velocity = Callable[[float, Theta], Theta]
"""`dθ/dτ` at a time and a θ, on the clock of a field; tensors in and out."""
Remaining = Callable[[Outputs], Outputs]
"""What stands in the place of x − y, of outputs (m,), where the flow is of another cost."""


def as_arrays(velocity: Velocity, like: Theta) -> Callable[[float, Array], Array]:
    """The same velocity on arrays, as SciPy asks for it."""
    return lambda time, theta: velocity(time, tensor_of(theta, like)).double().cpu().numpy()


def tensor_of(theta: Array, like: Theta) -> Theta:
    """A copy of an array as a tensor of this kind."""
    return torch.from_numpy(theta.copy()).to(like)
