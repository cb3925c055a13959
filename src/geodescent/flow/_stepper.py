"""Runge–Kutta steps whose error is measured where the flow lives: in the outputs. Imports SciPy: only when asked."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import DOP853

from geodescent import linalg
from geodescent._types import Outputs
from geodescent.flow._path import Array
from geodescent.linalg import lanczos_extremes
from geodescent.problem import Problem

STEP = 0.1  # of the tolerance: the errors of steps add up, their number is about that
WAY = 10.0  # times the tolerance: the error of θ, of the way that a step goes
TINY = 1e-150  # where there is nothing to do
ROUNDING = 100.0 * float(np.finfo(np.float64).eps)  # of the outputs and of θ: errors that no step size removes


@dataclass(frozen=True)
class Tolerance:
    """What a step may be off by, at the start of a piece of the path.

    Attributes:
        apply: `v ↦ D v`, rows scaled.
        outputs: the largest ‖D e‖.
        way: the largest ‖e‖, of the length of the step.
        theta: the largest ‖e‖ that is rounding in any case.
        largest: σ_max of D.
    """

    apply: Callable[[Array], Array]
    outputs: float
    way: float
    theta: float
    largest: float

    @classmethod
    def at(cls, problem: Problem, theta: Array, remaining: Callable[[Outputs], Outputs], *, tol: float) -> "Tolerance":
        """`‖D e‖ ≤ tol·‖x − y‖/10` and `‖e‖ ≤ 10·tol·‖Δθ‖`.

        Args:
            remaining: x − y, or what stands in its place, of outputs (m,).
        """
        point = torch.from_numpy(theta).to(problem.theta)
        outputs, jacobian = problem.linearise(point)
        rows = jacobian.to(torch.float64).scaled(rows=problem.row_scale)
        scale = 1.0 if problem.row_scale is None else problem.row_scale
        residual, seen = remaining(outputs).double() * scale, outputs.double() * scale
        start = torch.ones_like(residual) + 0.5 * residual / max(linalg.norm(residual), 1e-300)
        largest, _ = lanczos_extremes(lambda u: rows.mv(rows.rmv(u)), start, iterations=8)
        limit = STEP * tol * linalg.norm(residual) + max(ROUNDING * linalg.norm(seen), TINY)

        def apply(v: Array) -> Array:
            return rows.mv(torch.from_numpy(v).to(residual)).cpu().numpy()

        sigma = max(largest, torch.finfo(torch.float64).tiny) ** 0.5
        return cls(apply, limit, WAY * tol, ROUNDING * float(np.linalg.norm(theta)), sigma)


class OutputStepper(DOP853):
    """DOP853 as in SciPy, its local error e held to a `Tolerance` in place of a norm of θ.

    Along a weak direction of D parameters go far, and rounding is large, while outputs hardly move: measured in θ, a
    step there would have to be as short as 1/cond(D) of what the outputs ask for (docs/decisions.md).

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
        atol = tolerance.outputs / (tolerance.largest * len(theta) ** 0.5)  # only SciPy's first step asks for it
        super().__init__(velocity, begin, theta, end, rtol=ROUNDING, atol=atol, first_step=first_step)

    def _estimate_error_norm(self, stages: Array, h: float, scale: Array) -> float:
        fifth, third = stages.T @ self.E5, stages.T @ self.E3
        tolerance, way = self.tolerance, float(np.linalg.norm(stages[0])) * abs(h)
        in_outputs = _combined(tolerance.apply(fifth), tolerance.apply(third)) / tolerance.outputs
        in_theta = _combined(fifth, third) / (tolerance.way * way + tolerance.theta)
        return abs(h) * max(in_outputs, in_theta)


def _combined(fifth: Array, third: Array) -> float:
    five, three = float(fifth @ fifth), float(third @ third)
    return five / (five + 0.01 * three) ** 0.5 if five > 0.0 else 0.0
