"""What one pass over the batches of a loader sums up, so that no further pass is needed for it."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from geodescent._budget import reserved
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian

NORMAL_MATRICES = 3.0  # Matrices of K × K that a sum of DᵀD needs: the sum, the part of one batch, and a scaled copy.


@dataclass
class Summed:
    """What the pass of a linearisation sums up, in float64: further passes for it would read all data again.

    Attributes:
        normal: `DᵀD`, (K, K).
        gradient: `Dᵀ(x − y)`, (K,).
        residual: x − y, (m,), batch by batch.
    """

    normal: Tensor
    gradient: Theta
    residual: list[Outputs] = field(default_factory=list)

    @classmethod
    def zero(cls, k: int, device: torch.device) -> "Summed | None":
        """Nothing yet; None where `DᵀD` does not fit into memory."""
        if not reserved(NORMAL_MATRICES * k * k * torch.float64.itemsize, device):
            return None
        zeros = torch.zeros(k + 1, k, dtype=torch.float64, device=device)
        return cls(zeros[1:], zeros[0])

    def add(self, jacobian: Jacobian, residual: Outputs) -> None:
        """Adds a batch."""
        doubled, rows = jacobian.to(torch.float64), residual.double()
        self.normal += doubled.normal()
        self.gradient += doubled.rmv(rows)
        self.residual.append(rows)

    def product(self, u: Outputs) -> Theta | None:
        """`Dᵀu` for u = ±(x − y); None for any other."""
        residual = self._residual
        if torch.equal(u, residual):
            return self.gradient
        return -self.gradient if torch.equal(u, -residual) else None

    @cached_property
    def _residual(self) -> Outputs:
        return torch.cat(self.residual)
