"""A quantity with its derivatives by coordinates, which goes through the code of any module in place of a tensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodescent._types import Operand
from geodescent.outputs.streams._algebra import Streams


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

    def recorded(
        self, weight: Tensor | None, bias: Tensor | None, a: Tensor, z: Tensor, *, turned: bool = False
    ) -> None:
        """Records a use, and makes what it returned a node of the graph."""
        own = [p if p is not None and self.is_parameter(p) else None for p in (weight, bias)]
        if (
            self.traced
            or self.directions is not None
            or not torch.is_grad_enabled()
            or not any(p is not None for p in own)
        ):
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
    def T(self) -> "Jet":
        raise NoRule("T of a batch")

    def dim(self) -> int:
        return self.ndim

    def size(self, axis: int | None = None) -> Operand:
        return self.shape if axis is None else self.shape[axis]

    def like(self, data: Tensor) -> "Jet":
        """Another quantity with the same streams."""
        return Jet(data, self.streams, self.tape)

    def __len__(self) -> int:
        return self.shape[0]

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Operand],
        types: Sequence[type],
        args: tuple[Operand, ...] = (),
        kwargs: Operand = None,
    ) -> Operand:
        rule = RULES_OF_JETS.get(function)
        if rule is None:
            raise NoRule(getattr(function, "__name__", str(function)))
        return rule(*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Operand:
        function = getattr(torch, name, None)
        if name.startswith("_") or not callable(function):
            raise AttributeError(f"a field has no attribute {name!r}")
        return lambda *args, **kwargs: _of(function, self, *args, **kwargs)

    def __add__(self, other: Operand) -> Operand:
        return _of(torch.add, self, other)

    def __sub__(self, other: Operand) -> Operand:
        return _of(torch.add, self, -other)

    def __rsub__(self, other: Operand) -> Operand:
        return _of(torch.add, -self, other)

    def __neg__(self) -> "Jet":
        return self.like(-self.data)

    def __pos__(self) -> "Jet":
        return self

    def __mul__(self, other: Operand) -> Operand:
        return _of(torch.mul, self, other)

    def __truediv__(self, other: Operand) -> Operand:
        return _of(torch.mul, self, _of(torch.reciprocal, other) if isinstance(other, Jet) else 1.0 / other)

    def __rtruediv__(self, other: Operand) -> Operand:
        return _of(torch.mul, _of(torch.reciprocal, self), other)

    def __pow__(self, exponent: Operand) -> Operand:
        return _of(torch.pow, self, exponent)

    def __rpow__(self, base: Operand) -> Operand:
        scale = torch.log(torch.as_tensor(base, dtype=self.dtype, device=self.device))
        return _of(torch.exp, _of(torch.mul, self, scale))

    def __matmul__(self, other: Operand) -> Operand:
        return _of(torch.matmul, self, other)

    def __getitem__(self, picked: Operand) -> "Jet":
        picked = picked if isinstance(picked, tuple) else (picked,)
        return self.like(self.data[(slice(None), *picked)])

    __radd__, __rmul__ = __add__, __mul__


RULES_OF_JETS: dict[Callable[..., Operand], Callable[..., Operand]] = {}
"""What torch's functions do to jets."""


def _of(function: Callable[..., Operand], *args: Operand, **kwargs: Operand) -> Operand:
    return Jet.__torch_function__(function, (), args, kwargs)
