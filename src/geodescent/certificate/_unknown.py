"""The certificate of a problem of which nothing could be computed, and what all others begin with."""

import math
from dataclasses import replace

import torch

from geodescent._deadline import in_time
from geodescent._types import Theta
from geodescent.certificate._certificate import Certificate
from geodescent.problem import Problem, draws_points, misfit_of


def unknown_certificate(problem: Problem, cost: float, reason: str | None) -> Certificate:
    """Counts and the cost, and why all else is None.

    Args:
        cost: C, as it was known.
        reason: a sentence, or None.
    """
    return Certificate(
        regime="overparametrised" if problem.n_params >= problem.n_rows_wanted else "underparametrised",
        n_residuals=problem.n_residuals,
        n_params=problem.n_params,
        n_rows_wanted=problem.n_rows_wanted,
        cost=cost,
        equations=problem.has_equations,
        draws_points=draws_points(problem),
        reason=reason,
    )


def begun_certificate(problem: Problem, theta: Theta, cost: float, reason: str | None, rounding: float) -> Certificate:
    """Counts and the cost, how near that is to rounding, and what is left of the measured terms of equations.

    Args:
        theta: where.
        rounding: the rounding floor there.
    """
    known = replace(
        unknown_certificate(problem, cost, reason),
        rounding_floor=rounding,
        near_rounding=cost <= rounding / math.sqrt(torch.finfo(problem.dtype).eps),
    )
    wanted = problem.has_equations and bool(problem.measured) and math.isfinite(cost)
    if not (wanted and in_time(0.0, "what is left of the measured values", forward_passes=2.0)):
        return known
    return replace(known, misfit=misfit_of(problem, theta))
