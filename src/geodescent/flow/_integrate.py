"""Integration of a velocity of θ with error control."""

import math
import time as clock
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from geodescent._errors import InputError
from geodescent._settings import SECONDS, Number
from geodescent._types import Theta
from geodescent.flow._arrays import Array, Remaining, Velocity, as_arrays, tensor_of
from geodescent.flow._field import AdaptedField, Field
from geodescent.problem import Problem

LEAST_PIECES = 20  # Pieces of the path, at least: each ends with an accepted step.
PIECE = 0.7  # Time τ of a piece, at most: over it the cost falls fourfold, and the tolerance by half.
LEAST_TOL = 1e3  # Times eps: a smaller tolerance would be below rounding errors.
RELATIVE_TOLERANCE = Number("a relative tolerance between 0 and 1 is needed", lambda tol: 0.0 < tol < 1.0, 1e-9)
TIME = Number("the flow's time τ must be positive and finite", lambda tau: 0.0 < tau < math.inf, 14.0)
TARGET = Number(
    "the flow reaches no cost of zero or below in finite time, and a positive one is needed",
    lambda cost: 0.0 < cost < math.inf,
    1e-9,
)


def integrate(
    problem: Problem,
    velocity: Velocity,
    until: float,
    *,
    tol: float,
    field: Field | None = None,
    remaining: Remaining | None = None,
) -> Iterator[tuple[float, Theta]]:
    """`(τ, θ)` at every accepted step of an eighth-order Runge–Kutta pair, in pieces of τ, from the problem's own θ.

    In each piece the local error of the outputs is held to `tol·‖x − y‖/10` at its start, so that it shrinks with the
    residual (a constant tolerance spoils the law below C/C₀ ≈ 1e-8), and that of θ to `10·tol` times the step's length.

    Args:
        velocity: in the time variable of the field.
        field: whose time variable is used; by default that of the adapted field, τ.
        remaining: outputs (m,) ↦ what replaces x − y, where the flow is that of another cost.

    Raises: ArithmeticError, where no step size keeps the tolerance.
    """
    from geodescent.flow._stepper import OutputStepper, Tolerance  # SciPy is slow to import, and only a flow needs it

    clock_of = field or AdaptedField()
    pieces = max(LEAST_PIECES, math.ceil(until / PIECE))
    ends = [clock_of.clock(until * k / pieces) for k in range(pieces + 1)]
    if any(begin == end for begin, end in pairwise(ends)):
        raise InputError(f"until = {until}: t = 1 − e^(−τ) no longer moves there in float64. Ask for τ below 36.")
    start = problem.theta
    tol = max(tol, LEAST_TOL * float(torch.finfo(start.dtype).eps))
    theta, step = start.double().cpu().numpy(), None
    for begin, end in pairwise(ends):
        tolerance = Tolerance.at(problem, tensor_of(theta, start), remaining, tol=tol)
        step = None if step is None else min(step, end - begin)
        solver = OutputStepper(as_arrays(velocity, start), begin, theta, end, tolerance=tolerance, first_step=step)
        while solver.status == "running":
            solver.step()
            if solver.status == "failed":
                raise ArithmeticError("the step size fell below the spacing of floats")
            tau = until if solver.t == ends[-1] else clock_of.time(solver.t)
            yield tau, tensor_of(solver.y, start)
        theta, step = solver.y, float(solver.h_abs)


def path_of(
    problem: Problem,
    velocity: Velocity,
    until: float,
    *,
    tol: float,
    max_seconds: float,
    remaining: Remaining | None = None,
) -> tuple[Array, list[Theta]]:
    """τ and θ at the start and at every accepted step, as many as there is time for.

    Raises: InputError for invalid times and tolerances; ArithmeticError as `integrate`.
    """
    until, tol = TIME.of("until", until), RELATIVE_TOLERANCE.of("tol", tol)
    deadline = clock.perf_counter() + SECONDS.of("max_seconds", max_seconds)
    times, points = [0.0], [problem.theta]
    for time, theta in integrate(problem, velocity, until, tol=tol, remaining=remaining):
        times.append(time)
        points.append(theta)
        if clock.perf_counter() > deadline:
            break
    return np.array(times), points


def check_until(until: float | None, target: float | None, tol: float) -> None:
    """Raises InputError for invalid times, targets and tolerances."""
    RELATIVE_TOLERANCE.of("tol", tol)
    if until is not None and target is not None:
        raise InputError(f"until = {until} and target_cost = {target} both say when to stop: pass one of them.")
    if until is not None:
        TIME.of("until", until)
    if target is not None:
        TARGET.of("target_cost", target)
