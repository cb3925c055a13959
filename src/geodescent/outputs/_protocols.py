"""The protocol of output maps, and those of abilities that only some output maps have."""

from typing import Protocol, _ProtocolMeta, runtime_checkable

import torch
from torch import Tensor, nn

from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.outputs._inputs import Inputs

_declared = set[tuple[type, type]]()


def declare(kind: type, *protocols: type) -> None:
    """Says of a class of maps that its objects have the members of these protocols."""
    _declared.update((kind, protocol) for protocol in protocols)


def is_declared(outputs: object) -> bool:
    """Whether the class of this map was declared to be one of output maps."""
    return (type(outputs), OutputMap) in _declared


class _Declarable(_ProtocolMeta):
    """`isinstance` looks for all members, and θ is a copy of K numbers: of declared classes nothing is looked for."""

    def __instancecheck__(cls, instance: object) -> bool:
        return (type(instance), cls) in _declared or super().__instancecheck__(instance)


@runtime_checkable
class OutputMap(Protocol, metaclass=_Declarable):
    """`x[θ]`: a differentiable map from parameters to outputs; a pure function of θ.

    Any object with these methods can be fitted, as the map of a block of a `Problem`. Its `linearise` may return a
    `MatrixJacobian`. Samples are the first axis of the outputs; a map without samples returns `(m,)`.
    """

    @property
    def theta(self) -> Theta:
        """The current parameters, flat, (K,)."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the outputs: (N, Q) or (m,)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs: float32 or float64."""
        ...

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        ...

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, without a graph."""
        ...

    def linearise(self, theta: Theta) -> tuple[Outputs, Jacobian]:
        """`x[θ]` and `D = ∂x/∂θ`; rows sample by sample."""
        ...

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, in the outputs' shape."""
        ...

    def write(self, theta: Theta) -> None:
        """Makes θ the current parameters."""
        ...


@runtime_checkable
class Sampled(OutputMap, Protocol):
    """An output map over samples: it can be restricted to some of them, or evaluated on others."""

    @property
    def inputs(self) -> Inputs:
        """The samples, on the first axis of every tensor."""
        ...

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of the targets: that of the outputs as the model returns them."""
        ...

    def at(self, samples: list[int] | Tensor) -> "Sampled":
        """The same map on these of its samples."""
        ...

    def on(self, inputs: Inputs) -> "Sampled":
        """The same map on other samples."""
        ...


@runtime_checkable
class OfModule(Protocol, metaclass=_Declarable):
    """An output map that calls a module."""

    @property
    def model(self) -> nn.Module:
        """The module."""
        ...


@runtime_checkable
class Parametrised(Protocol, metaclass=_Declarable):
    """An output map whose θ consists of named tensors."""

    def parameters(self) -> dict[str, Tensor]:
        """Name → tensor, in the order of θ."""
        ...


@runtime_checkable
class NetworkMap(OfModule, Parametrised, Protocol):
    """An output map that calls a module whose layers can be watched by hooks."""

    def watched(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q): one call of the module, recorded by autograd."""
        ...


@runtime_checkable
class Layered(OfModule, Protocol):
    """An output map that gives access to its module's layers, for causes of lost rank and for choosing the start."""

    def layers(self) -> dict[str, Tensor]:
        """Name → entries of θ of the layer's parameters, for the layers that enter D by a rule."""
        ...

    def is_linear(self) -> bool:
        """Whether x[θ] is known to be affine in θ."""
        ...


@runtime_checkable
class Noted(Protocol):
    """An output map that has something to say.

    Attributes:
        notes: in sentences, of what was done.
        converted: names of the inputs that were no tensors.
    """

    notes: list[str]
    converted: list[str]


@runtime_checkable
class Traced(Protocol):
    """An output map that autograd can differentiate any number of times."""

    def traced(self, theta: Theta) -> Outputs:
        """`x[θ]` with the graph that leads to θ."""
        ...


@runtime_checkable
class AtPlaces(OfModule, Protocol):
    """An output map whose rows are functions of what a module gives at places, as residuals of equations are."""

    @property
    def locations(self) -> Tensor:
        """(N, …), where: rows of one module with the same place see the same values."""
        ...

    def at_made_up_values(self, draw: int) -> Outputs:
        """The rows, (N, Q), where the module gives other values: functions of the place, the same in every map."""
        ...
