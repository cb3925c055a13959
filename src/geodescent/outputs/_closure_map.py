"""A closure as an output map: θ is written into the parameters, and the closure is called."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geodescent._errors import InputError, JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian
from geodescent.linalg import dot, norm
from geodescent.outputs import _capture as capture
from geodescent.outputs import _graph as backward
from geodescent.outputs._closure import DETACHED, Asked, Closure, rows_of
from geodescent.outputs._function import ModelFunction, central_difference
from geodescent.outputs._probing import _random_state, _refuse_mixing_layers, left_as_found
from geodescent.outputs._routes_guessed import (
    Plan,
    Signature,
    disagreeing,
    jacobian_by,
    plan_of,
    ruled_modules,
    signature_of,
)


@dataclass
class ClosureRoutes:
    """What the closures of one model and one choice of parameters have in common, kept from step to step.

    Attributes:
        function: the parameters and their places in θ.
        modules: the layers to record.
        plans: who goes by rule, by the calls made.
    """

    function: ModelFunction
    modules: dict[str, nn.Module] = field(init=False)
    plans: dict[Signature, Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.modules = ruled_modules(self.function)


class ClosureMap:
    """`x[θ]` of a closure, at the parameters' own values when it is made.

    Args:
        routes: kept between steps.
        closure: returns (outputs, targets), or residuals; every call sees the same batch.

    Raises:
        InputError: what the closure returns cannot be fitted.
        JacobianError: the closure draws random numbers, or a layer of the model mixes samples.

    θ is written with copy_ at every call: whoever asks last writes the point to stay at.
    """

    def __init__(self, routes: ClosureRoutes, closure: Closure) -> None:
        self.function, self._routes = routes.function, routes
        own = dict(self.function.model.named_parameters())
        self._leaves: dict[str, Tensor] = {p.name: own[p.name] for p in self.function.parameters}
        self._asked = Asked(closure, self.function.dtype, self.function.device)
        self.theta = self.function.theta
        outputs, self.target, calls = self._opened()
        self.output_shape, self.n_samples = outputs.shape[1:], len(outputs)
        self._graph: tuple[Tensor, list[capture.Call]] | None = (rows_of(outputs), calls)
        self._witness: tuple[Theta, Outputs, Theta] | None = None

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
        return self.output_shape.numel()

    def write(self, theta: Theta) -> None:
        """Copies θ into the parameters."""
        self._graph = None
        with torch.no_grad():
            for p in self.function.parameters:
                self._leaves[p.name].copy_(theta[p.entries].view(p.shape))

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q); one call of the closure."""
        self.write(theta)
        return self._asked.value()

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, Jacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one call, Q backward passes, and one that they are held against."""
        theta = self.theta if theta is None else theta
        outputs, calls = self._attached(theta)
        signature, names = signature_of(outputs, calls), list(self._leaves)
        plan = self._routes.plans.get(signature)
        if plan is None:
            used = set(capture.uses(outputs, self._leaves)[0])
            if not used:
                raise InputError(DETACHED)
            plan = plan_of(self.function, calls, used)
        u = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=self.dtype).to(self.device)
        gradient = _flat(backward.gradient_of(outputs, [self._leaves[name] for name in names], u))
        while True:
            jacobian, plan, wrong = jacobian_by(self.function, plan, outputs, calls, self._leaves)
            wrong = wrong or disagreeing(self.function, jacobian.rmv(u), gradient)
            wrong -= set(plan.rest)
            if not wrong:
                break
            outputs, calls = self._attached(theta)
            used = set(capture.uses(outputs, self._leaves)[0])
            plan = plan_of(self.function, calls, used, without=wrong | set(plan.rest))
        self._routes.plans[signature] = plan
        self._witness = theta, u, gradient
        return outputs.detach(), jacobian

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + t·direction]/dt²` at t = 0, (N, Q): one call and some six backward passes.

        Where an operation cannot be differentiated so often, the central difference of length `eps^¼` instead.
        """
        leaves = [self._leaves[p.name] for p in self.function.parameters]
        along = [direction[p.entries].view(p.shape) for p in self.function.parameters]
        outputs, _ = self._attached(theta)
        try:
            first, second = backward.second_derivative(outputs, leaves, along)
        except (NotImplementedError, RuntimeError):
            return central_difference(self, theta, direction)
        return second if self._confirms(theta, first, direction) else central_difference(self, theta, direction)

    def _opened(self) -> tuple[Tensor, Tensor, list[capture.Call]]:
        """The first call, which must leave buffers and the random state alone."""
        model, device = self.function.model, self.device
        _refuse_mixing_layers(model)
        with left_as_found(model, device):
            before = _random_state(device)
            with capture.recording(self._routes.modules) as calls:
                outputs, target = self._asked.attached()
            drawn = not torch.equal(before, _random_state(device))
        if drawn:
            raise JacobianError(
                "the closure draws random numbers, so that it is another function at every call. Call model.eval(), "
                "and draw noise and batches before the step, outside of the closure."
            )
        return outputs, target, calls

    def _attached(self, theta: Theta) -> tuple[Tensor, list[capture.Call]]:
        """x with its graph, (N, Q), and the calls of layers; the first call's, as long as nothing was written."""
        graph, self._graph = self._graph, None
        if graph is not None and torch.equal(theta, self.theta):
            return graph
        self.write(theta)
        with capture.recording(self._routes.modules) as calls:
            outputs, _ = self._asked.attached()
        return rows_of(outputs), calls

    def _confirms(self, theta: Theta, first: Outputs, direction: Theta) -> bool:
        """Whether `⟨u, Dv⟩ = ⟨Dᵀu, v⟩`: a function made to be differentiated once gives zeros without a word."""
        if self._witness is None or self._witness[0] is not theta:
            return True
        _, u, gradient = self._witness
        size = norm(u) * norm(first) + norm(gradient) * norm(direction)
        eps = torch.finfo(first.dtype).eps
        return not abs(dot(u, first) - dot(gradient, direction)) > eps**0.5 * size


def _flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
