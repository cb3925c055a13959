"""A quantity with its derivatives by coordinates, which goes through the code of any module in place of a tensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geodescent._errors import InputError
from geodescent.outputs.streams._algebra import Streams
from geodescent.outputs.streams._compose import Affine, Composed, affine, composed, multiplied
from geodescent.outputs.streams._functions import CLOSED, KINKED, SMOOTH, Elementwise


class NoRule(Exception):
    """An operation without a rule for streams."""


@dataclass(frozen=True)
class Use:
    """One use of parameters by a rule: `z = aWᵀ + b`, or z = a∘w, or z = a + b.

    Attributes:
        weight, bias: the parameters, or None; a weight of one dimension is multiplied elementwise.
        inputs: a, (S, N, …, d), without a graph.
        outputs: z, (S, N, …, o), in the graph.
        turned: whether the weight is (d, o).
    """

    weight: Tensor | None
    bias: Tensor | None
    inputs: Tensor
    outputs: Tensor
    turned: bool = False


@dataclass
class Tape:
    """What a forward pass of jets knows of the parameters, and what it records.

    Attributes:
        parameters: those that make up θ, by their id.
        directions: of the same parameters, for derivatives along a line of θ; None without.
        traced: whether the graph leads to the parameters; else to what layers return.
        uses: of the parameters, in order.
    """

    parameters: dict[int, Tensor] = field(default_factory=dict)
    directions: dict[int, Tensor] | None = None
    traced: bool = False
    uses: list[Use] = field(default_factory=list)

    def is_parameter(self, value: object) -> bool:
        """Whether this tensor is one of those that make up θ."""
        return id(value) in self.parameters

    def direction(self, parameter: Tensor) -> Tensor | None:
        """Of a parameter along the line; None for constants."""
        return None if self.directions is None else self.directions.get(id(parameter))

    def recorded(self, weight: Tensor | None, bias: Tensor | None, a: Tensor, z: Tensor, *, turned: bool = False) -> None:
        """Records a use, and makes what it returned a node of the graph."""
        own = [p if p is not None and self.is_parameter(p) else None for p in (weight, bias)]
        if self.traced or self.directions is not None or not torch.is_grad_enabled() or not any(p is not None for p in own):
            return
        if not z.requires_grad:
            z.requires_grad_()
        self.uses.append(Use(own[0], own[1], a.detach(), z, turned))

    def value(self, tensor: Tensor) -> Tensor:
        """The tensor as an operand: a parameter is a constant of the graph unless the graph leads to it."""
        if self.is_parameter(tensor):
            return tensor if self.traced else tensor.detach()
        if tensor.grad_fn is not None and not self.traced:
            raise NoRule("what is computed from parameters alone")
        return tensor


class Jet:
    """A quantity (N, …) and its derivatives: `data` is (S, N, …), the value first.

    Torch's functions of tensors take it: linear layers, elementwise functions, sums and products of quantities, and
    what moves, joins or picks entries.
    """

    __slots__ = ("data", "streams", "tape")

    def __init__(self, data: Tensor, streams: Streams, tape: Tape) -> None:
        self.data, self.streams, self.tape = data, streams, tape

    @property
    def shape(self) -> torch.Size:
        return self.data.shape[1:]

    @property
    def ndim(self) -> int:
        return self.data.ndim - 1

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype

    @property
    def device(self) -> torch.device:
        return self.data.device

    @property
    def requires_grad(self) -> bool:
        return False

    @property
    def is_nested(self) -> bool:
        return False

    @property
    def T(self) -> "Jet":  # noqa: N802
        raise NoRule("T of a batch")

    def dim(self) -> int:
        return self.ndim

    def size(self, axis: int | None = None) -> Any:
        return self.shape if axis is None else self.shape[axis]

    def like(self, data: Tensor) -> "Jet":
        """Another quantity with the same streams."""
        return Jet(data, self.streams, self.tape)

    def __len__(self) -> int:
        return self.shape[0]

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = RULES_OF_JETS.get(function)
        if rule is not None:
            return rule(*args, **kwargs)
        if function in CLOSED or function in SMOOTH or function in KINKED:
            return elementwise(function, args[0], *args[1:], **kwargs)
        raise NoRule(getattr(function, "__name__", str(function)))

    def __getattr__(self, name: str) -> Any:
        function = getattr(torch, name, None)
        if name.startswith("_") or not callable(function):
            raise AttributeError(f"a field has no attribute {name!r}")
        return lambda *args, **kwargs: Jet.__torch_function__(function, (), (self, *args), kwargs)

    def __add__(self, other: Any) -> "Jet":
        return add(self, other)

    def __sub__(self, other: Any) -> "Jet":
        return add(self, -other)

    def __rsub__(self, other: Any) -> "Jet":
        return add(-self, other)

    def __neg__(self) -> "Jet":
        return self.like(-self.data)

    def __pos__(self) -> "Jet":
        return self

    def __mul__(self, other: Any) -> "Jet":
        return multiply(self, other)

    def __truediv__(self, other: Any) -> "Jet":
        return multiply(self, elementwise(torch.reciprocal, other) if isinstance(other, Jet) else 1.0 / other)

    def __rtruediv__(self, other: Any) -> "Jet":
        return multiply(elementwise(torch.reciprocal, self), other)

    def __pow__(self, exponent: Any) -> "Jet":
        return power(self, exponent)

    def __rpow__(self, base: Any) -> "Jet":
        return elementwise(torch.exp, multiply(self, torch.log(torch.as_tensor(base, dtype=self.dtype, device=self.device))))

    def __matmul__(self, other: Any) -> "Jet":
        return matmul(self, other)

    def __getitem__(self, picked: Any) -> "Jet":
        picked = picked if isinstance(picked, tuple) else (picked,)
        return self.like(self.data[(slice(None), *picked)])

    __radd__, __rmul__ = __add__, __mul__


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


def matmul(x: Any, other: Any) -> Jet:
    """Products with a matrix that is no field."""
    if not isinstance(x, Jet) or isinstance(other, Jet) or other.dim() != 2:
        raise NoRule("matmul of fields")
    return _affine(x, other, None, turned=True)


def _affine(x: Jet, weight: Tensor, bias: Tensor | None, *, turned: bool) -> Jet:
    tape, data = x.tape, x.data
    matrix, shift = tape.value(weight), None if bias is None else tape.value(bias)
    matrix = matrix if turned else matrix.T
    if torch.is_grad_enabled() and data.requires_grad and not tape.traced:
        z: Tensor = Affine.apply(data, matrix, shift)  # type: ignore[no-untyped-call]
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


def elementwise(function: Callable[..., Tensor], x: Any, *args: Any, **kwargs: Any) -> Jet:
    """f(x), exact in all streams."""
    if not isinstance(x, Jet) or any(isinstance(a, Jet | Tensor) for a in (*args, *kwargs.values())):
        raise NoRule(getattr(function, "__name__", str(function)))
    streams, rule = x.streams, Elementwise(function, args, tuple(kwargs.items()))
    if function in KINKED and max(streams.orders[: streams.n_points]) > 1:
        name = getattr(function, "__name__", "an activation")
        raise InputError(
            f"{name} has a kink, so that its second derivative is zero and networks of it satisfy no equation of second "
            "order: take tanh, sin, GELU, SiLU or softplus instead."
        )
    if torch.is_grad_enabled() and x.data.requires_grad and not x.tape.traced:
        return x.like(Composed.apply(x.data, streams, rule))  # type: ignore[no-untyped-call]
    return x.like(composed(streams, rule(x.data[0], streams.order), x.data))


def power(x: Any, exponent: Any) -> Jet:
    """x to a constant exponent; whole ones from 2 to 4 by products."""
    if not isinstance(x, Jet) or isinstance(exponent, Jet | Tensor):
        raise NoRule("a power with an exponent that varies")
    return elementwise(torch.pow, x, exponent)


def add(x: Any, y: Any) -> Jet:
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


def multiply(x: Any, y: Any) -> Jet:
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


def _joined(join: Callable[..., Tensor], jets: Sequence[Any], axis: int) -> Jet:
    first = next(j for j in jets if isinstance(j, Jet))
    fields = widened(*(j if isinstance(j, Jet) else _constant(j, first) for j in jets))
    return fields[0].like(join([f.data for f in fields], axis if axis < 0 else axis + 1))


def _constant(tensor: Tensor, like: Jet) -> Jet:
    value = like.tape.value(tensor)
    return like.like(torch.cat([value[None], value.new_zeros(len(like.data) - 1, *value.shape)]))


def _cat(tensors: Sequence[Any], dim: int = 0) -> Jet:
    return _joined(torch.cat, tensors, dim)


def _stack(tensors: Sequence[Any], dim: int = 0) -> Jet:
    return _joined(torch.stack, tensors, dim)


def _moved(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that moves or picks entries along axes counted from the end or from the sample's: as on each stream."""

    def rule(x: Jet, *args: Any, **kwargs: Any) -> Any:
        by_stream = torch.vmap(lambda data: function(data, *args, **kwargs))
        out = by_stream(x.data)
        return tuple(x.like(o) for o in out) if isinstance(out, tuple | list) else x.like(out)

    return rule


