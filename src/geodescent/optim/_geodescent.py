"""GeoDescent: the steps of `fit`, one at a time, as an optimizer of torch."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._record import Result
from geodescent._types import Theta
from geodescent.descent import AT_FLOOR, Linearised, Method, State
from geodescent.descent import _descend as _solve
from geodescent.optim._state import counted, kept, on_this_batch, remembered
from geodescent.outputs import (
    PARTS,
    Closure,
    ClosureMap,
    ClosureRoutes,
    Inputs,
    ModelFunction,
    SampleMap,
    kind_of,
    leaves_of,
    parameters_of,
)
from geodescent.problem import FixedSource, Problem


class GeoDescent(torch.optim.Optimizer):
    """The damped Gauss–Newton steps of `fit`, `C = ‖x[θ] − y‖²/(2N)`; no learning rate, no `backward()`.

        optimizer = gd.GeoDescent(model)
        cost = optimizer.step(X, y)                             # or, where the model is called in another way,
        cost = optimizer.step(lambda: (model(X), y))            # closure() -> (outputs, targets), or residuals

    θ are the given parameters that require grad; all others stay bit for bit. One call of `step` is one round of
    `fit`: a step, or a return to the best point, or, where there is no step, `result` says why and the parameters are
    at the best point. A step on another batch than the last is judged on its own batch; damping goes on. Every step is
    taken on all samples that it is given: of very many, `fit` opens on a part.

    Args:
        model: computes the outputs, or holds the modules that a closure calls.
        params: parameters of the model or groups of them, as everywhere in torch.optim; None for all that require
            grad. `lr` is the step size h of the walk, 1.0: the full step. All groups share one; 0 stands still.
        method: as in `fit`.

    Attributes:
        result: None after a step; why there was none otherwise.

    Raises: InputError, where a parameter is not the model's.

    All that the next step depends on lies in `state` and `param_groups`: state_dict, deepcopy, torch.save and
    schedulers work. `.grad`, buffers and modes are left as found.
    """

    def __init__(
        self, model: nn.Module, params: Iterable[Any] | Tensor | None = None, *, method: Method | None = None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"the first argument is the model, not {type(model).__name__}: GeoDescent(model, params).")
        if method is not None and not isinstance(method, Method):
            raise InputError(f"method must be a gd.Method, not {method!r}: gd.Method(lift=gd.KrylovLift()).")
        self.model, self.method = model, method or Method()
        self.result: Result | None = None
        self._forget()
        chosen = [p for p in model.parameters() if p.requires_grad] if params is None else params
        super().__init__(cast(Any, chosen), {"lr": self.method.walk.step_size})

    @overload  # type: ignore[override]  # one more than torch's: X and y
    def step(self, closure: Closure) -> float: ...
    @overload
    def step(self, closure: Inputs, y: Tensor) -> float: ...

    def step(self, closure: Any = None, y: Tensor | None = None) -> float:
        """One step on X and y, or on what the closure returns; the cost before it.

        Args:
            closure: () → (outputs, targets), or residuals with the samples first (N is their first size). It is
                called again at trial points, so it must see one batch and draw no random numbers. Or X, as in `fit`.
            y: the targets, where the first argument is X.

        Raises: InputError, JacobianError, MemoryPlanError; the parameters are then where they were.
        """
        parameters, step_size = self._moving(), self._step_size()
        problem = self._problem(parameters, closure, y)
        theta = problem.theta
        try:
            cost, point = self._walked(problem, theta, parameters, step_size)
        except BaseException:
            problem.write(theta)
            raise
        problem.write(point)
        return cost

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of the model's parameters."""
        super().add_param_group(param_group)
        own = {id(p) for p in self.model.parameters()}
        for p in self.param_groups[-1]["params"]:
            if id(p) not in own:
                self.param_groups.pop()
                raise InputError(
                    f"params holds a tensor of shape {tuple(p.shape)} that is no parameter of the model "
                    f"({type(self.model).__name__}): pass parameters of it, or the model that they belong to."
                )

    def __getstate__(self) -> dict[str, Any]:
        """With the model, so that a deep copy steps its own: `copy.deepcopy((model, optimizer))` keeps the two one."""
        own = {"model": self.model, "method": self.method, "result": self.result}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Routes are found again at the next step."""
        super().__setstate__(state)
        self._forget()

    def _forget(self) -> None:
        self._map: SampleMap | None = None
        self._routes: ClosureRoutes | None = None
        self._map_key: Any = None
        self._routes_key: Any = None

    def _moving(self) -> list[Tensor]:
        """The parameters that make up θ, in the model's order."""
        given = {id(p) for group in self.param_groups for p in group["params"]}
        found: list[Tensor] = [p for p in self.model.parameters() if p.requires_grad and id(p) in given]
        if not found:
            raise InputError(
                "none of the optimizer's parameters requires grad: there is nothing to fit. Call requires_grad_(True)."
            )
        return found

    def _step_size(self) -> float:
        """h, the one `lr` of the groups that move."""
        sizes = {float(g["lr"]) for g in self.param_groups if any(p.requires_grad for p in g["params"])}
        if len(sizes) > 1:
            raise InputError(
                f"the groups have lr = {sorted(sizes)}: all parameters take one step together, of one size. Give the "
                "groups one lr; a group stands still where its parameters have requires_grad = False."
            )
        (size,) = sizes
        if not (size >= 0.0 and math.isfinite(size)):
            raise InputError(f"lr = {size}: it is the step size, 1.0 for the full step, and must be finite and ≥ 0.")
        return size

    def _problem(self, parameters: list[Tensor], closure: Any, y: Tensor | None) -> Problem:
        if callable(closure):
            if y is not None:
                raise InputError("step takes a closure alone, or X and y: y was given beside a closure.")
            asked = ClosureMap(self._closure_routes(parameters), closure)
            return Problem.over(cast(SampleMap, asked), asked.target)  # a map of the same verbs
        if closure is None or y is None:
            given = "X alone" if closure is not None else "nothing" if y is None else "y alone"
            raise InputError(f"step was given {given}: call step(X, y), or step(closure). {PARTS}")
        return Problem.over(self._sample_map(parameters, closure), y)

    def _sample_map(self, parameters: list[Tensor], inputs: Inputs) -> SampleMap:
        """The map of this batch, with the routes of the last one where they serve."""
        inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        shapes = [(t.shape[1:], t.dtype, t.device) for t in leaves_of(inputs)]
        modes = [m.training for m in self.model.modules()], [p.requires_grad for p in self.model.parameters()]
        names = list(inputs) if isinstance(inputs, dict) else type(inputs)
        key = _kind(parameters), shapes, modes, names
        if self._map is not None and key == self._map_key:
            return self._map.on(inputs)
        self._map = SampleMap(self.model, inputs, parameters=parameters)
        self._map_key = key
        return self._map

    def _closure_routes(self, parameters: list[Tensor]) -> ClosureRoutes:
        if self._routes is None or self._routes_key != _kind(parameters):
            places = parameters_of(self.model, parameters)
            self._routes = ClosureRoutes(ModelFunction(self.model, places, None, *kind_of(self.model, ())))
            self._routes_key = _kind(parameters)
        return self._routes

    def _walked(
        self, problem: Problem, theta: Theta, parameters: list[Tensor], step_size: float
    ) -> tuple[float, Theta]:
        """The cost before the step and the point after it; what the next step needs is kept."""
        method = self._method(step_size)
        if step_size == 0.0:
            self.result = None
            return problem.cost(problem.outputs(theta)), theta
        here = Linearised.at(problem, theta, lift=method.lift, dtype=method.solve_dtype, tally=Counter())
        before = remembered(self.state, parameters, theta)
        state = _started(problem, method) if before is None else on_this_batch(before, here)
        self.result, state = _advanced(here, state, method)
        self.state.update(kept(state, parameters))
        return here.cost, state.theta

    def _method(self, step_size: float) -> Method:
        if step_size in (0.0, self.method.walk.step_size):
            return self.method
        return replace(self.method, walk=replace(cast(Any, self.method.walk), step_size=step_size))


def _started(problem: Problem, method: Method) -> State:
    return _solve.start(FixedSource(problem), method, lambda theta: None)


def _advanced(here: Linearised, state: State, method: Method) -> tuple[Result | None, State]:
    """One round of the loop: None and the state after it, or why there was no step and the best point."""
    at_best = replace(state, theta=state.best, cost=state.best_cost)
    if not math.isfinite(here.cost):
        return Result.nonfinite, at_best
    if state.best_cost <= AT_FLOOR * state.floor:
        return Result.rounding_floor, at_best
    outcome = _solve.advance(here, state, method)
    if isinstance(outcome, Result):
        return outcome, at_best
    trial, after, _ = outcome
    return None, after if trial is None else counted(after, state)


def _kind(parameters: list[Tensor]) -> Any:
    """What routes are found for: these parameters, in this dtype and on this device."""
    return [id(p) for p in parameters], [(p.dtype, p.device) for p in parameters]
