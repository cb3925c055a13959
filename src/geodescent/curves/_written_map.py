"""A formula that torch does not differentiate as an output map."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Outputs, Theta
from geodescent.curves._differences import second_difference
from geodescent.jacobian import Jacobian, MatrixJacobian


@dataclass(frozen=True, eq=False)
class WrittenMap:
    """`x[u]` from functions for the rows and for D.

    Attributes:
        rows: `u ↦ x[u]`, (m,).
        derivative: `u ↦ D`, (m, k).
        theta: u, written in place.
        shape: (m,).
    """

    rows: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    theta: Theta
    shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of u and the rows."""
        return self.theta.dtype

    @property
    def device(self) -> torch.device:
        """Of u and the rows."""
        return self.theta.device

    def __call__(self, theta: Theta) -> Outputs:
        """`x[u]`."""
        with torch.no_grad():
            return self.rows(theta)

    def linearise(self, theta: Theta) -> tuple[Outputs, Jacobian]:
        """`x[u]` and D."""
        return self(theta), MatrixJacobian(self.derivative(theta))

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """By differences."""
        return second_difference(self, theta, direction)

    def write(self, theta: Theta) -> None:
        """Copies u."""
        self.theta.copy_(theta)
