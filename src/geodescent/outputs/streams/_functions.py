"""Derivatives of elementwise functions to any order: closed forms of the usual ones, forward differentiation else."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geodescent.outputs._autograd import value_and_derivative

Derivatives = Callable[..., list[Tensor]]
"""(z, order, …) → f(z), f'(z), … up to this order."""


@dataclass(frozen=True)
class Elementwise:
    """A function of single numbers with the arguments that it was called with.

    Attributes:
        function: torch's.
        arguments, options: beside z.
    """

    function: Callable[..., Tensor]
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, z: Tensor, order: int) -> list[Tensor]:
        """f(z), f'(z), …, `order` + 1 tensors of z's shape."""
        rule = CLOSED.get(self.function)
        if rule is not None:
            return rule(z, order, *self.arguments, **dict(self.options))
        return _forward(lambda x: self.function(x, *self.arguments, **dict(self.options)), z, order)


def _forward(function: Callable[[Tensor], Tensor], z: Tensor, order: int) -> list[Tensor]:
    """By forward over forward differentiation."""
    if order == 0:
        return [function(z)]

    def slope(x: Tensor) -> Tensor:
        return value_and_derivative(function, (x,), (torch.ones_like(x),))[1]

    return [function(z), *_forward(slope, z, order - 1)]


def _polynomials(first: list[float], slope: list[float], order: int) -> list[list[float]]:
    """Coefficients, lowest first, of the derivatives of p(y) for y' = q(y): p, p'q, (p'q)'q, …"""
    found = [first]
    for _ in range(order):
        derived = [k * c for k, c in enumerate(found[-1])][1:]
        out = [0.0] * (len(derived) + len(slope) - 1)
        for i, a in enumerate(derived):
            for j, b in enumerate(slope):
                out[i + j] += a * b
        found.append(out)
    return found


def _at(coefficients: list[float], y: Tensor, square: Tensor | None = None) -> Tensor:
    """The polynomial by Horner's rule; an odd or even one in y² where it is given."""
    if square is not None:
        odd = not any(coefficients[::2])
        inner = _at(coefficients[1::2] if odd else coefficients[::2], square)
        return inner.mul_(y) if odd else inner
    if len(coefficients) == 1:
        return torch.full_like(y, coefficients[0])
    out = y * coefficients[-1]
    for k, c in enumerate(reversed(coefficients[:-1])):
        out = out if k == 0 else out.mul_(y)
        out = out.add_(c) if c else out
    return out


def _tanh(z: Tensor, order: int) -> list[Tensor]:
    y = torch.tanh(z)
    square = y * y
    return [y, *(_at(p, y, square) for p in _polynomials([0.0, 1.0], [1.0, 0.0, -1.0], order)[1:])]


def _sigmoid(z: Tensor, order: int) -> list[Tensor]:
    y = torch.sigmoid(z)
    return [y, *(_at(p, y) for p in _polynomials([0.0, 1.0], [0.0, 1.0, -1.0], order)[1:])]


def _sin(z: Tensor, order: int, shift: int = 0) -> list[Tensor]:
    sine, cosine = torch.sin(z), torch.cos(z)
    cycle = [sine, cosine, -sine, -cosine]
    return [cycle[(k + shift) % 4] for k in range(order + 1)]


def _cos(z: Tensor, order: int) -> list[Tensor]:
    return _sin(z, order, 1)


def _exp(z: Tensor, order: int) -> list[Tensor]:
    return [torch.exp(z)] * (order + 1)


def _gelu(z: Tensor, order: int, approximate: str = "none") -> list[Tensor]:
    if approximate != "none":
        return _forward(lambda x: F.gelu(x, approximate=approximate), z, order)
    density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    found = [F.gelu(z), 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0))) + z * density][: order + 1]
    coefficients = [2.0, 0.0, -1.0]  # f'' = (2 − z²)φ, and (pφ)' = (p' − zp)φ
    for _ in range(order - 1):
        found.append(_at(coefficients, z).mul_(density))
        derived = [*(k * c for k, c in enumerate(coefficients) if k), 0.0, 0.0]
        coefficients = [d - c for d, c in zip(derived, [0.0, *coefficients], strict=True)]
    return found


def _silu(z: Tensor, order: int, inplace: bool = False) -> list[Tensor]:
    s = _sigmoid(z, order)
    return [z * s[0], *(torch.addcmul(k * s[k - 1], z, s[k]) for k in range(1, order + 1))]


def _softplus(z: Tensor, order: int, beta: float = 1.0, threshold: float = 20.0) -> list[Tensor]:
    found = [F.softplus(z, beta, threshold)]
    straight = beta * z > threshold
    for k, s in enumerate(_sigmoid(beta * z, max(0, order - 1))[:order]):
        found.append(torch.where(straight, 1.0 if k == 0 else 0.0, s * beta**k))
    return found


def _power(z: Tensor, order: int, exponent: float) -> list[Tensor]:
    found, factor = list[Tensor](), 1.0
    for k in range(order + 1):
        found.append(torch.zeros_like(z) if factor == 0.0 else factor * z ** (exponent - k))
        factor *= exponent - k
    return found


def _reciprocal(z: Tensor, order: int) -> list[Tensor]:
    return _power(z, order, -1)


def _sqrt(z: Tensor, order: int) -> list[Tensor]:
    return _power(z, order, 0.5)


def _square(z: Tensor, order: int) -> list[Tensor]:
    return _power(z, order, 2)


def _log(z: Tensor, order: int) -> list[Tensor]:
    return [torch.log(z), *_reciprocal(z, order - 1)][: order + 1]


def _sinh(z: Tensor, order: int, shift: int = 0) -> list[Tensor]:
    pair = [torch.sinh(z), torch.cosh(z)]
    return [pair[(k + shift) % 2] for k in range(order + 1)]


def _cosh(z: Tensor, order: int) -> list[Tensor]:
    return _sinh(z, order, 1)


CLOSED: dict[Callable[..., Any], Derivatives] = {
    torch.tanh: _tanh,
    torch.sigmoid: _sigmoid,
    torch.sin: _sin,
    torch.cos: _cos,
    torch.exp: _exp,
    torch.log: _log,
    torch.sqrt: _sqrt,
    torch.square: _square,
    torch.reciprocal: _reciprocal,
    torch.sinh: _sinh,
    torch.cosh: _cosh,
    torch.pow: _power,
    F.gelu: _gelu,
    F.silu: _silu,
    F.softplus: _softplus,
    F.tanh: _tanh,
    F.sigmoid: _sigmoid,
}
"""Functions whose derivatives of every order are written out."""

KINKED: set[Any] = {torch.relu, F.relu, torch.abs, F.leaky_relu, F.relu6, F.hardtanh, F.prelu, F.hardsigmoid}
"""Functions whose second derivative is zero on both sides of a kink."""

SMOOTH: set[Any] = {
    torch.erf,
    torch.tan,
    torch.atan,
    torch.asinh,
    torch.acos,
    torch.asin,
    torch.log1p,
    torch.expm1,
    torch.rsqrt,
    torch.sinc,
    torch.logit,
    F.elu,
    F.selu,
    F.celu,
    F.logsigmoid,
    F.tanhshrink,
    F.softsign,
}
"""Functions that torch differentiates any number of times."""
