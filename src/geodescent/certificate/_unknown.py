"""The certificate of a problem of which nothing could be computed."""

import math

from geodescent.certificate._certificate import Certificate
from geodescent.problem import Problem


def unknown_certificate(problem: Problem, cost: float, reason: str) -> Certificate:
    """Counts and the cost, and why all else is None.

    Args:
        cost: C, as it was known.
        reason: a sentence.
    """
    return Certificate(
        regime="overparametrised" if problem.n_params >= problem.n_rows_wanted else "underparametrised",
        guaranteed=None,
        n_residuals=problem.n_residuals,
        n_params=problem.n_params,
        rank=None,
        rcond=None,
        resolution=None,
        sigma_max=None,
        sigma_min=None,
        sigma_min_is_bound=False,
        condition=None,
        margin=None,
        margin_how=None,
        way_bound=None,
        floor=None,
        rounding_floor=math.nan,
        cost=cost,
        target_cost=None,
        stopping_time=None,
        causes=(),
        level="not computed",
        reason=reason,
        n_rows_wanted=problem.n_rows_wanted,
    )
