"""Probabilities of latent functions, calibrated on rows left out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SEARCHES = 50  # Iterations of L-BFGS for the two numbers of the calibration and more.


@dataclass(frozen=True)
class Calibration:
    """`softmax(t f + b)`, f shrunk for its variance v by `1/√(1 + πv/8)`.

    Attributes:
        slope: t.
        shift: b, (C,), or (1,) for two classes.
    """

    slope: Tensor
    shift: Tensor

    @classmethod
    def of(cls, latents: Tensor, labels: Tensor, weights: Tensor) -> "Calibration":
        """The most probable one for shrunk latents of rows left out; log t and b are N(0, 1) before."""
        numbers = latents.new_zeros(1 + latents.shape[1]).requires_grad_()
        search: torch.optim.Optimizer = torch.optim.LBFGS([numbers], max_iter=SEARCHES, line_search_fn="strong_wolfe")

        def closure() -> float:
            numbers.grad = None
            with torch.enable_grad():
                losses = cls(numbers[0].exp(), numbers[1:]).losses(latents, labels)
                cost = (weights * losses).sum() + 0.5 * numbers.square().sum()
            (numbers.grad,) = torch.autograd.grad(cost, numbers)
            return float(cost.detach())

        search.step(closure)
        return cls(numbers.detach()[0].exp(), numbers.detach()[1:])

    def losses(self, latents: Tensor, labels: Tensor) -> Tensor:
        """`−log p` of each row's class, (N,)."""
        return torch.nn.functional.cross_entropy(self._logits(latents), labels, reduction="none")

    def probabilities(self, latents: Tensor) -> Tensor:
        """(n, number of classes)."""
        return torch.softmax(self._logits(latents), 1)

    def _logits(self, latents: Tensor) -> Tensor:
        logits = self.slope * latents + self.shift
        return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def shrunk(mean: Tensor, variance: Tensor) -> Tensor:
    """What a latent function of this mean and variance is worth, MacKay's approximation."""
    return mean / (1.0 + math.pi * variance / 8.0).sqrt()
