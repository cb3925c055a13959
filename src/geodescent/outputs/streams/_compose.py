"""Streams of f(z) from those of z, and cotangents of z from those of f(z)."""

from collections.abc import Callable
from math import factorial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from geodescent.outputs.streams._algebra import Streams
from geodescent.outputs.streams._functions import Elementwise

Powers = list[dict[int, Tensor]]


def multiplied(streams: Streams, a: Tensor, b: Tensor) -> Tensor:
    """The streams of ab, (S, N, …)."""
    out = a[:1] * b
    out[1:] += a[1:] * b[:1]
    for stream, left, right, factor in streams.cross:
        out[stream].addcmul_(a[left], b[right], value=factor)
    return out


def composed(streams: Streams, derivatives: list[Tensor], z: Tensor) -> Tensor:
    """`f(z) = Σ_k f^(k)(z₀)/k! n^k`, n = z without its value: exact, for n^k has no stream of an order below k.

    Args:
        derivatives: f(z₀), f'(z₀), … up to the highest order of the streams.
        z: (S, N, …).
    """
    return _series(derivatives, z, powers_of(streams, z))


def powers_of(streams: Streams, z: Tensor) -> Powers:
    """n², n³, …: stream → tensor, where a power has one."""
    powers, last = Powers(), {k: z[k] for k in range(1, streams.n_streams)}
    for terms in streams.powers:
        power = dict[int, Tensor]()
        for out, left, right, factor in terms:
            if out not in power:
                power[out] = last[left] * z[right]
                if factor != 1.0:
                    power[out].mul_(factor)
            else:
                power[out].addcmul_(last[left], z[right], value=factor)
        powers.append(power)
        last = power
    return powers


def _series(derivatives: list[Tensor], z: Tensor, powers: Powers) -> Tensor:
    if len(z) == 1:
        return derivatives[0][None]
    if torch.is_grad_enabled():
        out = torch.cat([derivatives[0][None], derivatives[1] * z[1:]])
    else:
        out = torch.empty_like(z)
        out[0] = derivatives[0]
        torch.mul(derivatives[1], z[1:], out=out[1:])
    for k, power in enumerate(powers, 2):
        for stream, tensor in power.items():
            out[stream].addcmul_(derivatives[k], tensor, value=1.0 / factorial(k))
    return out


class Composed(torch.autograd.Function):
    """`composed` with its derivative by hand: that of f(z) along b is the product f'(z)·b."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, streams: Streams, function: Elementwise) -> Tensor:
        derivatives = function(z[0], streams.order + 1)
        powers = powers_of(streams, z)
        ctx.save_for_backward(z)
        ctx.streams, ctx.derivatives, ctx.powers = streams, derivatives, powers
        return _series(derivatives[:-1], z, powers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        slope = _series(ctx.derivatives[1:], z, ctx.powers)
        out = slope[:1] * cotangent
        if len(z) > 1:
            out[0] += (slope[1:] * cotangent[1:]).sum(0)
        for stream, left, right, factor in ctx.streams.cross:
            out[right].addcmul_(slope[left], cotangent[stream], value=factor)
        return out, None, None


class Affine(torch.autograd.Function):
    """`z = aWᵀ + b`, the bias on the value alone, for constant W and b: the graph leads to the layer before."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.matrix = matrix
        return affine(a, matrix, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None]:
        return cotangent @ ctx.matrix.T, None, None


def affine(a: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """a (S, N, …, d), matrix (d, o)."""
    z = a @ matrix
    if bias is not None:
        z[0] += bias
    return z


through_composed: Callable[[Tensor, Streams, Elementwise], Tensor] = Composed.apply
"""The streams of f(z), with a graph."""
through_affine: Callable[[Tensor, Tensor, Tensor | None], Tensor] = Affine.apply
"""The streams of aWᵀ + b, with a graph."""
