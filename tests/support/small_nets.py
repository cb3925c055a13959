"""Small networks on smooth and on noisy data, and a problem linearised where it stands."""

import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import Linearised
from geodescent.lift import Lift

F64 = torch.float64
Fitted = tuple[nn.Module, Tensor, Tensor]


def smooth(n: int = 60, *, width: int = 16, seed: int = 0) -> Fitted:
    """A smooth function of two variables: a narrow curved valley."""
    torch.manual_seed(seed)
    x = torch.rand(n, 2, dtype=F64) * 2 - 1
    y = (torch.sin(3 * x[:, 0]) * torch.cos(2 * x[:, 1]) + x[:, 0] ** 2)[:, None]
    return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1)).double(), x, y


def noisy(n: int = 80) -> Fitted:
    """K = 13 < m, no zero."""
    torch.manual_seed(0)
    x = torch.rand(n, 2, dtype=F64) * 2 - 1
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double(), x, torch.randn(n, 1, dtype=F64)


def wide(n: int = 20) -> Fitted:
    """Ten inputs, K > m: well conditioned."""
    torch.manual_seed(0)
    x, y = torch.randn(n, 10, dtype=F64), torch.randn(n, 1, dtype=F64)
    return nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1)).double(), x, y


def linearised(problem: gd.Problem, lift: Lift | None = None) -> Linearised:
    """A problem at its own θ, by the Gram lift unless another is asked for."""
    return Linearised.at(problem, problem.theta, lift=lift or gd.GramLift(), dtype=F64)


def at(model: nn.Module, x: Tensor, y: Tensor, lift: Lift | None = None) -> Linearised:
    """The same of a module and its data."""
    return linearised(gd.Problem.of(model, x, y), lift)
