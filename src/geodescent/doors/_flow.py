"""`flow`: the adapted flow itself, next to the cost curve that is known before its first step."""

import time

import numpy as np
import torch

from geodescent._conversion import Values
from geodescent._deadline import within
from geodescent._errors import InputError
from geodescent._memory import accounting
from geodescent._record import Callback, Result
from geodescent.descent import require_part
from geodescent.doors._arguments import checked_callback, checked_stopping, require_finite_start, tensors_of
from geodescent.doors._call import door
from geodescent.doors._on_demand import on_demand
from geodescent.doors._results import Flow
from geodescent.doors._stats import stats_of
from geodescent.flow import (
    AdaptedField,
    Array,
    Field,
    FlowPath,
    check_until,
    follow,
    notes_of,
    path_arrays,
    start_floor,
)
from geodescent.lift import Lift, PlannedLift
from geodescent.linalg import row_norm
from geodescent.metric import EUCLIDEAN
from geodescent.outputs import RawInputs, Select
from geodescent.problem import Model, Problem, problem_of
from geodescent.theory import stopping_time

DEFAULT_FALL = 1e-12  # Share of C₀ − F, above F, at which a flow stops that is given neither a time nor a target.
TARGET_MARGIN = 1e-6  # Share of the target that the flow's end may miss it by: the integration's own error.


@door
def flow(
    model: Model,
    X: RawInputs | None = None,
    y: Values | None = None,
    *,
    until: float | None = None,
    target_cost: float | None = None,
    tol: float = 1e-9,
    max_seconds: float | None = None,
    weights: Values | None = None,
    field: Field | None = None,
    lift: Lift | None = None,
    callback: Callback | None = None,
    select: Select | None = None,
) -> Flow:
    """Integrates the adapted flow `dθ/dτ = −D⁺(x − y)` and leaves the model at the end of the path.

        path = gd.flow(model, X, y, target_cost=1e-8)

    While D keeps full row rank, `C(τ) = C₀ e^{−2τ}` whatever the network (arXiv:2311.15487); the deviation returned
    is that of the plain integration: no step is corrected towards the law.

    Args:
        model: as in `fit`, or a whole problem; then X, y and weights are absent.
        X: tensor, tuple or dict of tensors, samples first.
        y: targets in the outputs' shape.
        until: τ at which to stop, in e-folds of the residual.
        target_cost: stop at `τ = ½ ln((C₀ − F)/(target − F))` instead, F the instant floor. With neither, the flow
            stops where C − F is 1e-12 of its value at the start.
        tol: local error of the outputs against ‖x − y‖; at least 1e3·eps of the model's dtype.
        max_seconds: bound of the run; where D nears singularity the flow turns stiff and slow.
        weights: w ≥ 0, (N,), of single samples.
        field: the velocity of the outputs and its time variable; that of `StraightLineField` is t = 1 − e^{−τ}.
        lift: how D⁺ is applied; None plans it by m, K and memory.
        callback: called with the record of each accepted step; StopIteration ends the run.
        select: picks the outputs from what the model returns, where that is a tuple, a dict or an object.

    Raises:
        InputError: bad input, or a target below the instant floor.
    """
    begin = time.perf_counter()
    check_until(until, target_cost, tol)
    require_part(lift or PlannedLift(), Lift, "lift", "gd.GramLift()")
    require_part(field or AdaptedField(), Field, "field", "gd.StraightLineField()")
    bound, called = checked_stopping(target_cost, 0, max_seconds, None).max_seconds, checked_callback(callback)
    with accounting() as account:
        problem = problem_of(model, tensors_of(X, "flow"), y, weights, call="flow", select=select)
        exact = (lift or PlannedLift()).for_flow()
        cost0 = problem.cost(problem.theta)
        _require_cost(problem, cost0)
        floor = min(start_floor(problem, exact), cost0)
        end = _end(until, target_cost, cost0, floor)
        with within(max_seconds):
            path = follow(
                problem,
                end,
                field=field or AdaptedField(),
                lift=exact,
                tol=tol,
                max_seconds=bound,
                callback=called,
                floor=floor,
            )
    problem.write(path.points[-1].theta)
    counts, notes = {"evaluations": path.evaluations}, [*problem.notes, *notes_of(path, end)]
    stats = stats_of(problem, path.described, torch.float64, counts=counts, account=account, notes=notes)
    return _answer(problem, path, floor, target_cost, stats, seconds=time.perf_counter() - begin)


def _answer(
    problem: Problem,
    path: FlowPath,
    floor: float,
    target_cost: float | None,
    stats: dict[str, object],
    *,
    seconds: float,
) -> Flow:
    """The `Flow` of a path."""
    arrays = path_arrays(path.points, floor, row_norm(path.residual0))
    full = bool(np.all(arrays["rank"] == problem.n_rows_wanted)) and path.result is Result.time_reached
    theta = path.points[-1].theta
    return Flow(
        **arrays,
        max_relative_deviation=_largest_deviation(arrays["cost"], arrays["predicted_cost"]),
        cost0=path.points[0].cost,
        floor=floor,
        result=_result(path, target_cost),
        stats=stats,
        seconds=seconds,
        theta=theta,
        on_demand=on_demand(problem, theta, target_cost=target_cost, metric=EUCLIDEAN, full_rank_so_far=full),
    )


def _largest_deviation(cost: Array, predicted: Array) -> float:
    """The largest |C/predicted − 1|; NaN where the predicted cost is so small that it is 0 in float64."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.abs(cost / predicted - 1.0)))


def _require_cost(problem: Problem, cost0: float) -> None:
    """Raises InputError where the cost at the start is not finite, or zero."""
    require_finite_start(problem, cost0)
    if not cost0 > 0.0:
        raise InputError(
            "the cost at the start is 0: the outputs are y already, and the flow has nowhere to fall. Start at other "
            "parameters."
        )


def _end(until: float | None, target_cost: float | None, cost0: float, floor: float) -> float:
    """The τ at which a flow is to end; 0 where the cost is already at its target or its floor."""
    if until is not None:
        return until
    if target_cost is None and cost0 - floor <= DEFAULT_FALL * cost0:
        return 0.0
    return stopping_time(cost0, target_cost or floor + DEFAULT_FALL * (cost0 - floor), floor=floor)


def _result(path: FlowPath, target_cost: float | None) -> Result:
    """How the flow ended; `target_reached` where the target was."""
    end = path.points[-1].cost
    reached = path.result is Result.time_reached and target_cost and end <= target_cost * (1.0 + TARGET_MARGIN)
    return Result.target_reached if reached else path.result
