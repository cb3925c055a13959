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
        return losses_of_logits(self._logits(latents), labels)

    def probabilities(self, latents: Tensor) -> Tensor:
        """(n, number of classes)."""
        return torch.softmax(_of_each_class(self._logits(latents)), 1)

    def _logits(self, latents: Tensor) -> Tensor:
        return self.slope * latents + self.shift


def losses_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """`−log p` of each row's class, (N,), of logits (N, C), or (N, 1) for two classes."""
    return torch.nn.functional.cross_entropy(_of_each_class(logits), labels, reduction="none")


def _of_each_class(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def shrunk(mean: Tensor, variance: Tensor) -> Tensor:
    """What a latent function of this mean and variance is worth, MacKay's approximation."""
    return mean / (1.0 + math.pi * variance / 8.0).sqrt()
