"""Output maps: what a network says, stacked, as a pure function of θ."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geodescent._types import Outputs, Theta
from geodescent.jacobian import Block, Columns, Jacobian, merged
from geodescent.outputs import _capture as capture
from geodescent.outputs._agreement import check_agreement
from geodescent.outputs._function import ModelFunction, parameters_of
from geodescent.outputs._inputs import Inputs, kind_of, n_samples_of, take
from geodescent.outputs._per_sample import per_sample_rows
from geodescent.outputs._probing import left_as_found, output_shape
from geodescent.outputs._routes import Routes, find_routes
from geodescent.outputs._rules import affine

CHECK_SAMPLES = 8  # the agreement check looks at this many samples: a wrong rule is wrong on any


class OutputMap(Protocol):
    """`x[θ]`: a differentiable map from parameters to outputs, with two verbs.

    Attributes:
        theta: the parameters it stands at, (K,), a copy.
        n_samples, n_outputs: N and Q; the outputs are (N, Q).
    """

    @property
    def theta(self) -> Theta: ...

    @property
    def n_samples(self) -> int: ...

    @property
    def n_outputs(self) -> int: ...

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q)."""
        ...

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, Jacobian]:
        """`x[θ]` and `D = ∂x/∂θ`."""
        ...


class SampleMap:
    """`x[θ]` for a module whose output for a sample depends on that sample alone.

    Args:
        model: any module; its trainable parameters are θ, tied ones once, in the order of `named_parameters`.
        inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments) of tensors, samples first.
        select: picks the outputs from what the model returns, where that is not one tensor.
        parameters: those that make up θ, in the model's order; None for all that require grad.
        check: compare the Jacobian by layers with autograd on a few samples, once, now.

    Raises:
        InputError: inputs, dtypes, devices or outputs that cannot be used.
        JacobianError: outputs that mix samples, or a rule that disagrees with autograd.

    The module is never re-pointed and is left as it was found.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        *,
        select: Callable[[Any], Tensor] | None = None,
        parameters: Iterable[Tensor] | None = None,
        check: bool = True,
    ) -> None:
        self.inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        places, kind = parameters_of(model, parameters), kind_of(model, self.inputs)
        partial = len(places) < sum(p.requires_grad for p in model.parameters())
        self.function = ModelFunction(model, places, select, *kind, partial)
        self.n_samples = n_samples_of(self.inputs)
        with left_as_found(model, self.device):
            self.output_shape = output_shape(self.function, self.inputs)
            self.routes: Routes = find_routes(self.function, self.inputs)
            if check:
                n = min(CHECK_SAMPLES, self.n_samples)
                few = self.on(take(self.inputs, [i * self.n_samples // n for i in range(n)]))
                check_agreement(self.function, few.inputs, few.linearise()[1])

    @property
    def model(self) -> nn.Module:
        return self.function.model

    @property
    def dtype(self) -> torch.dtype:
        return self.function.dtype

    @property
    def device(self) -> torch.device:
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
    def theta(self) -> Theta:
        """The module's own parameters, a flat copy (K,)."""
        return self.function.theta

    def write(self, theta: Theta) -> None:
        """Copies θ into the module's parameters."""
        self.function.write(theta)

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q); one forward pass."""
        with torch.no_grad():
            return self.function.outputs(self.function.views(theta), self.inputs)

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, Jacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one forward pass, Q backward passes through activations."""
        theta, routes = self.theta if theta is None else theta, self.routes
        with torch.enable_grad(), capture.recording(routes.modules) as calls:
            outputs = self.function.outputs(self.function.leaves(theta), self.inputs)
        kept, layouts = routes.kept(calls)
        records = self._along_chain(theta, kept)
        if records is None:
            records = capture.records_of(kept, layouts, capture.cotangents(outputs, kept, layouts), routes.index)
        joined: list[Columns] = [merged([records[i] for i in group]) for group in routes.groups]
        if routes.per_sample:
            joined.append(self._per_sample(theta))
        block = Block(tuple(joined), self.n_samples, self.n_outputs)
        return outputs.detach(), Jacobian((block,), self.n_params, self.dtype, self.device)

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + t·direction]/dt²` at t = 0, (N, Q); some six forward passes."""
        return self.function.second_derivative(theta, direction, self.inputs)

    def on(self, inputs: Inputs) -> "SampleMap":
        """The same map on other samples, with the routes already found."""
        other = object.__new__(SampleMap)
        other.__dict__.update(self.__dict__)
        other.inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        kind_of(self.model, other.inputs)
        other.n_samples = n_samples_of(other.inputs)
        return other

    def _along_chain(self, theta: Theta, calls: list[capture.Call]) -> list[Columns] | None:
        """The records of these calls by rules along the chain, where several outputs make that the cheaper way."""
        found = self.function.cotangents(theta, self.inputs) if self.n_outputs > 1 else None
        if found is None:
            return None
        wanted, records = {id(call.module) for call in calls}, list[Columns]()
        for call, g in zip(calls, (g for layer, g in found if id(layer) in wanted), strict=True):
            index = self.routes.index[call.name]
            records += affine(call.inputs[:, None], g, index.get("weight"), index.get("bias"), call.name)
        return records

    def _per_sample(self, theta: Theta) -> Columns:
        names, vectorised = self.routes.per_sample, self.routes.vectorised
        return per_sample_rows(self.function, theta, self.inputs, names, self.n_outputs, vectorised=vectorised)
