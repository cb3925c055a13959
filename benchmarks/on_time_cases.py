"""Twenty problems of which one step, or one exact solve, takes long: what `on_time.py` holds against a deadline.

Each function returns what `gd.fit` is called with, and a loss with its parameters for Adam.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

Case = tuple[tuple[Any, ...], dict[str, Any], Callable[[], Tensor], list[Tensor]]


def of_module(model: nn.Module, X: Any, y: Tensor, **options: Any) -> Case:
    """A module and its samples."""
    called = X if isinstance(X, tuple) else (X,)
    return (model, X, y), options, lambda: (model(*called) - y).square().mean(), list(model.parameters())


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Tanh()] * (i > 0) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


class Recurrent(nn.Module):
    """A recurrent layer whose last state is read out."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell, self.head = kind(inputs, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d) → (N, 1)."""
        return self.head(self.cell(x)[0][:, -1])


class Encoder(nn.Module):
    """Two layers of a transformer, averaged over positions."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d) → (N, Q)."""
        return self.head(self.body(x).mean(1))


class Bag(nn.Module):
    """An embedding of words, averaged."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(words, width), nn.Linear(width, 3)

    def forward(self, words: Tensor) -> Tensor:
        """(N, T) → (N, 3)."""
        return self.head(torch.tanh(self.bag(words)))


class Scaled(nn.Module):
    """A network with a parameter of its own, outside of all layers, and a step that takes time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.net, self.scale, self.seconds = mlp(5, 40, 40, 2), nn.Parameter(torch.ones(40)), seconds

    def forward(self, x: Tensor) -> Tensor:
        """(N, 5) → (N, 2)."""
        time.sleep(self.seconds)
        return self.net[4](torch.tanh(self.net[2](torch.tanh(self.net[0](x)) * self.scale)))


