"""What an output map around another one hands on."""

from dataclasses import dataclass

import torch

from geodescent._types import Theta
from geodescent.outputs import OutputMap


@dataclass(frozen=True)
class AroundMap:
    """The part of an output map that is the same as of the map inside.

    Attributes:
        map: the one inside, whose θ it is.
    """

    map: OutputMap

    @property
    def theta(self) -> Theta:
        """The current parameters, flat, (K,)."""
        return self.map.theta

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs."""
        return self.map.dtype

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        return self.map.device

    def write(self, theta: Theta) -> None:
        """Makes θ the current parameters."""
        self.map.write(theta)
