"""Networks in which every unit acts, and the causes that are named of a problem made of them."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from geodescent import Problem
from geodescent.certificate import Cause, causes_of


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(model: nn.Module) -> nn.Module:
    """Every unit on, for some sample: torch's own start leaves a ReLU unit dead here and there."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.bias.abs_().mul_(0.1)
                module.weight[:, ::2].abs_()
    return model


def mlp(*sizes: int, act: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), act())]
        return awake(nn.Sequential(*layers[:-1]).double())


def conv(act: type[nn.Module] = nn.GELU, *, channels: int = 1, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 6, 3),
            act(),
            nn.Conv2d(6, 4, 3),
            nn.GroupNorm(2, 4),
            act(),
            nn.Flatten(),
            nn.Linear(64, 2),
        )
        return awake(net.double())


class Functional(nn.Module):
    """An MLP whose activations are functions, not modules."""

    def __init__(self, activation, width: int = 24) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 2)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.second(self.activation(self.first(x)))))


class Tokens(nn.Module):
    """An embedding model with integer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.first, self.last = nn.Embedding(11, 8), nn.Linear(8, 16), nn.Linear(16, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(self.embedding(tokens).mean(1))))


class Pair(nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 30), nn.SiLU(), nn.Linear(30, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(torch.cat([a, b], 1))


def made(build, *args, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return awake(build(*args).double())


def named_causes(problem: Problem, floor: float | None = 0.25) -> dict[str, list[Cause]]:
    """The causes at the problem's own θ, by kind."""
    _, jacobian = problem.linearise(problem.theta)
    by_kind: dict[str, list[Cause]] = {}
    for cause in causes_of(problem, problem.theta, jacobian=jacobian, floor=floor):
        by_kind.setdefault(cause.kind, []).append(cause)
    return by_kind


def causes_in(model: nn.Module, X, y: Tensor, weights: Tensor | None = None, floor: float = 0.25):
    """The same of a module with its data."""
    return named_causes(Problem.of(model, X, y, weights=weights), floor)
