"""The adapted flow itself, integrated with error control; its cost beside the curve known before the first step."""

import math
import time as clock
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from geodescent import linalg
from geodescent._errors import InputError
from geodescent._record import Callback, Result, StepRecord
from geodescent._types import Outputs, Theta
from geodescent.flow._field import Field
from geodescent.flow._path import Array, PathPoint, path_point
from geodescent.lift import Lift
from geodescent.problem import Problem
from geodescent.theory import predicted_cost

Remaining = Callable[[Outputs], Outputs]

LEAST_STEPS = 20  # accepted steps at least: the path is cut into as many pieces
PIECE = 0.7  # of τ, at most: the cost falls fourfold, so does the tolerance
STILL = 1e-12  # a start whose cost is its floor to this share is a critical point
LEAST_TOL = 1e3  # of eps: below it the integrator would chase rounding


class PathVelocity(Protocol):
    """`dθ/dτ` at a time and a θ, on the clock of a field."""

    @property
    def problem(self) -> Problem: ...

    @property
    def field(self) -> Field: ...

    def __call__(self, time: float, theta: Array) -> Array: ...


class Velocity:
    """`dθ/dτ` (or dθ/dt): the field at θ, lifted without damping; counts its evaluations, up to a deadline."""

    def __init__(self, problem: Problem, field: Field, lift: Lift, *, max_seconds: float = math.inf) -> None:
        self.problem, self.field, self.lift = problem, field, lift
        self.deadline = clock.perf_counter() + max_seconds
        self.residual0 = problem.residual(problem.outputs(problem.theta)).double()
        self.evaluations = 0

    def __call__(self, time: float, theta: Array) -> Array:
        """The velocity at θ; raises TimeoutError past the deadline."""
        if clock.perf_counter() > self.deadline:
            raise TimeoutError
        point = torch.from_numpy(theta).to(self.problem.theta)
        outputs, jacobian = self.problem.linearise(point)
        velocity = self.field.velocity(self.problem.residual(outputs).double(), self.residual0)
        prepared = self.lift.prepare(jacobian.to(torch.float64), row_scale=self.problem.row_scale)
        self.evaluations += 1
        return prepared.lift(velocity, damping=0.0).velocity.cpu().numpy()


def integrate(
    velocity: PathVelocity, until: float, *, tol: float, remaining: Remaining | None = None
) -> Iterator[tuple[float, Array]]:
    """`(τ, θ)` at every accepted step of an eighth-order Runge–Kutta pair, in pieces of τ.

    In each piece the local error of the outputs is held to `tol·‖x − y‖/10` at its start, so that it shrinks with the
    residual (a constant tolerance spoils the law below C/C₀ ≈ 1e-8), and that of θ to `10·tol` of the way of the step.

    Args:
        remaining: what stands in the place of x − y, of outputs (m,), where the field is of another cost.

    Raises: ArithmeticError, where no step size keeps the tolerance.
    """
    from geodescent.flow._stepper import OutputStepper, Tolerance  # SciPy is slow to import, and only a flow needs it

    pieces = max(LEAST_STEPS, math.ceil(until / PIECE))
    ends = [velocity.field.clock(until * k / pieces) for k in range(pieces + 1)]
    if any(begin == end for begin, end in pairwise(ends)):
        raise InputError(f"until = {until}: t = 1 − e^(−τ) no longer moves there in float64. Ask for τ below 36.")
    tol = max(tol, LEAST_TOL * float(torch.finfo(velocity.problem.theta.dtype).eps))
    theta, step = velocity.problem.theta.double().cpu().numpy(), None
    for begin, end in pairwise(ends):
        tolerance = Tolerance.at(velocity.problem, theta, remaining or velocity.problem.residual, tol=tol)
        step = None if step is None else min(step, end - begin)
        solver = OutputStepper(velocity, begin, theta, end, tolerance=tolerance, first_step=step)
        while solver.status == "running":
            solver.step()
            if solver.status == "failed":
                raise ArithmeticError("the step size fell below the spacing of floats")
            yield until if solver.t == ends[-1] else velocity.field.time(solver.t), solver.y
        theta, step = solver.y, float(solver.h_abs)


