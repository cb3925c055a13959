"""Fits whose memory is planned and measured: a program that forks for each, so that each begins with the same memory.

It prints one line of JSON a shape: its name, the lift, the planned and the measured megabytes.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._memory import accounting

F64 = torch.float64
Shape = Callable[[int], gd.Solution]
"""Fits a network of this shape on so many samples."""


def normal(*shape: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def mlp(*widths: int, dtype: torch.dtype = F64) -> nn.Sequential:
    layers = list[nn.Module]()
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).to(dtype)


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(4, 24, batch_first=True), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.lstm(x)[0][:, -1])
        return out


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(8, 32), nn.Linear(32, 2)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.block(self.embed(x)).mean(1))
        return out


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(1000, 16, mode="max"), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.bag(x)))
        return out


def convolutions(side: int, n_outputs: int) -> nn.Module:
    layers = nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1), nn.Tanh(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(16 * side**2, n_outputs)).double()


def one_output(n: int) -> gd.Solution:
    """m < K: the Gram matrix."""
    return gd.fit(mlp(64, 400, 400, 1), normal(n, 64), normal(n, 1), max_steps=2)


def many_rows(n: int) -> gd.Solution:
    """K < m: the normal matrix, summed over chunks of rows."""
    return gd.fit(mlp(20, 32, 32, 1), normal(n, 20), normal(n, 1), max_steps=1, method=gd.Method(lift=gd.NormalLift()))


def many_outputs(n: int) -> gd.Solution:
    """K < m and Q = 10: the normal matrix, its outputs summed first."""
    method = gd.Method(lift=gd.NormalLift())
    return gd.fit(mlp(20, 32, 32, 10), normal(n, 20), normal(n, 10), max_steps=1, method=method)


def wide(n: int) -> gd.Solution:
    """K = 10⁶ in float32: products, with factors of the layers."""
    model = mlp(64, 1000, 900, 10, dtype=torch.float32)
    return gd.fit(model, normal(n, 64, dtype=torch.float32), normal(n, 10, dtype=torch.float32), max_steps=1)


def convolutional(n: int) -> gd.Solution:
    """Cotangents of many positions."""
    return gd.fit(convolutions(12, 10), normal(n, 1, 12, 12), normal(n, 10), max_steps=2)


def patches(n: int) -> gd.Solution:
    """One output: the patches of a convolution take more than the cotangents."""
    layers = nn.Conv1d(4, 32, 5, padding=2), nn.Tanh(), nn.Conv1d(32, 32, 5, padding=2), nn.Tanh(), nn.Flatten()
    return gd.fit(nn.Sequential(*layers, nn.Linear(32 * 64, 1)).double(), normal(n, 4, 64), normal(n, 1), max_steps=1)


def recurrent(n: int) -> gd.Solution:
    """Derivatives of single samples by vmap or by a loop."""
    return gd.fit(LastState().double(), normal(n, 6, 4), normal(n, 2), max_steps=1, method=gd.Method())


def attention(n: int) -> gd.Solution:
    """Some parameters by rule, some by derivatives of single samples."""
    return gd.fit(Transformer().double(), normal(n, 10, 8), normal(n, 2), max_steps=1)


def embeddings(n: int) -> gd.Solution:
    """Most parameters outside the rules."""
    return gd.fit(Bag().double(), torch.randint(0, 1000, (n, 10)), normal(n, 2), max_steps=1)


def autoencoder(n: int) -> gd.Solution:
    """Q = 256 outputs: cotangents as a chain of layers, solves by products."""
    x = normal(n, 256)
    return gd.fit(mlp(256, 128, 32, 128, 256), x, x, max_steps=1, method=gd.Method())


def batches(n: int) -> gd.Solution:
    """A round of steps on batches."""
    x = normal(n, 256)
    return gd.fit(mlp(256, 128, 32, 128, 256), x, x, max_steps=1)


def formula(n: int) -> gd.Solution:
    """Few parameters, some solved for, and many rows."""
    t = torch.linspace(0.0, 1.0, n, dtype=F64)
    y = 2.0 * torch.exp(-3.0 * t) + 0.5 * torch.sin(4.0 * t) + 0.2 + 0.01 * normal(n)
    start = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.1], dtype=F64)
    decay = gd.FunctionMap(lambda p: p[0] * torch.exp(-p[1] * t) + p[2] * torch.sin(p[3] * t) + p[4], start)
    return gd.fit(gd.Problem((gd.RowBlock("data", decay, y),)), max_steps=2)


def blocks(n: int) -> gd.Solution:
    """Two weighted blocks of rows over one network."""
    model = mlp(64, 300, 300, 1)
    a = gd.RowBlock("a", gd.SampleMap(model, normal(n, 64)), normal(n, 1))
    b = gd.RowBlock("b", gd.SampleMap(model, normal(n // 2, 64)), normal(n // 2, 1), weight=0.5)
    return gd.fit(gd.Problem((a, b)), max_steps=2)


def streamed(n: int) -> gd.Solution:
    """DᵀD summed over the batches of a loader."""
    loader = DataLoader(TensorDataset(normal(n, 20), normal(n, 1)), batch_size=4000)
    return gd.fit(mlp(20, 40, 40, 1), loader, max_steps=1, method=gd.Method(lift=gd.NormalLift()))


SHAPES: Mapping[Shape, int] = {
    one_output: 2000,
    many_rows: 20_000,
    many_outputs: 20_000,
    wide: 600,
    convolutional: 150,
    patches: 600,
    recurrent: 500,
    attention: 400,
    embeddings: 300,
    autoencoder: 1000,
    batches: 2400,
    formula: 200_000,
    blocks: 1500,
    streamed: 8000,
}


def linearisation() -> dict[str, Any]:
    """D of a convolutional network with 100 outputs alone: nearly all of it is cotangents."""
    n, side, q = 60, 16, 100
    outputs = gd.SampleMap(convolutions(side, q), normal(n, 1, side, side))
    with accounting() as account:
        for block in outputs.linearise()[1].blocks:  # products go through the call until something asks for columns
            assert block.columns
    planned, peak = (of(outputs.device) for of in (account.planned_mb, account.peak_mb))
    once = n * q * (2 * 16 * side**2 + q) * 8 / 1e6
    return {"name": "linearisation", "planned": planned, "peak": peak, "cotangents": once}


def measured(shape: Shape) -> dict[str, Any]:
    stats = shape(SHAPES[shape]).stats
    return {"name": shape.__name__, "lift": stats["lift"], "planned": stats["planned_mb"], "peak": stats["peak_mb"]}


def forked(measure: Callable[[], dict[str, Any]]) -> None:
    """Prints what is measured in a process of its own."""
    child = os.fork()
    if child == 0:
        torch.manual_seed(0)
        print(json.dumps(measure()), flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    torch.set_num_threads(1)
    chosen = [shape for shape in SHAPES if len(sys.argv) < 2 or shape.__name__ in sys.argv]
    for first in (recurrent, patches):  # loads what torch loads at its first vmap and its first convolution
        first(4)
    for shape in chosen:
        forked(lambda shape=shape: measured(shape))
    forked(linearisation)


if __name__ == "__main__":
    main()
