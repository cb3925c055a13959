"""What joins jets, moves or picks their entries, and layers that are made of sums, products and functions."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.outputs.streams._arithmetic import add, elementwise, multiply, widened
from geodescent.outputs.streams._jet import RULES_OF_JETS, Jet


def _joined(join: Callable[..., Tensor], jets: Sequence[Operand], axis: int) -> Jet:
    first = next(j for j in jets if isinstance(j, Jet))
    fields = widened(*(j if isinstance(j, Jet) else _constant(j, first) for j in jets))
    return fields[0].like(join([f.data for f in fields], axis if axis < 0 else axis + 1))


def _constant(tensor: Tensor, like: Jet) -> Jet:
    value = like.tape.value(tensor)
    return like.like(torch.cat([value[None], value.new_zeros(len(like.data) - 1, *value.shape)]))


def _cat(tensors: Sequence[Operand], dim: int = 0) -> Jet:
    return _joined(torch.cat, tensors, dim)


def _stack(tensors: Sequence[Operand], dim: int = 0) -> Jet:
    return _joined(torch.stack, tensors, dim)


def _moved(function: Callable[..., Operand]) -> Callable[..., Operand]:
    """A function that moves or picks entries, or sums them: it does so in each stream."""

    def rule(x: Jet, *args: Operand, **kwargs: Operand) -> Operand:
        by_stream = torch.vmap(lambda data: function(data, *args, **kwargs))
        out = by_stream(x.data)
        return tuple(x.like(o) for o in out) if isinstance(out, tuple | list) else x.like(out)

    return rule


def _identity(x: Jet, *args: Operand, **kwargs: Operand) -> Jet:
    return x


def _dropout(x: Jet, p: float = 0.5, training: bool = True, inplace: bool = False) -> Jet:
    if training and p > 0.0:
        raise InputError("dropout draws random numbers: call model.eval() before solving an equation with it.")
    return x


def _mish(x: Jet, inplace: bool = False) -> Operand:
    return multiply(x, elementwise(torch.tanh, elementwise(F.softplus, x)))


def _layer_norm(
    x: Jet, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Operand:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - _mean(x, axes)
    return _affine_by_feature(_to_unit_square(centred, axes, eps), weight, bias)


def _rms_norm(
    x: Jet, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Operand:
    axes = tuple(range(-len(normalized_shape), 0))
    return _affine_by_feature(_to_unit_square(x, axes, torch.finfo(x.dtype).eps if eps is None else eps), weight, None)


def _mean(x: Jet, axes: tuple[int, ...]) -> Jet:
    return x.like(x.data.mean(axes, keepdim=True))


def _to_unit_square(x: Jet, axes: tuple[int, ...], eps: float) -> Operand:
    """`x/√(mean(x²) + eps)`."""
    return x * elementwise(torch.pow, _mean(multiply(x, x), axes) + eps, -0.5)


def _affine_by_feature(x: Jet, weight: Tensor | None, bias: Tensor | None) -> Operand:
    x = x if weight is None else multiply(x, weight)
    return x if bias is None else add(x, bias)


def _softmax(x: Jet, dim: int, dtype: torch.dtype | None = None, **kwargs: Operand) -> Operand:
    axis = dim if dim < 0 else dim + 1
    powers = elementwise(torch.exp, x - x.data[0].amax(axis if axis < 0 else axis - 1, keepdim=True).detach())
    return powers / powers.sum(dim, keepdim=True)


MOVING: list[Operand] = [
    torch.unbind,
    torch.chunk,
    torch.split,
    torch.reshape,
    torch.flatten,
    torch.unsqueeze,
    torch.squeeze,
]
MOVING += [torch.transpose, torch.sum, torch.mean, torch.narrow, torch.select, torch.Tensor.view, torch.Tensor.expand]
MOVING += [torch.Tensor.reshape, torch.unflatten, torch.movedim, torch.permute, torch.broadcast_to]

LAYERS: dict[Operand, Callable[..., Operand]] = {
    torch.cat: _cat,
    torch.stack: _stack,
    F.dropout: _dropout,
    F.layer_norm: _layer_norm,
    F.mish: _mish,
    F.rms_norm: _rms_norm,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    torch.Tensor.contiguous: _identity,
    torch.clone: _identity,
    **{function: _moved(function) for function in MOVING},
}
RULES_OF_JETS.update(LAYERS)
