"""A module and its samples as an output map."""

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from geodescent._types import Outputs, Theta
from geodescent._wrappers import unwrapped
from geodescent.jacobian import AnyBlock, Block, BlockJacobian, Columns, DenseColumns, RecordedBlock
from geodescent.outputs._autograd import differentiable
from geodescent.outputs._capture import Call, Layout, cotangents, recording, require_calls
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
from geodescent.outputs._standing import alone, unrolled
from geodescent.outputs.checks import check_elsewhere, left_as_found, output_shape, probe
from geodescent.outputs.graph import faster_by_system, takes_derivatives
from geodescent.outputs.recorded import RecordedCall, Twice, WantedDerivatives, convolving

AS_LONG = 1.5
"""Times Q: products through a graph until what they took longer than products with columns would have made these."""
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
        self._twice = Twice()
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
        if ruled & {*self.routes.rest, *self.routes.products} and takes_derivatives(
            lambda: self.function.outputs(views, samples)
        ):
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
        """`x[θ]`, (N, Q), and its Jacobian: one forward pass, recorded; the columns of D are made where they are asked.

        Products with D are passes through the recorded graph until they have cost as much as the columns, which take Q
        backward passes through activations. Of one output, along a chain of linear layers, and where a backward pass
        reads the module's parameters, the columns are made at once.
        """
        return self._at(self.theta if theta is None else theta, self._linearised)

    def with_columns(self, theta: Theta) -> tuple[Outputs, BlockJacobian]:
        """The same with the columns made at once."""
        return self._at(theta, self._made)

    def _at(
        self, theta: Theta, ask: Callable[[Theta, dict[str, Tensor]], tuple[Outputs, AnyBlock]]
    ) -> tuple[Outputs, BlockJacobian]:
        """What `ask` returns while the model's parameters are leaves at θ, which all that reads them later reads."""
        require_calls(self.routes.held.recorded, self.n_samples, self.device)
        leaves = self.function.leaves(theta.clone())  # a graph that is kept must not follow θ
        outputs, block = self.function.standing_at(leaves, lambda: ask(theta, leaves))
        return outputs, BlockJacobian((block,), self.n_params, self.dtype, self.device)

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

    def _linearised(self, theta: Theta, leaves: dict[str, Tensor]) -> tuple[Outputs, AnyBlock]:
        one_pass = self.n_outputs == 1 and not self.routes.rest
        if self.traced is None or one_pass or self.routes.read_buffers:
            return self._made(theta, leaves)
        wanted = WantedDerivatives()
        with convolving(self.model, wanted):
            outputs, kept, layouts = self._recorded(leaves)
        along_chain = self._along_chain(theta, kept)
        if along_chain is not None:
            return outputs.detach(), self._block(along_chain, theta)
        make = partial(self._columns, leaves, (kept, layouts), wanted)
        passes = math.inf if self.routes.rest else AS_LONG * self.n_outputs
        graph_bytes = self.routes.held.graph * self.n_samples
        standing = partial(self.function.standing_at, leaves)
        call = RecordedCall(
            outputs, list(leaves.values()), make, self._outline, passes, graph_bytes, self._twice, standing
        )
        block = RecordedBlock(call, self.n_samples, self.n_outputs, self.dtype)
        return outputs.detach().clone(), block  # the graph may hold the outputs themselves

    def _made(self, theta: Theta, leaves: dict[str, Tensor]) -> tuple[Outputs, AnyBlock]:
        outputs, kept, layouts = self._recorded(leaves)
        columns = self._along_chain(theta, kept)
        if columns is None:
            columns = self.routes.by_rule(kept, layouts, cotangents(outputs, kept, layouts))
        return outputs.detach(), self._block(columns, theta)

    def _recorded(self, leaves: dict[str, Tensor]) -> tuple[Outputs, list[Call], list[Layout]]:
        """x[θ], attached, and the calls of layers that go by rule."""
        with torch.enable_grad(), recording(self.routes.modules) as calls, unrolled(self.model):
            outputs = self.function.rows(self.inputs)
        return outputs, *self.routes.kept([*calls, *self.routes.product_calls(outputs, leaves)])

    def _columns(
        self,
        leaves: dict[str, Tensor],
        calls: tuple[list[Call], list[Layout]],
        wanted: WantedDerivatives,
        outputs: Tensor,
        rows: Tensor | None,
        matrix: Tensor | None,
    ) -> list[Columns]:
        """The columns of outputs that are sums of those of the call; its graph is kept."""

        with wanted.returns_alone():
            gradients = cotangents(outputs, *calls, keep_graph=True)
        columns = self.routes.by_rule(*calls, gradients)
        if self.routes.rest:
            theta = torch.cat([leaf.detach().reshape(-1) for leaf in leaves.values()])
            rest = self._per_sample.columns(self.function, theta, self.inputs, self.n_outputs).scaled(rows, None)
            columns.append(rest if matrix is None else rest.mixed(matrix))
        return columns

    def _block(self, columns: list[Columns], theta: Theta) -> Block:
        """With the columns of the parameters that no rule accounts for."""
        if self.routes.rest:
            columns = [*columns, self._per_sample.columns(self.function, theta, self.inputs, self.n_outputs)]
        return Block(tuple(columns), self.n_samples, self.n_outputs)

    @property
    def _outline(self) -> Block:
        """The columns of two samples, with zeros for those that no rule accounts for."""
        pieces = list(self.routes.outline)
        rest = [p for p in self.function.parameters if p.name in self.routes.rest]
        if rest:
            index = torch.cat([self.function.entries(p).reshape(-1) for p in rest])
            zeros = index.new_zeros((), dtype=self.dtype).expand(2, self.n_outputs, len(index))
            pieces.append(DenseColumns(zeros, index, " + ".join(self.routes.rest)))
        return Block(tuple(pieces), 2, self.n_outputs)

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
