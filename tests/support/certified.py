"""Problems that certificates are made of, and their weighted D and residual from the blocks themselves."""

from itertools import pairwise

import torch
from support.causes import normal
from torch import Tensor, nn

from geodescent import Problem


def tanh_net(*sizes: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers[:-1]).double()


def wide(n: int = 20) -> Problem:
    return Problem.of(tanh_net(3, 30, 2), normal(n, 3), normal(n, 2, seed=1))


def narrow() -> Problem:
    return Problem.of(tanh_net(3, 5, 2), normal(30, 3), normal(30, 2, seed=1))


def repeated() -> Problem:
    X = normal(20, 3)
    X[7] = X[2]
    return Problem.of(tanh_net(3, 30, 2), X, normal(20, 2, seed=1))


def weighted(n: int = 20) -> Problem:
    return Problem.of(tanh_net(3, 30, 2), normal(n, 3), normal(n, 2, seed=1), weights=0.2 + normal(n, seed=3).abs())


def single_precision() -> Problem:
    return Problem.of(tanh_net(3, 30, 2).float(), normal(20, 3).float(), normal(20, 2, seed=1).float())


PROBLEMS = {
    "wide": wide,
    "narrow": narrow,
    "repeated": repeated,
    "weighted": weighted,
    "float32": single_precision,
}


class Function(nn.Module):
    """`x = f(θ)`, one sample."""

    def __init__(self, f, *theta: float) -> None:
        super().__init__()
        self.f, self.theta = f, nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.theta).reshape(1, -1) + 0.0 * x


def function(f, theta: tuple[float, ...], y: tuple[float, ...]) -> Problem:
    target = torch.tensor([y], dtype=torch.float64)
    return Problem.of(Function(f, *theta), torch.zeros(1, 1, dtype=torch.float64), target, check=False)


def row_factors(problem: Problem) -> Tensor:
    """√w of each row of a problem of one block, (m,)."""
    (block,) = problem.blocks
    ones = torch.ones(block.n_samples, dtype=torch.float64)
    return (ones if block.weights is None else block.weights.double()).sqrt().repeat_interleave(block.n_outputs)


def weighted_system(problem: Problem, theta: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`(√w D, √w (x − y))` of a problem of one block, float64."""
    (block,) = problem.blocks
    outputs, jacobian = block.map.linearise(problem.theta if theta is None else theta)
    s = row_factors(problem)
    return jacobian.dense().double() * s[:, None], (outputs - block.target).double().reshape(-1) * s