class Items(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples that are read one by one, each with a price."""

    def __init__(self, n: int, seconds: float) -> None:
        self.x, self.seconds = torch.randn(n, 8), seconds
        self.y = torch.sin(self.x.sum(1, keepdim=True))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        time.sleep(self.seconds)
        return self.x[i], self.y[i]


def lstm() -> Case:
    """1,500 sequences of 16 numbers: no rule of layers, so that D takes a backward pass for each sample."""
    X = torch.randn(1500, 16, 4)
    return of_module(Recurrent(nn.LSTM, 4, 32), X, torch.sin(X.sum((1, 2)))[:, None])


def gru() -> Case:
    """The same in float64, with a wider state."""
    X = torch.randn(400, 30, 6).double()
    return of_module(Recurrent(nn.GRU, 6, 64).double(), X, torch.sin(X.sum((1, 2)))[:, None])


def wide() -> Case:
    """K = 1e6, Q = 10."""
    X = torch.randn(2000, 3)
    return of_module(mlp(3, 1000, 1000, 10), X, torch.sin(X @ torch.randn(3, 10)))


def many_rows() -> Case:
    """N = 3e5."""
    X = torch.randn(300_000, 10)
    return of_module(mlp(10, 64, 64, 1), X, torch.sin(X.sum(1, keepdim=True)))


def many_rows_wide() -> Case:
    """N = 50,000 and K = 48,931: no matrix fits into the time."""
    X = torch.randn(50_000, 20).double()
    return of_module(mlp(20, 210, 210, 1).double(), X, torch.sin(3.0 * X[:, :1]))


def conv() -> Case:
    """Q = 100."""
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(100),
    )
    X = torch.randn(1000, 1, 16, 16)
    net(X[:2])
    return of_module(net, X, torch.randn(1000, 100))


def huge() -> Case:
    """K = 1e7."""
    X = torch.randn(500, 50)
    return of_module(mlp(50, 3000, 3000, 300, 2), X, torch.sin(X[:, :2]))


def transformer() -> Case:
    """Attention, whose projections have no rule."""
    X = torch.randn(600, 24, 32)
    return of_module(Encoder(32, 5), X, torch.sin(X.sum(1)[:, :5]))


def loader() -> Case:
    """Batches that are read item by item; a pass takes 20 s."""
    batches = DataLoader(Items(20_000, 1e-3), batch_size=64, shuffle=True)
    model = mlp(8, 40, 40, 1)
    draws = iter(batches)

    def loss() -> Tensor:
        X, y = next(draws)
        return (model(X) - y).square().mean()

    return (model, batches), {}, loss, list(model.parameters())


def streamed() -> Case:
    """The exact steps of the full batch, over a loader."""
    X = torch.randn(60_000, 8)
    y = torch.sin(X.sum(1, keepdim=True))
    batches, model = DataLoader(TensorDataset(X, y), batch_size=1000), mlp(8, 16, 16, 1)
    return (
        (model, batches),
        {"method": gd.Method(lift=gd.NormalLift())},
        lambda: (model(X) - y).square().mean(),
        list(model.parameters()),
    )


def bag() -> Case:
    """A table of words with K = 6.4e5."""
    X = torch.randint(0, 20_000, (4000, 30))
    return of_module(Bag(20_000, 32), X, torch.randn(4000, 3))


def slow_formula() -> Case:
    """200 parameters and 200 outputs; a call takes 30 ms."""
    start, mix = torch.randn(200).double(), torch.randn(200, 200).double() / 14.0

    def formula(theta: Tensor) -> Tensor:
        time.sleep(0.03)
        return torch.tanh(mix @ theta)

    y = torch.tanh(mix @ torch.randn(200).double())
    theta = start.clone().requires_grad_()
    problem = gd.Problem.over(gd.FunctionMap(formula, start), y)
    return (problem,), {}, lambda: (formula(theta) - y).square().mean(), [theta]


def long_formula() -> Case:
    """A recursion of 3,000 steps in Python: forty parameters, 60 outputs."""
    start = 0.1 * torch.randn(40).double()

    def formula(theta: Tensor) -> Tensor:
        state = torch.linspace(-1.0, 1.0, 60, dtype=theta.dtype)
        for i in range(3000):
            state = state + 0.01 * torch.sin(theta[i % 40] * state + theta[(i + 1) % 40])
        return state

    y = formula(0.1 * torch.randn(40).double()).detach()
    theta = start.clone().requires_grad_()
    problem = gd.Problem.over(gd.FunctionMap(formula, start), y)
    return (problem,), {}, lambda: (formula(theta) - y).square().mean(), [theta]


def closure() -> Case:
    """A closure that calls a network with a parameter outside of all layers, 40 ms a call."""
    model, X = Scaled(0.04), torch.randn(300, 5)
    y = torch.sin(X[:, :2])
    problem = gd.Problem.over(gd.ClosureMap.of(model, lambda: (model(X), y)), y)
    return (problem,), {}, lambda: (model(X) - y).square().mean(), list(model.parameters())


def blocks() -> Case:
    """Two blocks of rows over one network."""
    model, X, Z = mlp(2, 120, 120, 1).double(), torch.randn(20_000, 2).double(), torch.randn(5000, 2).double()
    y, z = torch.sin(X.sum(1, keepdim=True)), torch.zeros(5000, 1).double()
    problem = gd.Problem(
        (
            gd.RowBlock("data", gd.SampleMap(model, X), y),
            gd.RowBlock("edge", gd.SampleMap(model, Z), z, weight=0.1),
        )
    )
    return (
        (problem,),
        {},
        lambda: (model(X) - y).square().mean() + 0.1 * model(Z).square().mean(),
        list(model.parameters()),
    )


def slow_module() -> Case:
    """A module that takes 50 ms a call, whatever the samples."""
    X = torch.randn(200, 5)
    return of_module(Scaled(0.05), X, torch.sin(X[:, :2]))


def exact_solves() -> Case:
    """m = 2,900 residuals in float64: each damping takes a factor of that order."""
    X = torch.randn(2900, 20).double()
    return of_module(mlp(20, 100, 100, 1).double(), X, torch.sin(3.0 * X[:, :1]))


def exact_method() -> Case:
    """The same with exact solves asked for, and a walk along the geodesic."""
    X = torch.randn(2500, 20).double()
    y = torch.sin(3.0 * X[:, :1])
    return of_module(mlp(20, 100, 100, 1).double(), X, y, method=gd.Method(lift=gd.GramLift()))


def suited_start() -> Case:
    """Raw columns, a start suited to them in the same call, and many outputs."""
    X = 1e4 * torch.randn(4000, 30)
    y = 1e3 * torch.sin(1e-4 * X[:, :20])
    return of_module(mlp(30, 256, 256, 20), X, y, initialise=True)


def autoencoder() -> Case:
    """Q = 256."""
    X = torch.randn(3000, 256)
    return of_module(mlp(256, 128, 32, 128, 256), X, torch.tanh(X))


CASES: dict[str, Callable[[], Case]] = {
    made.__name__: made
    for made in (
        lstm,
        gru,
        wide,
        many_rows,
        many_rows_wide,
        conv,
        huge,
        transformer,
        loader,
        streamed,
        bag,
        slow_formula,
        long_formula,
        closure,
        blocks,
        slow_module,
        exact_solves,
        exact_method,
        suited_start,
        autoencoder,
    )
}
