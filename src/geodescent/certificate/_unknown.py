"""The certificate of a problem of which nothing could be computed."""

from geodescent.certificate._certificate import Certificate
from geodescent.problem import Problem


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
        reason=reason,
    )
