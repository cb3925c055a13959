"""Statistics of a run: how it was computed."""

from collections.abc import Mapping

import torch

from geodescent.descent import chosen_lift
from geodescent.jacobian import Jacobian
from geodescent.lift import Lift, PlannedLift
from geodescent.problem import Problem


def stats_of(
    problem: Problem,
    lift: Lift,
    solve_dtype: torch.dtype,
    *,
    last: Jacobian | None,
    counts: Mapping[str, int],
    notes: list[str],
) -> dict[str, object]:
    """The lift, its settings and counts, dtypes, sizes, routes of the parameters, threads, and notes.

    Args:
        last: where the run ended, or None where it took no step.
    """
    chosen = chosen_lift(lift, problem, solve_dtype)
    if isinstance(lift, PlannedLift) and last is not None and last.shape == (problem.n_residuals, problem.n_params):
        chosen = lift.chosen(last)
    return {
        "lift": chosen.name,
        "lift_settings": str(chosen),
        "solve_dtype": str(solve_dtype).removeprefix("torch."),
        "model_dtype": str(problem.dtype).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "n_residuals": problem.n_residuals,
        "n_params": problem.n_params,
        "routes": [] if last is None else last.routes(),
        "threads": torch.get_num_threads(),
        "notes": notes,
        **counts,
    }
