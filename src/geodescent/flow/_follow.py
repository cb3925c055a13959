"""The adapted flow followed to its end: a point of the path at every accepted step."""

import math
import time as clock
from dataclasses import dataclass

import torch

from geodescent._deadline import OutOfTime, unhurried
from geodescent._errors import InputError
from geodescent._record import Callback, Result, StepRecord
from geodescent._types import Outputs
from geodescent.flow._field import Field
from geodescent.flow._integrate import integrate
from geodescent.flow._path import PathPoint, path_point
from geodescent.flow._velocity import Counted, is_finite, lifted_velocity
from geodescent.lift import Described, Lift
from geodescent.linalg import row_dot
from geodescent.problem import Problem
from geodescent.theory import predicted_cost

STILL = 1e-12  # Share of the cost: a start whose cost is this close to its floor is a critical point.
FLOOR_ROUNDING = 1e-24  # Share of the cost: an instant floor below it is rounding, and the rank is full.


@dataclass(frozen=True)
class FlowPath:
    """The path of a flow, and how it ended.

    Attributes:
        points: of the path, the start first.
        result: how it ended.
        evaluations: of the velocity.
        residual0: the weighted x₀ − y, (m,), float64.
        described: how velocities were lifted.
    """

    points: list[PathPoint]
    result: Result
    evaluations: int
    residual0: Outputs
    described: Described


def follow(
    problem: Problem,
    until: float,
    *,
    field: Field,
    lift: Lift,
    tol: float,
    max_seconds: float,
    callback: Callback,
    floor: float,
) -> FlowPath:
    """The path of the flow up to τ = until, and how it ended."""
    theta, begin = problem.theta, clock.perf_counter()
    residual0 = problem.residual(theta, dtype=torch.float64)
    velocity = Counted(lifted_velocity(problem, field, lift, residual0), max_seconds)
    with unhurried():
        point, jacobian = path_point(problem, lift, theta, 0.0, residual0)
    described = Described.of(lift, jacobian.shape, jacobian, dtype=torch.float64, device=problem.device)
    del jacobian  # the points that follow need the memory
    points, cost0 = [point], point.cost

    def ended(result: Result) -> FlowPath:
        return FlowPath(points, result, velocity.evaluations, residual0, described)

    if cost0 - floor <= STILL * cost0:
        return ended(Result.stationary)
    try:
        callback(_record(problem, points, cost0, 0.0))
        if until == 0.0:
            return ended(Result.time_reached)
        for tau, there in integrate(problem, velocity, until, tol=tol, field=field):
            points.append(path_point(problem, lift, there, tau, residual0)[0])
            law = predicted_cost(cost0, tau, floor=floor)
            callback(_record(problem, points, law, clock.perf_counter() - begin))
    except (TimeoutError, OutOfTime):
        return ended(Result.max_seconds)
    except ArithmeticError:
        return ended(Result.not_integrable)
    except StopIteration:
        return ended(Result.stopped)
    except KeyboardInterrupt:
        return ended(Result.interrupted)
    return ended(Result.time_reached)


def _record(problem: Problem, points: list[PathPoint], law: float, seconds: float) -> StepRecord:
    point = points[-1]
    return StepRecord(
        step=len(points) - 1,
        time=point.time,
        cost=point.cost,
        predicted=law,
        damping=0.0,
        rank=None if math.isnan(point.rank) else int(point.rank),
        seconds=seconds,
        block_rms=problem.block_rms(point.theta, point.cost),
    )


def notes_of(path: FlowPath, until: float) -> list[str]:
    """A note for a path that ended because its time ran out."""
    points = path.points
    if path.result is not Result.max_seconds or len(points) < 2:
        return []
    step, sigma_min = points[-1].time - points[-2].time, points[-1].sigma_min
    smallest = "" if math.isnan(sigma_min) else f"σ_min = {sigma_min:.2g} there and "
    single = points[-1].theta.dtype == torch.float32
    way = ", and in the rounding of float32: convert model and data to float64, " if single else ": "
    return [
        f"The flow came to τ = {points[-1].time:.3g} of {until:.3g}, with {smallest}steps of {step:.1e}. Steps "
        f"become short near lost rank and at kinks of activations such as ReLU{way}allow more time or a larger "
        "tol, use smooth activations, or use gd.fit."
    ]


def start_floor(problem: Problem, lift: Lift) -> float:
    """The instant floor `F = ‖(I − P)(x − y)‖²/(2N)` at the start; 0 where D has full row rank.

    Raises: InputError, where D is not finite there.
    """
    residual, jacobian = problem.linearise(problem.theta, dtype=torch.float64)
    if not is_finite(residual, jacobian):
        raise InputError(
            "the derivative of the outputs at the start holds NaN or infinite values, so that the flow has no "
            "direction: start at other parameters. A square root or a norm of zero is the usual reason."
        )
    lifted = lift.prepare(jacobian).lift(-residual, damping=0.0)
    if lifted.rank == problem.n_rows_wanted:
        return 0.0
    floor = row_dot(lifted.misfit, lifted.misfit) / (2.0 * problem.n_samples)
    return floor if floor > FLOOR_ROUNDING * problem.cost_of(residual) else 0.0
