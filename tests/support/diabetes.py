"""Regression on the diabetes data, small enough to end at the rounding floor, and what a module costs by itself."""

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

Fitted = tuple[nn.Module, Tensor, Tensor]


def scaled(n: int) -> tuple[Tensor, Tensor]:
    """The first n patients, each column of mean 0 and deviation 1, float64."""
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])[:, None]
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def diabetes(n: int = 30, *, hidden: int = 12, dtype: torch.dtype = torch.float64, duplicate: bool = False) -> Fitted:
    """A network of one hidden layer; K > m, so that a zero of the cost exists unless an input stands there twice."""
    torch.manual_seed(0)
    x, y = scaled(n)
    if duplicate:
        x[1] = x[0]
    return nn.Sequential(nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 1)).to(dtype), x.to(dtype), y.to(dtype)


def linear_diabetes(n: int, *, duplicate: bool = False) -> Fitted:
    """Linear in θ: K = 11."""
    _, x, y = diabetes(n, duplicate=duplicate)
    return nn.Linear(10, 1).double(), x, y


def cost_of(model: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None = None) -> float:
    """C by another path than the library's."""
    square = (model(x).detach().double() - y.double()).square().reshape(len(x), -1).sum(1)
    weights = torch.ones(len(x), dtype=torch.float64) if weights is None else weights
    return 0.5 * float((weights * square).sum() / weights.sum())


def theta_of(model: nn.Module) -> Tensor:
    """A flat copy of the module's parameters."""
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])
