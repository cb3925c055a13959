"""The loop of `fit`: rounds until something ends the run."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from geodescent._deadline import PASS, OutOfTime, measuring, reserving, seconds_left, seconds_of
from geodescent._record import Callback, Result, StepRecord
from geodescent.descent._polish import ends_at_a_minimum, polished
from geodescent.descent._round import Observer, Stages, play
from geodescent.descent._separated import linear_entries, settled
from geodescent.descent._stages import Stage
from geodescent.descent._state import Best, State
from geodescent.descent._stopping import Stopping, ended, in_the_light_of_validation
from geodescent.jacobian import Jacobian
from geodescent.lift import Described
from geodescent.metric import LayerUnits, Metric, target_mean
from geodescent.problem import FixedSource, PartSource, Problem, may_be_rounding, rounding_floor

WORST_START = 10.0  # Times C of the best constant outputs: a start that costs more is no scale of costs.


class Clock:
    """Seconds since the start, those before a resume included."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.perf_counter() - before

    def __call__(self) -> float:
        return time.perf_counter() - self._start


@dataclass(frozen=True)
class Descent:
    """The end of a run.

    Attributes:
        state: the last; it holds the best point.
        result: why it ended.
        described: how its velocities were lifted.
    """

    state: State
    result: Result
    described: Described


def start(stages: Stages, observer: Observer, units: LayerUnits | None = None) -> State:
    """The state at the maps' own parameters.

    Args:
        units: of the problem's data, where they are known already.
    """
    source, problem = stages[-1].source, stages[-1].source.first
    theta = problem.theta
    with measuring(PASS, problem.device):
        cost = source.cost(theta)
    record = StepRecord(
        0, 0.0, cost, cost, validation_cost=observer.validation_cost(theta), block_rms=problem.block_rms(theta, cost)
    )
    best = Best(theta, cost, stages[0].source.own_cost(theta, cost))
    metric, linear = Metric.of(problem, units), None
    if metric.is_by_columns and all(isinstance(stage.source, (FixedSource, PartSource)) for stage in stages):
        linear = linear_entries(problem)
    solved = cost if linear is None else problem.cost(settled(problem, theta, linear, torch.float64))
    reference = reference_cost(solved, problem)
    floor = rounding_floor(problem, theta) if may_be_rounding(problem, cost, reference) else 0.0
    return State(theta, best.own_cost, best, reference, floor, (record,), metric=metric, linear=linear)


def reference_cost(cost0: float, problem: Problem) -> float:
    """The scale of costs: C at the start, but at least that of the best constant outputs, and at most
    `WORST_START` times it; a start far from its data says nothing of the size of costs. A residual of equations has no
    best constants: there C is at least that of a network whose weights are zero, so that a fit that goes on from a good
    point has the scale of the first.

    Args:
        cost0: C at the start, the parameters that enter linearly solved for; it alone counts where the best constants,
            the weighted mean of each output of each block, fit the data exactly.
        problem: whose constants.
    """
    if problem.has_equations:
        of_zero = _cost_of_zero_weights(problem)
        return max(cost0, of_zero) if math.isfinite(of_zero) else cost0
    of_constants = _cost_of_constants(problem)
    return min(max(cost0, of_constants), WORST_START * of_constants) if of_constants > 0.0 else cost0


def _cost_of_zero_weights(problem: Problem) -> float:
    """C with all parameters zero but the unknown coefficients of equations, which may be divisors."""
    theta = torch.zeros_like(problem.theta)
    unknowns = list(problem.unknowns.values())
    theta[unknowns] = problem.theta[unknowns]
    return problem.cost(theta)


def _cost_of_constants(problem: Problem) -> float:
    rows = [target_mean(block).expand_as(block.target).reshape(-1) for block in problem.blocks]
    return problem.cost_of(problem.residual_of(torch.cat(rows), dtype=torch.float64))


def descend(
    stages: Stages,
    state: State,
    *,
    stopping: Stopping,
    callback: Callback,
    observer: Observer,
    tally: Counter[str],
    save: Callable[[State], None],
) -> Descent:
    """Rounds until something ends the run.

    A reason to end the run gives a `Result`. Exceptions of a callback, a loader or the model are passed on; the state
    saved last is then that of the last complete step.
    """
    described = _described(stages[-1], None)
    try:
        with reserving(seconds_of(PASS)):
            while (result := _ended(stages, state, stopping, observer)) is None:
                played = play(stages, state, observer, tally)
                if isinstance(played, Result):
                    result = played
                    break
                state, stepped, jacobian = played.state, played.stepped, played.here.jacobian
                if jacobian.shape != described.shape:
                    described = _described(stages[-1], jacobian)
                del played, jacobian  # the next linearisation needs the memory
                if stepped:
                    save(state)
                    callback(state.records[-1])
    except OutOfTime:
        result = Result.max_seconds
    except StopIteration:
        result = Result.stopped
    except KeyboardInterrupt:
        result = Result.interrupted
    state = _settled(stages, state, stopping)
    last = _stage_of_the_end(stages, state)
    if ends_at_a_minimum(last, result) and not stopping.by_validation:
        state = polished(last, state, tally)
    save(state)
    return Descent(state, in_the_light_of_validation(result, state, stopping), described)


def _described(stage: Stage, jacobian: Jacobian | None) -> Described:
    problem = stage.source.first
    shape = problem.n_residuals, problem.n_params
    return Described.of(stage.lift, shape, jacobian, dtype=stage.solve_dtype, device=problem.device)


def _ended(stages: Stages, state: State, stopping: Stopping, observer: Observer) -> Result | None:
    on_part = stages[state.stage.index].source is not _stage_of_the_end(stages, state).source
    result = ended(state, stopping, on_part=on_part, seconds=observer.seconds())
    return Result.max_seconds if result is None and seconds_left() <= 0.0 else result


def _stage_of_the_end(stages: Stages, state: State) -> Stage:
    """The last stage on the problem itself; the run's own, if that is the last of all, on other samples or weights."""
    if state.stage.index == len(stages) - 1:
        return stages[-1]
    return next((stage for stage in reversed(stages) if not isinstance(stage.source, PartSource)), stages[-1])


def _settled(stages: Stages, state: State, stopping: Stopping) -> State:
    """The state, with the cost of all data computed at its last point too."""
    source, best = stages[state.stage.index].source, state.best
    if stopping.by_validation:
        known = best.cost < float("inf")
        return state if known else replace(state, best=replace(best, cost=source.cost(best.theta)))
    if state.theta is best.theta or source.cost_of_all(state.step, state.theta, state.cost) is not None:
        return state
    cost = source.cost(state.theta)
    return replace(state, best=Best(state.theta, cost, state.cost)) if cost < best.cost else state
