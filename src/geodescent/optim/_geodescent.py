"""GeoDescent: the steps of `fit`, one at a time, as an optimizer of torch."""

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent._record import Result
from geodescent._settings import NOT_NEGATIVE
from geodescent._threads import suited_threads
from geodescent._types import Theta
from geodescent._wrappers import unwrapped
from geodescent.descent import (
    AT_FLOOR,
    Linearised,
    Method,
    Observer,
    Stages,
    State,
    advance,
    ends_at_a_minimum,
    planned_stages,
    polished,
    start,
)
from geodescent.doors import checked_method, door
from geodescent.optim._moving import Moving
from geodescent.optim._state import kept, on_this_batch, one_record, remembered
from geodescent.outputs import (
    PARTS,
    ClosureMap,
    ClosureRoutes,
    ModelFunction,
    RawInputs,
    SampleMap,
    Select,
    as_inputs,
    kind_of,
    leaves_of,
    parameters_of,
)
from geodescent.problem import FixedSource, HasProblem, Model, Problem

logger = logging.getLogger("geodescent")


class GeoDescent(torch.optim.Optimizer):
    """The damped Gauss–Newton steps of `fit`, `C = ‖x[θ] − y‖²/(2N)`; no learning rate, no `backward()`.

        optimizer = gd.GeoDescent(model)
        cost = optimizer.step(X, y)                             # or, where the model is called in another way,
        cost = optimizer.step(lambda: (model(X), y))            # closure() -> (outputs, targets), or residuals
        optimizer = gd.GeoDescent(problem)                      # of several blocks of rows:
        cost = optimizer.step()

    θ are the given parameters that require grad; all others stay bit for bit. One call of `step` is one round of
    `fit`: a step, or a return to the best point, or, where there is no step, `result` says why and the parameters are
    at the best point. A step on another batch than the last is judged on its own batch; damping goes on. Every step is
    taken on all samples that it is given: of very many, `fit` opens on a part.

    Args:
        model: computes the outputs, or holds the modules that a closure calls; or a whole problem.
        params: parameters of the model or groups of them, as everywhere in torch.optim; None for all that require
            grad. `lr` is the step size h of the walk, 1.0: the full step. All groups share one; 0 stands still. Of a
            problem they are the parameters of its first block's module; where that has none, one parameter that shares
            the memory of its θ.
        select: picks the outputs from what the model returns in `step(X, y)`; a closure picks its own.
        method: as in `fit`; stages only of an optimizer of a problem, over that problem and with steps of one size.

    Attributes:
        result: None after a step; why there was none otherwise.
        stats: notes, in sentences; each is logged once as well.

    Raises: InputError, where a parameter is not the model's.

    All that the next step depends on lies in `state` and `param_groups`: state_dict, deepcopy, torch.save and
    schedulers work. `.grad`, buffers and modes are left as found.
    """

    @door
    def __init__(
        self,
        model: Model,
        params: Iterable[Any] | Tensor | None = None,
        *,
        method: Method | Stages | None = None,
        select: Select | None = None,
    ) -> None:
        model = model.problem() if isinstance(model, HasProblem) and not isinstance(model, nn.Module) else model
        if not isinstance(model, (nn.Module, Problem)):
            raise InputError(
                f"the first argument is the model, or a problem, not {type(model).__name__}: GeoDescent(model, params)."
            )
        self.model = model if isinstance(model, Problem) else unwrapped(model)[0]
        self.method, self.select = _checked(checked_method(method), self.model), select
        self.result: Result | None = None
        self.stats: dict[str, list[str]] = {"notes": []}
        self._moving = Moving.of(self.model, params)
        self._forget()
        super().__init__(self._moving.groups(params), {"lr": self._full_step()})

    @suited_threads()
    def step(self, closure: Any = None, y: Values | None = None) -> float:  # type: ignore[override]  # X and y too
        """One step on X and y, or on what the closure returns; the cost before it.

        Args:
            closure: () → (outputs, targets), or residuals with the samples first (N is their first size). It is
                called again at trial points, so it must see one batch and draw no random numbers. Or X, as in `fit`.
                Of an optimizer of a problem nothing.
            y: the targets, where the first argument is X.

        Raises: InputError, JacobianError, MemoryPlanError; the parameters are then where they were.
        """
        parameters, step_size = self._moving.of_groups(self.param_groups), self._step_size()
        problem = self._problem(parameters, closure, y)
        theta = problem.theta
        try:
            cost, point = self._walked(problem, theta, parameters, step_size)
        except BaseException:
            problem.write(theta)
            raise
        problem.write(point)
        self._moving.share(point)
        self._tell(logging.INFO, problem.notes)
        if self._routes is not None:
            self._tell(logging.WARNING, self._routes.notes)
        return cost

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of the model's parameters."""
        super().add_param_group(param_group)
        try:
            self._moving.require_own(self.param_groups[-1]["params"])
        except InputError:
            self.param_groups.pop()
            raise

    def __getstate__(self) -> dict[str, Any]:
        """With the model, so that a deep copy steps its own: `copy.deepcopy((model, optimizer))` keeps the two one."""
        own = {
            "model": self.model,
            "method": self.method,
            "select": self.select,
            "result": self.result,
            "stats": self.stats,
            "_moving": self._moving,
        }
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Routes are found again at the next step."""
        super().__setstate__(state)
        self._forget()

    def _forget(self) -> None:
        self._map: SampleMap | None = None
        self._routes: ClosureRoutes | None = None
        self._map_key: object = None
        self._routes_key: object = None

    def _tell(self, level: int, notes: list[str]) -> None:
        """Keeps and logs the notes that are new."""
        for note in notes:
            if note not in self.stats["notes"]:
                self.stats["notes"].append(note)
                logger.log(level, note)

    def _full_step(self) -> float:
        """The step size that the method asks for."""
        if isinstance(self.method, tuple):
            return self.method[-1].walk.step_size
        return 1.0 if self.method is None or self.method.walk is None else self.method.walk.step_size

    def _step_size(self) -> float:
        """h, the one `lr` of the groups that move."""
        moving = [g for g in self.param_groups if any(p.requires_grad for p in g["params"])]
        sizes = {NOT_NEGATIVE.such_as(1.0).of("lr", g["lr"]) for g in moving}
        if len(sizes) > 1:
            raise InputError(
                f"the groups have lr = {sorted(sizes)}: all parameters take one step together, of one size. Give the "
                "groups one lr; a group stands still where its parameters have requires_grad = False."
            )
        (size,) = sizes
        return size

    def _problem(self, parameters: list[Tensor], closure: Any, y: Values | None) -> Problem:
        if isinstance(self.model, Problem):
            if closure is not None or y is not None:
                raise InputError("this optimizer is of a problem, which brings its own data: call step().")
            return self.model
        if callable(closure):
            if self.select is not None:
                raise InputError(
                    "select= goes with step(X, y): a closure returns the outputs themselves. Leave it out."
                )
            if y is not None:
                raise InputError("step takes a closure alone, or X and y: y was given beside a closure.")
            outputs = ClosureMap(self._closure_routes(self.model, parameters), closure)
            return Problem.over(outputs, outputs.target)
        if closure is None or y is None:
            passed = "X alone" if closure is not None else "nothing" if y is None else "y alone"
            raise InputError(f"step was called with {passed}: call step(X, y), or step(closure). {PARTS}")
        return Problem.over(self._sample_map(self.model, parameters, closure), y)

    def _sample_map(self, model: nn.Module, parameters: list[Tensor], given: RawInputs) -> SampleMap:
        """The map of this batch, with the routes of the last one where they serve."""
        inputs = as_inputs(given, model)
        shapes = [(t.shape[1:], t.dtype, t.device) for t in leaves_of(inputs)]
        modes = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
        names = list(inputs) if isinstance(inputs, dict) else type(inputs)
        key = _kind(parameters), shapes, modes, names
        if self._map is not None and key == self._map_key:
            return self._map.on(inputs)
        self._map = SampleMap(model, inputs, parameters=parameters, select=self.select)
        self._map_key = key
        return self._map

    def _closure_routes(self, model: nn.Module, parameters: list[Tensor]) -> ClosureRoutes:
        if self._routes is None or self._routes_key != _kind(parameters):
            places = parameters_of(model, parameters)
            self._routes = ClosureRoutes(ModelFunction(model, places, None, *kind_of(model, ())))
            self._routes_key = _kind(parameters)
        return self._routes

    def _walked(self, problem: Problem, theta: Theta, parameters: list[Tensor], size: float) -> tuple[float, Theta]:
        """The cost before the step and the point after it; what the next step needs is kept."""
        if size == 0.0:
            self.result = None
            return problem.cost(theta), theta
        stages = self._stages(problem, size)
        before = remembered(self.state, parameters, theta, stages)
        stage = stages[0 if before is None else before.stage.index]
        begun = replace(start(stages, Observer()), linear=None) if before is None else before
        here = Linearised.at(
            problem,
            theta,
            lift=stage.lift,
            dtype=stage.solve_dtype,
            tally=Counter(),
            metric=begun.metric,
        )
        state = begun if before is None else on_this_batch(before, here)
        self.result, state = _advanced(stages, state, here)
        self.state.update(kept(state, parameters))
        return here.cost, state.theta

    def _stages(self, problem: Problem, step_size: float) -> Stages:
        """The stages for this batch, with steps of the size that `lr` says."""
        if isinstance(self.method, tuple):
            stages = self.method
        elif self.method is not None:
            stages = (self.method.stage(FixedSource(problem), problem),)
        else:
            stages = planned_stages(problem, opens=False)
        source = FixedSource(problem)
        return tuple(replace(stage, source=source, walk=stage.walk.sized(step_size)) for stage in stages)


def _checked(method: Method | Stages | None, model: nn.Module | Problem) -> Method | Stages | None:
    """Raises InputError for stages whose sources or step sizes an optimizer would not use."""
    if not isinstance(method, tuple):
        return method
    if not all(isinstance(stage.source, FixedSource) and stage.source.first is model for stage in method):
        raise InputError(
            "an optimizer takes its steps on what step is given, and stages bring their own sources: pass the problem "
            "that every stage is over, GeoDescent(problem, method=(gd.Stage(gd.FixedSource(problem), …), …)), or a "
            "gd.Method."
        )
    sizes = sorted({stage.walk.step_size for stage in method})
    if len(sizes) > 1:
        raise InputError(
            f"the walks of the stages have step sizes {sizes}, and an optimizer has one lr: make them one."
        )
    return method


def _advanced(stages: Stages, state: State, here: Linearised) -> tuple[Result | None, State]:
    """One round of the loop: None and the state after it, or why there was no step and the best point."""
    if not math.isfinite(here.cost):
        return Result.nonfinite, state.at_best()
    if state.best.cost <= AT_FLOOR * state.floor:
        return Result.rounding_floor, state.at_best()
    played = advance(stages, state, here, Observer())
    if not isinstance(played, Result):
        return None, one_record(played.state)
    state = state.at_best()
    return played, polished(stages[-1], state, here.tally) if ends_at_a_minimum(stages[-1], played) else state


def _kind(parameters: list[Tensor]) -> object:
    """What routes are found for: these parameters, in this dtype and on this device."""
    return [id(p) for p in parameters], [(p.dtype, p.device) for p in parameters]
