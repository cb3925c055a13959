"""Problems of the theorems, the flow's velocity on them, and the oracles that it is held against."""

import itertools
from collections.abc import Callable

import torch
from sklearn.datasets import load_diabetes, load_wine
from support.laws import naive_jacobian
from torch import Tensor, nn

import geodescent as gd
from geodescent.jacobian import Jacobian
from geodescent.lift import Lift

F64 = torch.float64


# --- problems -------------------------------------------------------------------------------------------------------


def network(*sizes: int, act: type[nn.Module] = nn.Tanh) -> nn.Module:
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1]).double()


def wine(every: int = 20) -> tuple[Tensor, Tensor]:
    data = load_wine()
    x = torch.as_tensor(data.data[::every])
    return (x - x.mean(0)) / x.std(0), nn.functional.one_hot(torch.as_tensor(data.target[::every])).double()


def diabetes(n: int = 24) -> tuple[Tensor, Tensor]:
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])
    return (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]


def duplicated() -> tuple[nn.Module, Tensor, Tensor]:
    """Samples 0, 1 and 2 have one input and three targets."""
    x, y = diabetes(20)
    x[1] = x[2] = x[0]
    return network(10, 12, 1), x, y


def few_parameters() -> tuple[nn.Module, Tensor, Tensor]:
    """K = 25 < m = 40."""
    x, y = diabetes(40)
    return network(10, 2, 1), x, y


def full_rank() -> tuple[nn.Module, Tensor, Tensor]:
    x, y = diabetes(20)
    return network(10, 12, 1), x, y


def weighted_blocks(width: int = 12) -> gd.Problem:
    """Two sets of samples of one network, the second weighted, and four of its weights asked to be small; m = 20."""
    x, y = diabetes(16)
    model, w = network(10, width, 1), torch.linspace(0.3, 2.0, 6, dtype=F64)
    theta = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    blocks = (
        gd.RowBlock("samples", gd.SampleMap(model, x[:10]), y[:10]),
        gd.RowBlock("weighted", gd.SampleMap(model, x[10:]), y[10:], weights=w, weight=5.0),
        gd.RowBlock("size", gd.FunctionMap(lambda t: t[:4], theta), torch.zeros(4, dtype=F64), weight=0.1),
    )
    return gd.Problem(blocks)


PROBLEMS = {"full rank": full_rank, "duplicates": duplicated, "K < m": few_parameters}


class Linear(nn.Module):
    """`x = Dθ` for a D with a prescribed spectrum: the rows of D are the inputs."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(k, dtype=F64))

    def forward(self, rows: Tensor) -> Tensor:
        return (rows @ self.theta)[:, None]


class Circle(nn.Module):
    """`x = R (cos θ, sin θ)`: an image of curvature 1/R."""

    def __init__(self, angle: float) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.tensor([angle], dtype=F64))

    def forward(self, radius: Tensor) -> Tensor:
        return radius * torch.stack([self.angle.cos(), self.angle.sin()], 1)


def with_spectrum(values: Tensor, k: int) -> Tensor:
    """A matrix (m, k) of these singular values."""
    m = len(values)
    left, right = (torch.linalg.qr(torch.randn(size, size, dtype=F64))[0] for size in (m, k))
    return left @ torch.diag(values) @ right[:, :m].T


# --- the flow's velocity and its oracles ----------------------------------------------------------------------------


def adapted(problem: gd.Problem, theta: Tensor, lift: Lift | None = None) -> Tensor:
    """`θ̇ = −D⁺(x − y)` at θ."""
    residual, jacobian = problem.linearise(theta)
    return (lift or gd.GramLift()).prepare(jacobian).lift(-residual, damping=0.0).velocity


def range_basis(dense: Tensor) -> Tensor:
    """An orthonormal basis of range(D), from its singular vectors."""
    left, values, _ = torch.linalg.svd(dense, full_matrices=False)
    return left[:, values > max(dense.shape) * torch.finfo(dense.dtype).eps * values[0]]


def lifted_problem(name: str) -> tuple[gd.Problem, Tensor, Tensor, Tensor]:
    """The problem, its dense D, its residual and its velocity; K < m through the normal matrix."""
    model, x, y = PROBLEMS[name]()
    problem = gd.Problem.of(model, x, y)
    lift = gd.NormalLift() if problem.n_params < problem.n_residuals else gd.GramLift()
    residual = (model(x).detach() - y).reshape(-1)
    return problem, naive_jacobian(model, x), residual, adapted(problem, problem.theta, lift)


def linearised(name: str) -> tuple[gd.Problem, Tensor, Jacobian]:
    """The problem, its residual and its Jacobian."""
    problem = gd.Problem.of(*PROBLEMS[name]())
    return problem, *problem.linearise(problem.theta)


def assert_rate(coarse: float, fine: float, expected: float) -> None:
    """Halving the step divides the deviation by `expected`, up to the next order."""
    assert 0.8 * expected < coarse / fine < 1.25 * expected, (coarse, fine, coarse / fine)


def runge_kutta(velocity: Callable[[Tensor], Tensor], theta: Tensor, until: float, steps: int) -> Tensor:
    """The classical fourth-order walk."""
    h = until / steps
    for _ in range(steps):
        a = velocity(theta)
        b = velocity(theta + 0.5 * h * a)
        c = velocity(theta + 0.5 * h * b)
        d = velocity(theta + h * c)
        theta = theta + h / 6.0 * (a + 2.0 * b + 2.0 * c + d)
    return theta
