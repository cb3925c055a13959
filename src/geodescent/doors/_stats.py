"""Statistics of a run: how it was computed."""

from collections.abc import Mapping

import torch

from geodescent.descent import chosen_lift
from geodescent.lift import Lift
from geodescent.problem import Problem


def stats_of(
    problem: Problem,
    lift: Lift,
    solve_dtype: torch.dtype,
    *,
    routes: list[dict[str, object]],
    counts: Mapping[str, int],
    notes: list[str],
) -> dict[str, object]:
    """The lift, its settings and counts, dtypes, sizes, routes of the parameters, threads, and notes."""
    chosen = chosen_lift(lift, problem, solve_dtype)
    return {
        "lift": chosen.name,
        "lift_settings": str(chosen),
        "solve_dtype": str(solve_dtype).removeprefix("torch."),
        "model_dtype": str(problem.dtype).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "n_residuals": problem.n_residuals,
        "n_params": problem.n_params,
        "routes": routes,
        "threads": torch.get_num_threads(),
        "notes": notes,
        **counts,
    }
