"""Sums, products and functions of jets, and linear layers: exact in all derivatives."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Operand
from geodescent.outputs.streams._compose import affine, composed, multiplied, through_affine, through_composed
from geodescent.outputs.streams._functions import CLOSED, KINKED, SMOOTH, Elementwise
from geodescent.outputs.streams._jet import RULES_OF_JETS, Jet, NoRule, Tape


def widened(*jets: Jet) -> tuple[Jet, ...]:
    """The same quantities, all with the streams of that which has most: constant along the line where they had none."""
    most = max(jets, key=lambda jet: jet.streams.n_streams).streams
    return tuple(
        Jet(torch.cat([j.data, j.data.new_zeros(most.n_streams - len(j.data), *j.shape)]), most, j.tape)
        if len(j.data) < most.n_streams
        else j
        for j in jets
    )


def linear(x: Jet, weight: Tensor, bias: Tensor | None = None) -> Jet:
    """`xWᵀ + b` of each stream, the bias on the value alone; along a line of θ also `x dWᵀ + db`."""
    return _affine(x, weight, bias, turned=False)


def matmul(x: Operand, other: Operand) -> Operand:
    """Products with a matrix that is no field."""
    if not isinstance(x, Jet) or isinstance(other, Jet) or other.dim() != 2:
        raise NoRule("matmul of fields")
    return _affine(x, other, None, turned=True)


def _affine(x: Jet, weight: Tensor, bias: Tensor | None, *, turned: bool) -> Jet:
    tape, data = x.tape, x.data
    matrix, shift = tape.value(weight), None if bias is None else tape.value(bias)
    matrix = matrix if turned else matrix.T
    if torch.is_grad_enabled() and data.requires_grad and not tape.traced:
        z = through_affine(data, matrix, shift)
    elif tape.traced and shift is not None:
        z = _shifted(data @ matrix, shift)
    else:
        z = affine(data, matrix, shift)
    tape.recorded(weight, bias, data, z, turned=turned)
    slope, shift = tape.direction(weight), None if bias is None else tape.direction(bias)
    if slope is None and shift is None:
        return x.like(z)
    n, (jet,) = x.streams.n_points, widened(Jet(z, x.streams, tape), Jet(z[:0], x.streams.along_line, tape))[:1]
    out = jet.data
    if slope is not None:
        moved = data @ (slope if turned else slope.T)
        out[n : 2 * n] += moved[:n]
        if len(data) > n:
            out[2 * n :] += 2.0 * moved[n : 2 * n]
    if shift is not None:
        out[n] += shift
    return jet


def elementwise(function: Callable[..., Tensor], x: Operand, *args: Operand, **kwargs: Operand) -> Operand:
    """f(x), exact in all streams."""
    if not isinstance(x, Jet):
        raise NoRule(getattr(function, "__name__", str(function)))
    streams, rule = x.streams, Elementwise(function, args, tuple(kwargs.items()))
    if function in KINKED and max(streams.orders[: streams.n_points]) > 1:
        name = getattr(function, "__name__", "an activation")
        raise InputError(
            f"{name} has a kink, so that its second derivative is zero, and networks of it satisfy no equation of "
            "second order: take tanh, sin, GELU, SiLU or softplus instead."
        )
    if any(isinstance(a, Jet | Tensor) for a in (*args, *kwargs.values())):
        raise NoRule(getattr(function, "__name__", str(function)))
    if torch.is_grad_enabled() and x.data.requires_grad and not x.tape.traced:
        return x.like(through_composed(x.data, streams, rule))
    return x.like(composed(streams, rule(x.data[0], streams.order), x.data))


def power(x: Operand, exponent: Operand) -> Operand:
    """x to a constant exponent; whole ones from 2 to 4 by products."""
    if not isinstance(x, Jet) or isinstance(exponent, Jet | Tensor):
        raise NoRule("a power with an exponent that varies")
    return elementwise(torch.pow, x, exponent)


def add(x: Operand, y: Operand) -> Operand:
    """Sum of two fields, or of a field and a constant, which has a value alone."""
    if not isinstance(x, Jet):
        x, y = y, x
    if isinstance(y, Jet):
        x, y = widened(x, y)
        return x.like(x.data + y.data)
    tape: Tape = x.tape
    if not isinstance(y, Tensor):
        return x.like(torch.cat([x.data[:1] + y, x.data[1:]]))
    z = _shifted(x.data, tape.value(y))
    direction = tape.direction(y)
    if direction is not None:
        (x,) = widened(x.like(z), Jet(z[:0], x.streams.along_line, tape))[:1]
        x.data[x.streams.n_points] += direction
        return x
    if tape.is_parameter(y):
        tape.recorded(None, y, x.data, z)
    return x.like(z)


def _shifted(data: Tensor, by: Tensor) -> Tensor:
    first = data[:1] + by
    return torch.cat([first, data[1:].expand(len(data) - 1, *first.shape[1:])])


def multiply(x: Operand, y: Operand) -> Operand:
    """Product of two fields, or of a field and a constant."""
    if not isinstance(x, Jet):
        x, y = y, x
    if isinstance(y, Jet):
        data, other, streams = x.data, y.data, x.streams
        if x.streams is not y.streams and x.streams != y.streams:
            return _by_line(x, y)
        return x.like(multiplied(streams, data, other))
    if not isinstance(y, Tensor):
        return x.like(x.data * y)
    z = x.data * x.tape.value(y)
    direction = x.tape.direction(y)
    if direction is not None:
        moved, n = x.data * direction, x.streams.n_points
        (out,) = widened(x.like(z), Jet(z[:0], x.streams.along_line, x.tape))[:1]
        out.data[n : 2 * n] += moved[:n]
        if len(moved) > n:
            out.data[2 * n :] += 2.0 * moved[n : 2 * n]
        return out
    if x.tape.is_parameter(y):
        x.tape.recorded(y, None, x.data, z)
    return x.like(z)


def _by_line(x: Jet, y: Jet) -> Jet:
    """A product of a quantity that is constant along the line with one that is not: order by order of the line."""
    constant, moving = (x, y) if len(x.data) < len(y.data) else (y, x)
    n = constant.streams.n_points
    parts = [multiplied(constant.streams, constant.data, moving.data[k : k + n]) for k in range(0, 3 * n, n)]
    return moving.like(torch.cat(parts))


def _subtract(x: Operand, y: Operand) -> Operand:
    return add(x, -y)


def _taken_from(x: Operand, y: Operand) -> Operand:
    return add(y, -x)


def _divide(x: Operand, y: Operand) -> Operand:
    return x / y


def _negative(x: Jet) -> Jet:
    return -x


ARITHMETIC: dict[Operand, Callable[..., Operand]] = {
    F.linear: linear,
    torch.matmul: matmul,
    torch.Tensor.__matmul__: matmul,
    torch.pow: power,
    torch.neg: _negative,
    **dict.fromkeys((torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__), add),
    **dict.fromkeys((torch.sub, torch.Tensor.sub, torch.Tensor.__sub__), _subtract),
    torch.Tensor.__rsub__: _taken_from,
    **dict.fromkeys((torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__), multiply),
    **dict.fromkeys((torch.div, torch.true_divide, torch.Tensor.div, torch.Tensor.__truediv__), _divide),
}
FUNCTIONS: set[Operand] = {*CLOSED, *SMOOTH, *KINKED}
RULES_OF_JETS.update({function: partial(elementwise, function) for function in FUNCTIONS})
RULES_OF_JETS.update(ARITHMETIC)
