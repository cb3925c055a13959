"""A closure as an output map: θ is written into the parameters, and the closure is called."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geodescent._errors import InputError, JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Block, BlockJacobian, Columns, DenseColumns
from geodescent.outputs._autograd import differentiable, gradient_of, random_rows, second_derivative_of
from geodescent.outputs._capture import Call, apart, cotangents, recording
from geodescent.outputs._closure import DETACHED, BatchClosure, Closure, rows_of
from geodescent.outputs._function import ModelFunction, ModuleMap
from geodescent.outputs._guessed_routes import Signature, fitting_columns, guessed_routes, signature_of
from geodescent.outputs._inputs import kind_of
from geodescent.outputs._parameters import parameters_of
from geodescent.outputs._routes import Routes, ruled_modules
from geodescent.outputs._second_derivative import central_difference
from geodescent.outputs.checks import disagreeing, left_as_found, or_eval, random_state, refuse_mixing_layers
from geodescent.outputs.graph import faster_by_system, rows_of_leaves, takes_derivatives, uses


@dataclass
class ClosureRoutes:
    """What all closures of one model and one choice of parameters share, kept from step to step.

    Attributes:
        function: the parameters and their places in θ.
        modules: the layers to record.
        known: the routes found so far, by the signature of the calls.
        notes: a sentence for the user, where the closure takes derivatives by its inputs.
        is_seen: whether that was looked at.
    """

    function: ModelFunction
    modules: dict[str, nn.Module] = field(init=False)
    known: dict[Signature, Routes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_seen: bool = False

    def __post_init__(self) -> None:
        self.modules = ruled_modules(self.function)


@dataclass(frozen=True)
class _FirstCall:
    """The call made at construction, so that the first linearisation needs no other.

    Attributes:
        theta, versions: the parameters then, and how often each had been written.
        outputs: x with its graph, (N, Q).
        calls: of layers.
    """

    theta: Theta
    versions: list[int]
    outputs: Tensor
    calls: list[Call]


class ClosureMap(ModuleMap):
    """`x[θ]` of a closure, which calls a model whose parameters are θ.

    Args:
        routes: kept between steps.
        closure: returns (outputs, targets), or residuals; every call sees the same batch.

    Raises:
        InputError: what the closure returns cannot be fitted.
        JacobianError: the closure draws random numbers, or a layer of the model mixes samples.

    For every call θ is written with copy_, and the parameters are put back afterwards.
    """

    def __init__(self, routes: ClosureRoutes, closure: Closure) -> None:
        self.function, self._routes = routes.function, routes
        self._leaves = self.function.own()
        self._batch = BatchClosure(closure, self.model, self.function.dtype, self.function.device)
        outputs, target, calls = self._opened()
        self.target = rows_of(target) if target.shape == outputs.shape else target
        self.output_shape, self.n_samples = outputs.shape[1:], len(outputs)
        self._first: _FirstCall | None = _FirstCall(self.theta, self._versions(), rows_of(outputs), calls)

    @classmethod
    def of(cls, model: nn.Module, closure: Closure) -> "ClosureMap":
        """The map of a closure that calls this model, over all of its parameters that require grad."""
        function = ModelFunction(model, parameters_of(model), None, *kind_of(model, ()))
        return cls(ClosureRoutes(function), closure)

    @property
    def theta(self) -> Theta:
        """The current parameters, a flat copy (K,)."""
        return _flat([leaf.detach() for leaf in self._leaves.values()])

    def parameters(self) -> dict[str, Tensor]:
        """The parameters by name, in the order of θ."""
        return dict(self._leaves)

    def write(self, theta: Theta) -> None:
        """Copies θ into the parameters."""
        self._first = None
        with torch.no_grad():
            for p in self.function.parameters:
                self._leaves[p.name].copy_(theta[p.entries].view(p.shape))

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q); one call of the closure."""
        with self._standing_at(theta):
            return self._batch.value()

    def watched(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q): one call of the closure; autograd records what depends on θ, and on no other parameter."""
        own = {id(leaf) for leaf in self._leaves.values()}
        others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            with self._standing_at(theta), torch.enable_grad():
                return rows_of(self._batch.attached()[0])
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, BlockJacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one call, Q backward passes, and one more for a check."""
        theta = self.theta if theta is None else theta
        with self._standing_at(theta):
            outputs, calls = self._attached(theta)
            signature = signature_of(outputs, calls)
            routes = self._routes.known.get(signature) or self._guessed(outputs, calls, set())
            u = random_rows(outputs.shape, outputs)
            with differentiable("the closure"):
                gradient = _flat(gradient_of(outputs, list(self._leaves.values()), u))
            parts = [(p.name, p.entries) for p in self.function.parameters]
            while True:
                jacobian, routes, wrong = self._jacobian(routes, outputs, calls)
                found = {name for name, _ in disagreeing(parts, jacobian.rmv(u), gradient, theta)}
                wrong = (wrong or found) - set(routes.rest)
                if not wrong:
                    break
                outputs, calls = self._attached(theta)
                routes = self._guessed(outputs, calls, wrong | set(routes.rest))
        self._routes.known[signature] = routes
        return outputs.detach(), jacobian

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, (N, Q): one call and four backward passes.

        Where an operation cannot be differentiated twice, the central difference of length `eps^¼` instead.
        """
        along = [direction[p.entries].view(p.shape) for p in self.function.parameters]
        with self._standing_at(theta):
            outputs, _ = self._attached(theta)
            try:
                curvature = second_derivative_of(outputs, list(self._leaves.values()), along)
            except (NotImplementedError, RuntimeError):
                curvature = None
            return central_difference(self, theta, direction) if curvature is None else curvature

    def _guessed(self, outputs: Tensor, calls: list[Call], without: set[str]) -> Routes:
        used = uses(outputs, self._leaves)[0]
        if not used:
            raise InputError(DETACHED)
        return guessed_routes(self.function, calls, used, len(outputs), without=without)

    def _jacobian(self, routes: Routes, outputs: Tensor, calls: list[Call]) -> tuple[BlockJacobian, Routes, set[str]]:
        """The Jacobian by these routes, the routes with their groups, and the parameters whose calls fit no rule.

        Frees the graph.
        """
        rest = list[Columns]()
        if routes.rest:
            values, by_products = rows_of_leaves(outputs, [self._leaves[name] for name in routes.rest])
            self._look_inside(by_products=by_products)
            entries = [self.function.entries(p).reshape(-1) for p in self.function.parameters if p.name in routes.rest]
            rest.append(DenseColumns(values, torch.cat(entries), " + ".join(routes.rest)))
        kept, layouts = routes.kept(apart(calls, self._leaves.values()))
        gradients = cotangents(outputs, kept, layouts)
        columns, unfit = fitting_columns(self.function, routes, kept, layouts, gradients)
        if routes.groups is None and not unfit:
            routes = routes.grouped(columns, self.function.n_params)
        joined = [] if unfit else routes.joined(columns)
        block = Block((*joined, *rest), *outputs.shape)
        return BlockJacobian((block,), self.n_params, self.dtype, self.device), routes, unfit

    def _look_inside(self, *, by_products: bool) -> None:
        """Notes, once for all closures of these routes, that the closure differentiates; one call of it."""
        if not self._routes.is_seen and takes_derivatives(self._batch.attached):
            self._routes.notes.append(faster_by_system("The closure", by_products=by_products))
        self._routes.is_seen = True

    def _opened(self) -> tuple[Tensor, Tensor, list[Call]]:
        """The first call, which must not change buffers or the random state."""
        model, device = self.function.model, self.device
        refuse_mixing_layers(model)
        with left_as_found(model, device):
            before = random_state(device)
            with recording(self._routes.modules) as calls:
                outputs, target = self._batch.attached()
            drawn = not torch.equal(before, random_state(device))
        if drawn:
            raise JacobianError(
                "the closure draws random numbers, so that it is another function at every call. Draw noise and "
                f"batches before the step, outside of the closure{or_eval(model, 'draws')}."
            )
        return outputs, target, calls

    @contextmanager
    def _standing_at(self, theta: Theta) -> Iterator[None]:
        """Sets the parameters to θ inside the block, and back to the old ones afterwards."""
        stood = self.theta
        if torch.equal(theta, stood):
            yield
            return
        self.write(theta)
        try:
            yield
        finally:
            self.write(stood)

    def _attached(self, theta: Theta) -> tuple[Tensor, list[Call]]:
        """x with its graph, (N, Q), and the calls of layers; the first call's, as long as nothing was written."""
        first, self._first = self._first, None
        if first is not None and first.versions == self._versions() and torch.equal(theta, first.theta):
            return first.outputs, first.calls
        with recording(self._routes.modules) as calls:
            outputs, _ = self._batch.attached()
        return rows_of(outputs), calls

    def _versions(self) -> list[int]:
        """How often each parameter was written in place, by any code: a graph from before a write is invalid."""
        return [leaf._version for leaf in self._leaves.values()]


def _flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
