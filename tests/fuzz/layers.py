"""Layers of one's own, as people write them: parameters of every shape, shared layers, functions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Function = Callable[[Tensor], Tensor]

SMOOTH: dict[str, Function] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "gelu": F.gelu,
    "silu": F.silu,
    "sin": torch.sin,
    "softsign": lambda x: x / (1.0 + x.abs()),
    "bell": lambda x: torch.exp(-x.square()),
    "root": lambda x: torch.sqrt(1.0 + x.square()),
    "logarithm": lambda x: torch.log1p(x.square()),
}
"""Functions of torch, called in the forward pass."""

KINKED: dict[str, Function] = {
    "relu": F.relu,
    "leaky": F.leaky_relu,
    "hard": F.hardtanh,
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-1.0, 1.0),
    "largest of two": lambda x: torch.maximum(x, 0.3 * x.flip(-1)),
}

MODULES: tuple[Callable[[], nn.Module], ...] = (
    nn.Tanh,
    nn.Sigmoid,
    nn.ReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Tanhshrink,
    nn.Softshrink,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Identity,
    lambda: nn.Softmax(-1),
    lambda: nn.LogSoftmax(-1),
    lambda: nn.Dropout(0.0),
)


class Calls(nn.Module):
    """A function."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, share: float) -> None:
        super().__init__()
        self.inner, self.share = inner, share

    def forward(self, x: Tensor) -> Tensor:
        return x + self.share * self.inner(x)


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self, layer: nn.Module, between: Function) -> None:
        super().__init__()
        self.layer, self.between = layer, between

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.between(self.layer(x)))


class Checkpointed(nn.Module):
    """The forward pass is computed again in the backward pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


class Gain(nn.Module):
    """One number times, or exponentiated, or a shift."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.gain, self.how = nn.Parameter(torch.tensor(0.3)), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "exponential":
            return torch.exp(self.gain) * x
        return self.gain * x if self.how == "factor" else x + self.gain


class Diagonal(nn.Module):
    """A vector of factors and one of shifts."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.factors, self.shifts = nn.Parameter(1.0 + 0.1 * torch.randn(d)), nn.Parameter(torch.randn(d))

    def forward(self, x: Tensor) -> Tensor:
        return self.factors * x + self.shifts


class Matrix(nn.Module):
    """A product with a matrix of its own, by one of the ways to write it."""

    def __init__(self, d_in: int, d_out: int, how: str) -> None:
        super().__init__()
        self.matrix, self.how = nn.Parameter(torch.randn(d_in, d_out) / d_in**0.5), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "linear":
            return F.linear(x, self.matrix.T)
        return torch.einsum("...i,ij->...j", x, self.matrix) if self.how == "einsum" else x @ self.matrix


class Hyper(nn.Module):
    """The weights of a layer are made by another, which is called without samples."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.code, self.make, self.shape = nn.Parameter(torch.randn(2)), nn.Linear(2, d_in * d_out), (d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.make(self.code).view(self.shape)


class Squares(nn.Module):
    """A bilinear layer of x with itself."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.form = nn.Bilinear(d_in, d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, x)


class TiedPair(nn.Module):
    """A matrix and its transpose, or two layers with one bias."""

    def __init__(self, d: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.first = nn.Linear(d, hidden)
        self.second = nn.Linear(hidden, d) if not bias else nn.Linear(hidden, hidden)
        self.tied_bias = bias
        if bias:
            self.second.bias = self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return self.second(hidden) if self.tied_bias else self.second(hidden) + F.linear(hidden, self.first.weight.T)


class Attends(nn.Module):
    def __init__(self, d: int, heads: int, *, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d, heads, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        out = self.attention(x, x, x, need_weights=False)[0]
        return out if self.batch_first else out.transpose(0, 1)


class Remembers(nn.Module):
    """A recurrent layer: its outputs at all positions, or at the last one."""

    def __init__(self, memory: nn.RNNBase, *, last: bool) -> None:
        super().__init__()
        self.memory, self.last = memory, last

    def forward(self, x: Tensor) -> Tensor:
        out = self.memory(x)[0]
        return out[:, -1] if self.last else out


class Cell(nn.Module):
    """A loop over positions with a cell."""

    def __init__(self, cell: nn.RNNCell | nn.GRUCell, d: int) -> None:
        super().__init__()
        self.cell, self.d = cell, d

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.d)
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return state


class Mean(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axis)


class Joined(nn.Module):
    """Two inputs, by position or by name, each with a part of its own."""

    def __init__(self, left: nn.Module, right: nn.Module, rest: nn.Module, how: str) -> None:
        super().__init__()
        self.left, self.right, self.rest, self.how = left, right, rest, how

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        left, right = self.left(a), self.right(b)
        if self.how == "sum":
            return self.rest(left + right)
        return self.rest(left * right if self.how == "product" else torch.cat([left, right], -1))


class Unused(nn.Module):
    """A layer beside the path, on which no output depends."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.idle = inner, nn.Linear(2, 2)

    def forward(self, *x: Tensor, **named: Tensor) -> Tensor:
        return self.inner(*x, **named)
