"""One small network of each kind that derivatives take another route for, with inputs, in float64 on the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Sample = tuple[nn.Module, Any]


class Scaled(nn.Module):
    """Parameters outside of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gain, self.shift = nn.Linear(2, 4), nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(self.layer(x)) * self.gain).sum(1, keepdim=True) + self.shift


class Recurrent(nn.Module):
    """A recurrent layer, of whose outputs the last is read out."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[0][:, -1])


class Cell(nn.Module):
    """A recurrent cell, called once a position."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(2, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 3)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.out(h)


class Attention(nn.Module):
    """Positions that see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Two(nn.Module):
    """Two inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(1, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (torch.tanh(self.left(a)) * self.right(b)).sum(1)


def _inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _words() -> Tensor:
    return torch.randint(0, 6, (12, 3), generator=torch.Generator().manual_seed(1))


def _convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(8, 1))


NETS: dict[str, Callable[[], Sample]] = {
    "vectors": lambda: (nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)), _inputs(12, 2)),
    "norms": lambda: (nn.Sequential(nn.Linear(2, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 1)), _inputs(12, 2)),
    "prelu": lambda: (nn.Sequential(nn.Linear(2, 6), nn.PReLU(6), nn.Linear(6, 1)), _inputs(12, 2)),
    "outside layers": lambda: (Scaled(), _inputs(12, 2)),
    "weight norm": lambda: (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), _inputs(12, 2)),
    "lstm": lambda: (Recurrent(nn.LSTM(2, 3, batch_first=True)), _inputs(12, 4, 2)),
    "gru": lambda: (Recurrent(nn.GRU(2, 3, batch_first=True)), _inputs(12, 4, 2)),
    "rnn": lambda: (Recurrent(nn.RNN(2, 3, batch_first=True)), _inputs(12, 4, 2)),
    "cell": lambda: (Cell(), _inputs(12, 3, 2)),
    "attention": lambda: (Attention(), _inputs(12, 3, 2)),
    "transformer": lambda: (
        nn.Sequential(nn.TransformerEncoderLayer(2, 1, 3, 0.0, batch_first=True), nn.Flatten(), nn.Linear(6, 1)),
        _inputs(12, 3, 2),
    ),
    "convolution": lambda: (_convolutional(), _inputs(12, 1, 4, 4)),
    "embedding": lambda: (nn.Sequential(nn.Embedding(6, 2), nn.Flatten(), nn.Linear(6, 1)), _words()),
    "bag": lambda: (nn.Sequential(nn.EmbeddingBag(6, 3), nn.Tanh(), nn.Linear(3, 1)), _words()),
    "two inputs": lambda: (Two(), {"a": _inputs(12, 2), "b": _inputs(12, 1)}),
}


def net(name: str) -> tuple[nn.Module, Any, Tensor]:
    """The network in float64, its inputs and targets of its outputs' shape."""
    torch.manual_seed(0)
    model, inputs = NETS[name]()
    model = model.double()
    with torch.no_grad():
        outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return model, inputs, torch.sin(3.0 * _inputs(*outputs.shape))
