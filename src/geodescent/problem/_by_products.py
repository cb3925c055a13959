"""A map whose D is known by its products alone: for maps of which forming D takes too long."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Outputs, Theta
from geodescent.jacobian import MatrixJacobian
from geodescent.outputs import OutputMap, Traced, products


@dataclass(frozen=True)
class ByProducts:
    """The same `x[θ]` as of another map, with `D v` and `Dᵀu` by autograd in place of the columns of D.

    A product with D and one with Dᵀ take about as long as two gradients of a loss, whatever Q; D itself takes Q of
    them, or one for each sample. So this is for many outputs, or layers without a rule, where few products are wanted.

    Attributes:
        map: that autograd can differentiate.
    """

    map: OutputMap

    @property
    def theta(self) -> Theta:
        """The current parameters, flat, (K,)."""
        return self.map.theta

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the outputs."""
        return self.map.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs."""
        return self.map.dtype

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        return self.map.device

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`."""
        return self.map(theta)

    def linearise(self, theta: Theta) -> tuple[Outputs, MatrixJacobian]:
        """`x[θ]` and D: one call, and some for each product."""
        outputs = self.map
        assert isinstance(outputs, Traced)
        mv, rmv = products(outputs.traced, theta)
        m = self.shape[0] * self.shape[1] if len(self.shape) > 1 else self.shape[0]
        return self.map(theta), MatrixJacobian((mv, rmv), shape=(m, len(theta)), dtype=self.dtype, device=self.device)

    def second_derivative(self, theta: Theta, direction: Theta) -> Tensor:
        """`d²x[θ + s·direction]/ds²` at s = 0."""
        return self.map.second_derivative(theta, direction)

    def write(self, theta: Theta) -> None:
        """Makes θ the current parameters."""
        self.map.write(theta)