def path_of(
    velocity: PathVelocity, until: float, *, tol: float, max_seconds: float, remaining: Remaining | None = None
) -> tuple[Array, list[Theta]]:
    """τ and θ at the start and at every accepted step, as many as there is time for.

    Raises: InputError for times and tolerances that mean nothing; ArithmeticError as `integrate`.
    """
    checked_until(until, None, tol)
    start, deadline = velocity.problem.theta, clock.perf_counter() + max_seconds
    times, points = [0.0], [start]
    for time, theta in integrate(velocity, until, tol=tol, remaining=remaining):
        times.append(time)
        points.append(torch.from_numpy(theta.copy()).to(start))
        if clock.perf_counter() > deadline:
            break
    return np.array(times), points


def follow(
    velocity: Velocity, until: float, *, tol: float, callback: Callback, floor: float
) -> tuple[list[PathPoint], Result]:
    """The points of the flow up to τ = until, and how it ended."""
    problem, begin = velocity.problem, clock.perf_counter()
    points = [path_point(problem, velocity.lift, problem.theta, 0.0, velocity.residual0)]
    cost0 = points[0].cost
    if cost0 - floor <= STILL * cost0:
        return points, Result.stationary
    try:
        callback(_record(points, cost0, 0.0))
        if until == 0.0:
            return points, Result.time_reached
        for tau, theta in integrate(velocity, until, tol=tol):
            there = torch.from_numpy(theta.copy()).to(problem.theta)
            points.append(path_point(problem, velocity.lift, there, tau, velocity.residual0))
            law = predicted_cost(cost0, points[-1].time, floor=floor)
            callback(_record(points, law, clock.perf_counter() - begin))
    except TimeoutError:
        return points, Result.max_seconds
    except ArithmeticError:
        return points, Result.not_integrable
    except StopIteration:
        return points, Result.stopped
    except KeyboardInterrupt:
        return points, Result.interrupted
    return points, Result.time_reached


def _record(points: list[PathPoint], law: float, seconds: float) -> StepRecord:
    point = points[-1]
    rank = None if math.isnan(point.rank) else int(point.rank)
    return StepRecord(len(points) - 1, point.time, point.cost, law, 0.0, math.nan, rank, None, seconds)


def notes(points: list[PathPoint], until: float, result: Result) -> list[str]:
    """What must be said of a path that ended for want of time."""
    if result is not Result.max_seconds or len(points) < 2:
        return []
    step = points[-1].time - points[-2].time
    return [
        f"The flow came to τ = {points[-1].time:.3g} of {until:.3g}, with σ_min = {points[-1].sigma_min:.2g} there and "
        f"steps of {step:.1e}. Steps grow short near lost rank and at kinks of activations such as ReLU; more time, "
        "a larger tol, smooth activations or gd.fit are the ways on."
    ]


def start_floor(problem: Problem, lift: Lift) -> float:
    """The instant floor `F = ‖(I − P)(x − y)‖²/(2N)` at the start; 0 where D has full row rank."""
    outputs, jacobian = problem.linearise(problem.theta)
    residual = problem.residual(outputs).double()
    prepared = lift.prepare(jacobian.to(torch.float64), row_scale=problem.row_scale)
    lifted = prepared.lift(-residual, damping=0.0)
    if lifted.rank == problem.n_rows_wanted:
        return 0.0
    floor = linalg.dot(lifted.misfit, lifted.misfit) / (2.0 * problem.n_samples)
    return floor if floor > 1e-24 * problem.cost(outputs) else 0.0


def checked_until(until: float | None, target: float | None, tol: float) -> None:
    """Raises InputError for times, targets and tolerances that mean nothing."""
    if not 0.0 < tol < 1.0:
        raise InputError(f"tol = {tol}: a relative tolerance between 0 and 1 is needed.")
    if until is not None and target is not None:
        raise InputError(f"until = {until} and target_cost = {target} both say when to stop: pass one of them.")
    if until is not None and not (math.isfinite(until) and until > 0.0):
        raise InputError(f"until = {until}: the flow's time τ must be positive and finite.")
    if target is not None and not target > 0.0:
        raise InputError(f"target_cost = {target}: the flow reaches no cost of zero or below in finite time.")
