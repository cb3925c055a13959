"""A module and its samples as an output map."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from geodescent._types import Outputs, Theta
from geodescent._wrappers import unwrapped
from geodescent.jacobian import Block, BlockJacobian, Columns
from geodescent.outputs._autograd import differentiable
from geodescent.outputs._capture import Call, apart, cotangents, recording, require_calls
from geodescent.outputs._chain import is_last_linear
from geodescent.outputs._function import ModelFunction, ModuleMap
from geodescent.outputs._inputs import (
    Inputs,
    RawInputs,
    Select,
    as_inputs,
    converted_names,
    kind_of,
    n_samples_of,
    require_function,
    take,
)
from geodescent.outputs._parameters import parameters_of
from geodescent.outputs._per_sample import PerSample
from geodescent.outputs._protocols import Layered, NetworkMap, OfModule, OutputMap, Parametrised, Sampled, declare
from geodescent.outputs._routes import Routes, owned, probed_routes, ruled_modules
from geodescent.outputs._rules import affine_columns
from geodescent.outputs._standing import alone
from geodescent.outputs.checks import check_elsewhere, left_as_found, output_shape, probe
from geodescent.outputs.graph import faster_by_system, takes_derivatives

CHECK_SAMPLES = 8  # Samples of the comparison with autograd: a wrong rule gives wrong numbers on any samples.


class SampleMap(ModuleMap):
    """`x[θ]` for a module whose output for a sample depends on that sample alone.

        outputs, jacobian = gd.SampleMap(model, X).linearise()

    Args:
        model: any module; its trainable parameters are θ, tied ones once, in the order of `named_parameters`.
        inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments) of tensors, samples first;
            arrays, lists, series and frames become tensors of the model's dtype and device.
        select: picks the outputs from what the model returns, where that is not one tensor.
        parameters: those that make up θ, in the model's order; None for all that require grad.
        check: compare the Jacobian by layers with autograd on a few samples, once, now.

    Attributes:
        traced: `θ ↦ x[θ]` with the graph that leads to θ; None where a backward pass reads the module's parameters, as
            a checkpoint does, so that it is right while they are θ only.

    Raises:
        InputError: inputs, dtypes, devices or outputs that cannot be used.
        JacobianError: outputs that mix samples or depend on earlier calls, or derivatives that are not theirs.

    The module keeps its parameter tensors and is left as it was found. `notes` tells what was unwrapped, `converted`
    which inputs were no tensors. Threads with maps of one module wait for each other; a thread that calls the module
    itself meanwhile may see other parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: RawInputs,
        *,
        select: Select | None = None,
        parameters: Iterable[Tensor] | None = None,
        check: bool = True,
    ) -> None:
        part = repr(select) if isinstance(select, str | int) else "0"
        require_function(select, "select", f"select=lambda out: out[{part}]")
        model, notes = unwrapped(model)
        self.inputs = as_inputs(inputs, model)
        self.notes, self.converted = notes, converted_names(inputs)
        self.traced: Callable[[Theta], Outputs] | None = self._attached
        with alone(model):
            places, kind = parameters_of(model, parameters), kind_of(model, self.inputs)
            partial = len(places) < sum(p.requires_grad for p in model.parameters())
            self.function = ModelFunction(model, places, select, *kind, partial)
            self.n_samples = n_samples_of(self.inputs)
            self._look(check=check)

    def _look(self, *, check: bool) -> None:
        """Finds the outputs' shape and the routes, and compares D with autograd."""
        with left_as_found(self.model, self.device) as attributes:
            two, three = probe(self.inputs, 2), probe(self.inputs, 3)
            self.output_shape = output_shape(self.function, two, three)
            with differentiable("the model"):
                self.routes: Routes = probed_routes(self.function, two, three)
            self._look_inside(two)
            self._per_sample = PerSample(self.routes.rest, self.routes.held.graph)
            if check:
                n = min(CHECK_SAMPLES, self.n_samples)
                few = self.at([i * self.n_samples // n for i in range(n)])
                if not check_elsewhere(few, attributes, products=not self.routes.by_given_rules):
                    self.traced = None

    def _look_inside(self, samples: Inputs) -> None:
        """Notes that the model takes derivatives by its inputs, where a layer is used beside its calls."""
        if not self.routes.rest:
            return
        ruled = {
            name for module in ruled_modules(self.function).values() for name in owned(self.function, module).values()
        }
        views = self.function.views(self.theta)
        if ruled & set(self.routes.rest) and takes_derivatives(lambda: self.function.outputs(views, samples)):
            self.notes.append(faster_by_system("The model", by_products=True))

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(N, …): that of what the model returns."""
        return self.n_samples, *self.output_shape

    @property
    def theta(self) -> Theta:
        """The module's own parameters, a flat copy (K,)."""
        return self.function.theta

    def parameters(self) -> dict[str, Tensor]:
        """The module's own parameters by name, in the order of θ."""
        return self.function.own()

    def layers(self) -> dict[str, Tensor]:
        """Name → entries of θ, of the layers that enter D by a rule."""
        ruled = {name: self.routes.index[name] for name in self.routes.modules}
        return {name: torch.cat([entries.reshape(-1) for entries in own.values()]) for name, own in ruled.items()}

    def is_linear(self) -> bool:
        """Whether x[θ] is affine in θ: the one trainable module is a Linear that comes last."""
        return self.function.select is None and is_last_linear(self.model)

    def write(self, theta: Theta) -> None:
        """Copies θ into the module's parameters."""
        self.function.write(theta)

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q); one forward pass."""
        require_calls(self.routes.held.call, self.n_samples, self.device)
        with torch.no_grad():
            outputs = self.function.outputs(self.function.views(theta), self.inputs)
        return outputs.detach()  # a model may record a graph of its own

    def watched(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q): one call of the module, recorded by autograd."""
        with torch.enable_grad():
            leaf = theta.detach().clone().requires_grad_()
            return self.function.outputs(self.function.views(leaf), self.inputs)

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, BlockJacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one forward pass, Q backward passes through activations."""
        theta = self.theta if theta is None else theta
        require_calls(self.routes.held.recorded, self.n_samples, self.device)
        leaves = self.function.leaves(theta)
        return self.function.standing_at(leaves, lambda: self._linearised(theta))

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, (N, Q); some six forward passes."""
        return self.function.second_derivative(theta, direction, self.inputs)

    def at(self, samples: list[int] | Tensor) -> "SampleMap":
        """The same map on these of its samples, with the routes already found."""
        return self._over(take(self.inputs, samples))

    def on(self, inputs: RawInputs) -> "SampleMap":
        """The same map on other samples, with the routes already found."""
        other = self._over(as_inputs(inputs, self.model))
        other.converted = converted_names(inputs)
        kind_of(self.model, other.inputs, is_known=True)
        return other

    def _over(self, inputs: Inputs) -> "SampleMap":
        """The same map on tensors of its own kind."""
        other = object.__new__(SampleMap)
        other.__dict__.update(self.__dict__)
        other.inputs, other.notes, other.converted = inputs, [], []
        other.n_samples = n_samples_of(inputs)
        other.traced = None if self.traced is None else other._attached
        return other

    def _attached(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q), with the graph that leads to θ."""
        return self.function.outputs(self.function.views(theta), self.inputs)

    def _linearised(self, theta: Theta) -> tuple[Outputs, BlockJacobian]:
        """The same while the model's parameters are leaves at θ, so that what reads them later reads these."""
        with torch.enable_grad(), recording(self.routes.modules) as calls:
            outputs = self.function.rows(self.inputs)
        kept, layouts = self.routes.kept(apart(calls, [theta]))
        columns = self._along_chain(theta, kept)
        if columns is None:
            columns = self.routes.by_rule(kept, layouts, cotangents(outputs, kept, layouts))
        if self.routes.rest:
            columns.append(self._per_sample.columns(self.function, theta, self.inputs, self.n_outputs))
        block = Block(tuple(columns), self.n_samples, self.n_outputs)
        return outputs.detach(), BlockJacobian((block,), self.n_params, self.dtype, self.device)

    def _along_chain(self, theta: Theta, calls: list[Call]) -> list[Columns] | None:
        """The columns of these calls by rules along the chain, where that is cheaper, with several outputs."""
        along_chain = self.function.cotangents(theta, self.inputs) if self.n_outputs > 1 else None
        if along_chain is None:
            return None
        wanted, columns = {id(call.module) for call in calls}, list[Columns]()
        for call, g in zip(calls, (g for layer, g in along_chain if id(layer) in wanted), strict=True):
            index = self.routes.index[call.name]
            columns += affine_columns(call.inputs[:, None], g, index.get("weight"), index.get("bias"), call.name)
        return self.routes.joined(columns)


declare(SampleMap, OutputMap, Sampled, OfModule, Parametrised, NetworkMap, Layered)
