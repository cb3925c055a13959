"""Statistics of a run: how it was computed."""

from collections.abc import Mapping

import torch

from geodescent._memory import Account
from geodescent.lift import Described
from geodescent.problem import Problem


def stats_of(
    problem: Problem,
    described: Described,
    solve_dtype: torch.dtype,
    *,
    counts: Mapping[str, int],
    account: Account,
    notes: list[str],
) -> dict[str, object]:
    """The lift, its settings and counts, dtypes, sizes, memory, routes of the parameters, threads, and notes.

    `planned_mb` and `peak_mb` are what was planned before each large piece of work and what the process held at most,
    in 10⁶ bytes above what it held when the run began, which includes freed memory that the C library keeps: together
    with what torch's kernels and a library's first call take, some ten to fifty. On CUDA the peak of torch's allocator
    starts anew with a run.
    """
    if described.failure is not None:
        notes = [*notes, f"The lift and the routes could not be described ({described.failure})."]
    return {
        "lift": described.lift,
        "lift_settings": described.settings,
        "routes": described.routes,
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
