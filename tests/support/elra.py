"""Losses, and steps of ELRA on them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from geodescent.optim import ELRA

Loss = Callable[[Tensor], Tensor]


def quadratic(n: int, condition: float, seed: int = 0) -> Loss:
    """`½ xᵀAx`, A of a given condition in a random basis."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    matrix = (q * torch.logspace(0.0, math.log10(condition), n, dtype=torch.float64)) @ q.T
    return lambda x: 0.5 * x @ matrix @ x


def rosenbrock(x: Tensor) -> Tensor:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def start(n: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def gradient_of(f: Loss, x: Tensor) -> tuple[float, Tensor]:
    leaf = x.clone().requires_grad_()
    loss = f(leaf)
    return loss.item(), torch.autograd.grad(loss, leaf)[0]


def stepper(f: Loss, x: Tensor, variant: str) -> tuple[nn.Parameter, Callable[[], float], ELRA]:
    """A parameter at x, and one step of ELRA on f."""
    p = nn.Parameter(x.clone())
    optimizer = ELRA([p], variant)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = f(p)
        loss.backward()
        return loss

    return p, lambda: optimizer.step(closure), optimizer


def run(f: Loss, x: Tensor, variant: str, steps: int) -> list[Tensor]:
    p, step, _ = stepper(f, x, variant)
    path = [x.clone()]
    for _ in range(steps):
        step()
        path.append(p.detach().clone())
    return path
