"""A module as a pure function of θ: it keeps its parameter tensors, which are written with copy_."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.jacobian import ChainedCotangents
from geodescent.outputs._chain import along_chain, cotangents_along_chain
from geodescent.outputs._inputs import Inputs, Select, chosen, n_samples_of, require_tensor, take
from geodescent.outputs._parameters import Parameter, held
from geodescent.outputs._second_derivative import SecondDerivative
from geodescent.outputs._standing import Answer, alone, differentiable_kernels, place_of, standing

COMPARED = 4  # Samples on which two methods for the second derivative are compared.


@dataclass(frozen=True)
class ModelFunction:
    """`(θ, X) ↦ outputs (N, Q)` for a module, with θ as flat views, leaves or a copy.

    Attributes:
        model: the module.
        parameters: its trainable parameters or some of them, tied ones once, in the order of `named_parameters`.
        select: picks the outputs from what the model returns, or None.
        dtype, device: of parameters and outputs.
        partial: whether others of the module's parameters require grad too: for this function they are constants.
        curvature: the second derivative, and which method for it was found right.
    """

    model: nn.Module
    parameters: tuple[Parameter, ...]
    select: Select | None
    dtype: torch.dtype
    device: torch.device
    partial: bool = False
    curvature: SecondDerivative = field(default_factory=SecondDerivative, repr=False, compare=False)

    @cached_property
    def n_params(self) -> int:
        """K."""
        return sum(self._sizes)

    def own(self) -> dict[str, Tensor]:
        """The module's own parameters that make up θ, by name and in its order."""
        with alone(self.model):
            places = {p.name: place_of(self.model, p.name) for p in self.parameters}
            return {name: held[own] for name, (held, own) in places.items()}

    @property
    def theta(self) -> Theta:
        """The module's own parameters, a flat copy (K,)."""
        with alone(self.model):
            return torch.cat([p.detach().reshape(-1) for p in self.own().values()])

    def write(self, theta: Theta) -> None:
        """Copies θ into the module's parameters."""
        with torch.no_grad(), alone(self.model):
            own = self.own()
            for p in self.parameters:
                own[p.name].copy_(theta[p.entries].view(p.shape))

    @contextmanager
    def written(self, theta: Theta) -> Iterator[None]:
        """Holds θ in the module's own parameters inside the block, without a trace in graphs that the user keeps.

        Calls compute by the kernels that all others do.
        """
        with alone(self.model), differentiable_kernels(self.model.modules()):
            own, stood = self.own(), self.theta
            try:
                for p in self.parameters:
                    own[p.name].data.copy_(theta[p.entries].view(p.shape))
                yield
            finally:
                for p in self.parameters:
                    own[p.name].data.copy_(stood[p.entries].view(p.shape))

    def views(self, theta: Theta) -> dict[str, Tensor]:
        """θ cut into the module's parameters, without a copy."""
        parts = theta.split_with_sizes(self._sizes)
        return {p.name: part.view(p.shape) for p, part in zip(self.parameters, parts, strict=True)}

    def leaves(self, theta: Theta) -> dict[str, Tensor]:
        """The same as leaves of a new graph."""
        return {name: view.detach().requires_grad_() for name, view in self.views(theta).items()}

    def entries(self, parameter: Parameter) -> Tensor:
        """Where the parameter's entries stand in θ, in its shape."""
        entries = torch.arange(parameter.entries.start, parameter.entries.stop, device=self.device)
        return entries.view(parameter.shape)

    def standing_at(self, parameters: dict[str, Tensor], ask: Callable[[], Answer]) -> Answer:
        """What `ask` returns while the model's parameters are these."""
        with alone(self.model):
            return standing(self.model, self._with_ties(parameters), ask)

    def called(self, inputs: Inputs) -> Any:
        """What the model returns with the parameters that it has now."""
        if isinstance(inputs, dict):
            return self.model(**inputs)
        return self.model(*inputs) if isinstance(inputs, tuple) else self.model(inputs)

    def call(self, parameters: dict[str, Tensor], inputs: Inputs) -> Any:
        """What the model returns with these parameters."""
        return self.standing_at(parameters, lambda: self.called(inputs))

    def selected(self, returned: Any, n_samples: int) -> Tensor:
        """The outputs in what the model returned, in the model's own shape."""
        picked = returned if self.select is None else chosen(self.select, returned)
        return require_tensor(picked, n_samples, selected=self.select is not None)

    def rows(self, inputs: Inputs) -> Tensor:
        """The outputs with the parameters that the model has now, (N, Q)."""
        outputs = self.selected(self.called(inputs), n_samples_of(inputs))
        return outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None]

    def outputs(self, parameters: dict[str, Tensor], inputs: Inputs) -> Tensor:
        """The outputs with these parameters, (N, Q)."""
        return self.standing_at(parameters, lambda: self.rows(inputs))

    def cotangents(self, theta: Theta, inputs: Inputs) -> list[tuple[nn.Module, ChainedCotangents]] | None:
        """Each linear layer with the derivative of the outputs by what it returned; None without a chain of layers."""
        with torch.no_grad():
            return None if self.select else cotangents_along_chain(self.model, self.views(theta), inputs)

    def second_derivative(self, theta: Theta, direction: Theta, inputs: Inputs) -> Tensor:
        """`d²/ds² outputs(θ + s·direction)` at s = 0, (N, Q): by rules along a chain, else by autograd.

        Where an operation has no second derivative, the central difference of length `eps^¼` instead.
        """

        with torch.no_grad(), alone(self.model):
            if self.select is None:
                curvature = along_chain(self.model, self.views(theta), self.views(direction), inputs)
                if curvature is not None:
                    return curvature.flatten(1) if curvature.dim() > 1 else curvature[:, None]
            return self.standing_at(self.views(theta), lambda: self._curvature_at(theta, direction, inputs))

    def _curvature_at(self, theta: Theta, direction: Theta, inputs: Inputs) -> Tensor:
        """The same by autograd, while the model's parameters are θ."""

        def outputs_on(samples: Inputs) -> Callable[[Theta], Tensor]:
            return lambda at: self.outputs(self.views(at), samples)

        few = take(inputs, list(range(min(COMPARED, n_samples_of(inputs)))))
        return self.curvature(outputs_on(inputs), outputs_on(few), theta, direction)

    @cached_property
    def _sizes(self) -> list[int]:
        """How many entries each parameter has."""
        return [math.prod(p.shape) for p in self.parameters]

    def _with_ties(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters under all of their names, and the others that require grad as constants."""
        if self.partial:
            rest = {name: p.detach() for name, p in held(self.model) if p.requires_grad}
            parameters = {**rest, **parameters}
        return parameters | {tie: parameters[p.name] for p in self.parameters for tie in p.ties}


class ModuleMap:
    """An output map whose θ are parameters of a module.

    Attributes:
        function: the parameters and their places in θ.
        n_samples: N.
        output_shape: of one sample's outputs, as the model returns them.
    """

    function: ModelFunction
    n_samples: int
    output_shape: tuple[int, ...]

    @property
    def model(self) -> nn.Module:
        """The module."""
        return self.function.model

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs."""
        return self.function.dtype

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        return self.function.device

    @property
    def n_params(self) -> int:
        """K."""
        return self.function.n_params

    @property
    def n_outputs(self) -> int:
        """Q."""
        return math.prod(self.output_shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, Q)."""
        return self.n_samples, self.n_outputs