def _identity(x: Jet, *args: Any, **kwargs: Any) -> Jet:
    return x


def _dropout(x: Jet, p: float = 0.5, training: bool = True, inplace: bool = False) -> Jet:
    if training and p > 0.0:
        raise InputError("dropout draws random numbers: call model.eval() before solving an equation with it.")
    return x


def _mish(x: Jet, inplace: bool = False) -> Jet:
    return multiply(x, elementwise(torch.tanh, elementwise(F.softplus, x)))


def _layer_norm(
    x: Jet, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Jet:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - torch.mean(x, axes, keepdim=True)
    return _affine_by_feature(_to_unit_square(centred, axes, eps), weight, bias)


def _rms_norm(x: Jet, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Jet:
    axes = tuple(range(-len(normalized_shape), 0))
    return _affine_by_feature(_to_unit_square(x, axes, torch.finfo(x.dtype).eps if eps is None else eps), weight, None)


def _to_unit_square(x: Jet, axes: tuple[int, ...], eps: float) -> Jet:
    """`x/√(mean(x²) + eps)`."""
    return x * elementwise(torch.pow, torch.mean(multiply(x, x), axes, keepdim=True) + eps, -0.5)


def _affine_by_feature(x: Jet, weight: Tensor | None, bias: Tensor | None) -> Jet:
    x = x if weight is None else multiply(x, weight)
    return x if bias is None else add(x, bias)


def _softmax(x: Jet, dim: int, dtype: torch.dtype | None = None, **kwargs: Any) -> Jet:
    axis = dim if dim < 0 else dim + 1
    powers = elementwise(torch.exp, x - x.data[0].amax(axis if axis < 0 else axis - 1, keepdim=True).detach())
    return powers / torch.sum(powers, dim, keepdim=True)


def _subtract(x: Any, y: Any) -> Jet:
    return add(x, -y)


def _divide(x: Any, y: Any) -> Any:
    return x / y


MOVING = [torch.unbind, torch.chunk, torch.split, torch.reshape, torch.flatten, torch.unsqueeze, torch.squeeze]
MOVING += [torch.transpose, torch.sum, torch.mean, torch.narrow, torch.select, torch.Tensor.view, torch.Tensor.expand]
MOVING += [torch.Tensor.reshape, torch.unflatten, torch.movedim, torch.permute, torch.broadcast_to]

RULES_OF_JETS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.linear: linear,
    torch.matmul: matmul,
    torch.cat: _cat,
    torch.stack: _stack,
    torch.add: add,
    torch.sub: _subtract,
    torch.mul: multiply,
    torch.div: _divide,
    torch.true_divide: _divide,
    torch.neg: lambda x: -x,
    torch.pow: power,
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
"""What torch's functions do to jets, where they are no elementwise functions."""
for _name in ("__add__", "__radd__", "add"):
    RULES_OF_JETS[getattr(torch.Tensor, _name)] = add
for _name in ("__mul__", "__rmul__", "mul"):
    RULES_OF_JETS[getattr(torch.Tensor, _name)] = multiply
RULES_OF_JETS[torch.Tensor.sub] = RULES_OF_JETS[torch.Tensor.__sub__] = _subtract
RULES_OF_JETS[torch.Tensor.__rsub__] = lambda x, y: add(y, -x)
RULES_OF_JETS[torch.Tensor.div] = RULES_OF_JETS[torch.Tensor.__truediv__] = _divide
RULES_OF_JETS[torch.Tensor.__matmul__] = matmul
