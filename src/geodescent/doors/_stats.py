"""Statistics of a run: how it was computed."""

from collections.abc import Mapping

import torch

from geodescent._memory import Account
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
    account: Account,
    notes: list[str],
) -> dict[str, object]:
    """The lift, its settings and counts, dtypes, sizes, routes of the parameters, threads, and notes.

    Args:
        last: where the run ended, or None where it took no step.
    """
    try:
        how: dict[str, object] = _lift_of(problem, lift, solve_dtype, last)
    except Exception as error:  # of a lift or a Jacobian of the user's own: the run is over, and its result stays
        how = {"lift": None, "lift_settings": None, "routes": []}
        notes = [*notes, f"The lift and the routes could not be described ({type(error).__name__}: {error})."]
    return {
        **how,
        "solve_dtype": str(solve_dtype).removeprefix("torch."),
        "model_dtype": str(problem.dtype).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "n_residuals": problem.n_residuals,
        "n_params": problem.n_params,
        "threads": torch.get_num_threads(),
        "planned_mb": account.planned_mb(problem.device),
        "peak_mb": account.peak_mb(problem.device),
        "notes": notes,
        **counts,
    }


def _lift_of(problem: Problem, lift: Lift, solve_dtype: torch.dtype, last: Jacobian | None) -> dict[str, object]:
    """The lift that was used, its settings, and the routes of the parameters."""
    chosen = chosen_lift(lift, problem, solve_dtype)
    if isinstance(lift, PlannedLift) and last is not None and last.shape == (problem.n_residuals, problem.n_params):
        chosen = lift.chosen(last)
    return {"lift": chosen.name, "lift_settings": str(chosen), "routes": [] if last is None else last.routes()}
