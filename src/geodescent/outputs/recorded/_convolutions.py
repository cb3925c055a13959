"""Convolutions whose two products with D cost two convolutions a layer.

A convolution is linear in its inputs x and in its weights W. In `D v`, taken as the derivative of `⟨Dᵀu, v⟩` by u, it
has the part `x ∗ V + δ ∗ W`, V and δ the changes of W and x. torch computes the derivatives of `⟨Dᵀu, v⟩` by x and W
beside it, which nobody asks for, and which take two to three times as long. Here they are left out, and the derivative
by W where a backward pass goes to returns of layers alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from geodescent.outputs.graph import has_memory

PLAIN = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
TRANSPOSED_ONES = {torch.conv_transpose1d: 1, torch.conv_transpose2d: 2, torch.conv_transpose3d: 3}
"""Function → number of axes of positions."""

Anything: TypeAlias = Any
Context: TypeAlias = Any
"""What torch calls functions with, and the object on which a function with a derivative of its own keeps things."""
Options = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...], int]
"""Stride, padding, dilation, whether it is transposed, output padding, groups; as `torch.convolution` takes them."""


@dataclass
class WantedDerivatives:
    """What the next backward pass through a recorded call is to compute.

    Attributes:
        weights: derivatives by weights, beside those by what layers returned.
    """

    weights: bool = True

    @contextmanager
    def returns_alone(self) -> Iterator[None]:
        """Passes in this block go to what layers returned."""
        self.weights = False
        try:
            yield
        finally:
            self.weights = True


@contextmanager
def convolving(model: nn.Module, wanted: WantedDerivatives) -> Iterator[None]:
    """Inside the block convolutions are recorded for products with D; in this thread alone."""
    if not any(isinstance(module, _ConvNd) for module in model.modules()):
        yield
        return
    mode: Anything = _Convolutions
    with mode(wanted):
        yield


class _Convolutions(TorchFunctionMode):
    def __init__(self, wanted: WantedDerivatives) -> None:
        super().__init__()
        self.wanted = wanted

    def __torch_function__(
        self, func: Anything, types: Anything, args: Anything = (), kwargs: Anything = None
    ) -> Anything:
        options = None if kwargs else _options_of(func, args)
        if options is None or not all(has_memory(t) for t in args[:3] if t is not None):
            return func(*args, **(kwargs or {}))
        x, weight, bias = (*args, None)[:3]
        return _applied(_Convolution, x, weight, bias, options, self.wanted)


def _options_of(func: Anything, args: tuple[Anything, ...]) -> Options | None:
    """The options of a convolution of samples by a weight; None for any other call."""
    is_transposed = func in TRANSPOSED_ONES
    dims = TRANSPOSED_ONES.get(func) or PLAIN.get(func)
    if dims is None or len(args) < 2 or args[0].dim() != dims + 2:
        return None
    usual = [1, 0, 0, 1, 1] if is_transposed else [1, 0, 1, 1]
    given = [*args[3:], *usual[max(0, len(args) - 3) :]]
    stride, padding, outer, groups, dilation = given if is_transposed else [*given[:2], 0, given[3], given[2]]
    if isinstance(padding, str):
        return None
    every = [tuple(v) if not isinstance(v, int) else (v,) * dims for v in (stride, padding, dilation, outer)]
    return every[0], every[1], every[2], is_transposed, every[3], groups


class _Convolution(Function):
    """`x ∗ W + b`."""

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor, bias: Tensor | None, options: Options, wanted: WantedDerivatives
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options, ctx.wanted, ctx.has_bias = options, wanted, bias is not None
        return torch.convolution(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, weight) = gradients, ctx.saved_tensors
        by_x, by_weight, by_bias, *_ = ctx.needs_input_grad
        of_x = _applied(_ByOne, g, x.detach(), weight.detach(), ctx.options, True) if by_x else None
        if not ctx.wanted.weights:
            return of_x, None, None, None, None
        of_weight = _applied(_ByOne, g, x.detach(), weight.detach(), ctx.options, False) if by_weight else None
        of_bias = g.sum((0, *range(2, g.dim()))) if ctx.has_bias and by_bias else None
        return of_x, of_weight, of_bias, None, None


class _ByOne(Function):
    """The derivative of `⟨g, x ∗ W⟩` by x or by W; its own by g is `δ ∗ W` or `x ∗ V`, of a change of that one."""

    @staticmethod
    def forward(ctx: Context, g: Tensor, x: Tensor, weight: Tensor, options: Options, by_x: bool) -> Tensor:
        ctx.save_for_backward(weight if by_x else x)
        ctx.options, ctx.by_x = options, by_x
        return _derivatives(g, x, weight, options, (by_x, not by_x, False))[0 if by_x else 1]

    @staticmethod
    def backward(ctx: Context, *changes: Tensor) -> tuple[Tensor | None, ...]:
        (fixed,), (change,) = ctx.saved_tensors, changes
        x, weight = (change, fixed) if ctx.by_x else (fixed, change)
        return torch.convolution(x, weight, None, *ctx.options), None, None, None, None


def _applied(function: Anything, *arguments: object) -> Tensor:
    """Of a function with a derivative of its own, for which torch has no types."""
    returned: Tensor = function.apply(*arguments)
    return returned


def _derivatives(g: Tensor, x: Tensor, weight: Tensor, options: Options, mask: tuple[bool, ...]) -> tuple[Tensor, ...]:
    stride, padding, dilation, transposed, outer, groups = options
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        g, x, weight, None, stride, padding, dilation, transposed, outer, groups, mask
    )
    return found
