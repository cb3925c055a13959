"""Runge–Kutta steps whose error is measured in the outputs. Imports SciPy, which is slow: only when needed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import DOP853

from geodescent._types import Theta
from geodescent.flow._arrays import Array, Remaining
from geodescent.linalg import ROWS, lanczos_extremes, row_norm
from geodescent.problem import Problem

STEP_SHARE = 0.1  # Share of the tolerance that one step may use: a flow takes tens of steps, and their errors add up.
WAY = 10.0  # Times the tolerance: the error of θ that is allowed, relative to the length of the step.
ALWAYS_ALLOWED = 1e-150  # Absolute error that is always allowed: the limit stays positive where x and x − y are zero.
STEP_ROUNDING = 100.0 * float(np.finfo(np.float64).eps)  # Share of outputs and θ: errors that no step size removes.
SIGMA_PRODUCTS = 8  # Products with DDᵀ in the estimate of σ_max, which only SciPy's choice of a first step uses.


@dataclass(frozen=True)
class Tolerance:
    """The error that a step may have, computed at the start of a piece of the path.

    Attributes:
        apply: `v ↦ D v`, rows weighted.
        outputs: the largest ‖D e‖.
        way: the largest ‖e‖, relative to the length of the step.
        theta: an error ‖e‖ that is allowed in addition, for rounding.
        largest: σ_max of D.
    """

    apply: Callable[[Array], Array]
    outputs: float
    way: float
    theta: float
    largest: float

    @classmethod
    def at(cls, problem: Problem, theta: Theta, remaining: Remaining | None, *, tol: float) -> "Tolerance":
        """`‖D e‖ ≤ tol·‖x − y‖/10` and `‖e‖ ≤ 10·tol·‖Δθ‖`.

        Args:
            remaining: outputs (m,) ↦ what replaces x − y; None for x − y.
        """
        residual, jacobian = problem.linearise(theta, dtype=torch.float64)
        outputs = problem.outputs(theta)
        if remaining is not None:
            residual = problem.weighted(remaining(outputs).double())
        start = torch.ones_like(residual) + 0.5 * residual / max(row_norm(residual), 1e-300)
        largest, _ = lanczos_extremes(
            lambda u: jacobian.mv(jacobian.rmv(u)), start, iterations=SIGMA_PRODUCTS, space=ROWS
        )
        seen = row_norm(problem.weighted(outputs.double()))
        limit = STEP_SHARE * tol * row_norm(residual) + max(STEP_ROUNDING * seen, ALWAYS_ALLOWED)

        def apply(v: Array) -> Array:
            return jacobian.mv(torch.from_numpy(v).to(residual)).cpu().numpy()

        sigma = max(largest, torch.finfo(torch.float64).tiny) ** 0.5
        return cls(apply, limit, WAY * tol, STEP_ROUNDING * float(theta.double().norm()), sigma)


class OutputStepper(DOP853):  # type: ignore[misc]  # SciPy has no types
    """SciPy's DOP853, with its local error e compared with a `Tolerance` in place of a norm of θ.

    Along directions of small singular values of D parameters move far, with large rounding errors, while outputs hardly
    move: an error measured in θ would make steps as short as 1/cond(D) of what the outputs need (docs/decisions.md).

    Source: Hairer, Nørsett & Wanner, *Solving ODEs I*, II.10: the error is `‖e₅‖²/√(‖e₅‖² + 0.01‖e₃‖²)`.
    """

    def __init__(
        self,
        velocity: Callable[[float, Array], Array],
        begin: float,
        theta: Array,
        end: float,
        *,
        tolerance: Tolerance,
        first_step: float | None,
    ) -> None:
        self.tolerance = tolerance
        atol = tolerance.outputs / (tolerance.largest * len(theta) ** 0.5)  # only SciPy's first step uses it
        super().__init__(velocity, begin, theta, end, rtol=STEP_ROUNDING, atol=atol, first_step=first_step)

    def _estimate_error_norm(self, stages: Array, h: float, scale: Array) -> float:
        fifth, third = stages.T @ self.E5, stages.T @ self.E3
        tolerance, way = self.tolerance, float(np.linalg.norm(stages[0])) * abs(h)
        in_outputs = _combined(tolerance.apply(fifth), tolerance.apply(third)) / tolerance.outputs
        in_theta = _combined(fifth, third) / (tolerance.way * way + tolerance.theta)
        return abs(h) * max(in_outputs, in_theta)


def _combined(fifth: Array, third: Array) -> float:
    """The error's length; infinite where it is not a number, so that a shorter step is tried."""
    five, three = float(fifth @ fifth), float(third @ third)
    if not math.isfinite(five + three):
        return math.inf
    return five / (five + 0.01 * three) ** 0.5 if five > 0.0 else 0.0
