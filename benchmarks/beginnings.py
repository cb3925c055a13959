"""What comes before the first step of a fit and after its last, in full-batch Adam steps.

`python benchmarks/beginnings.py`; names of cases may follow; all of `CASES_OF_BEGINNINGS` by default, one thread. One
line a case: the milliseconds of a gradient and a step of Adam on all samples, and in such steps the beginning (from the
call of `gd.fit` to the first linearisation), the first step, and the end (from the callback of the last step to the
return). Below it, from a second run under Python's profiler, what functions of the package took.
"""

import cProfile
import math
import pstats
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from cases import Case, Drawn, Task, mlp
from large_cases import LARGE, waves
from torch import nn

import geodescent as gd
from geodescent.descent import descend

THREADS, ADAM_STEPS, RUNS = 1, 10, 3
MOST_SECONDS = 20.0  # Of a fit: the largest network cannot take a planned step sooner.
SHOWN = 0.25  # Adam steps: functions that take less are not shown.
PARTS = {
    *("plan_fit", "problem_of", "__init__", "output_shape", "probed_routes", "kind_of", "parameters_of"),
    *("check_elsewhere", "_refuse_memory", "_gradients", "check_agreement", "_refuse_slopes", "checked_target"),
    *("planned_stages", "part_of", "timely_source", "validation_cost", "left_as_found", "theta", "write"),
    *("_begun", "start", "of", "unit_notes", "cost", "block_rms", "reference_cost", "rounding_floor", "target_notes"),
    *("linear_entries", "on_demand", "stats_of", "keep_start"),
}
"""Functions of the beginning and of the end, by name; a function contains the time of those that it calls."""


def images(seed: int) -> Drawn:
    """1,000 points of ten inputs and 300 outputs, `sin` of random sums: targets of a network of ten million."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2_000, 10, generator=generator, dtype=torch.float64) * 2 - 1
    y = torch.sin(x @ torch.randn(10, 300, generator=generator, dtype=torch.float64))
    return x[:1_000], y[:1_000], x[1_000:], y[1_000:]


def _waves(name: str, width: int) -> Case:
    """`waves` by two hidden layers of so many units, in float32."""
    return Case(name, waves, partial(mlp, 3, width, width, 10), dtype=torch.float32)


CASES_OF_BEGINNINGS: dict[str, Case] = {
    case.name: case
    for case in (
        _waves("K = 1.5e3", 32),
        _waves("K = 1.2e4", 100),
        _waves("K = 9.5e4", 300),
        *LARGE.values(),
        Case("K = 1e7", images, partial(mlp, 10, 3000, 3000, 300), dtype=torch.float32),
    )
}


@dataclass(frozen=True)
class Times:
    """Seconds of one fit of one step.

    Attributes:
        beginning: from the call to the first linearisation.
        step: the first step.
        end: from its callback to the return.
    """

    beginning: float
    step: float
    end: float


def main(names: list[str]) -> None:
    """Prints the lines of these cases, all by default."""
    torch.set_num_threads(THREADS)
    for name in names or list(CASES_OF_BEGINNINGS):
        report(CASES_OF_BEGINNINGS[name])


def report(case: Case) -> None:
    """Prints one case."""
    adam = seconds_of_adam(case.task(0))
    runs = [times_of(case.task(0)) for _ in range(RUNS)]
    parts = [median(getattr(run, part) for run in runs) / adam for part in ("beginning", "step", "end")]
    n_params = sum(p.numel() for p in case.task(0).model.parameters())
    shown = ", ".join(f"{what} {x:.1f}" for what, x in zip(("beginning", "first step", "end"), parts, strict=True))
    print(f"{case.name}, K = {n_params}: an Adam step {1e3 * adam:.2f} ms; {shown} Adam steps", flush=True)
    for where, n_calls, seconds in profiled(case.task(0)):
        if seconds >= SHOWN * adam:
            print(f"    {where:45} {n_calls:5} calls {seconds / adam:8.2f}", flush=True)


def seconds_of_adam(task: Task) -> float:
    """The median of a gradient on all samples and a step."""
    optimizer, seconds = torch.optim.Adam(task.model.parameters(), lr=1e-3), list[float]()
    begin = time.perf_counter()
    while len(seconds) < 3 or (len(seconds) < ADAM_STEPS and time.perf_counter() - begin < 10.0):
        start = time.process_time()
        optimizer.zero_grad()
        nn.functional.mse_loss(task.model(task.inputs), task.targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.process_time() - start)
    return median(seconds[1:])


def times_of(task: Task) -> Times:
    """Of one fit of one step."""
    at = list[float]()

    def descended(*given: Any, **named: Any) -> Any:
        at.append(time.process_time())
        return descend(*given, **named)

    begin = time.process_time()
    with patch("geodescent.doors._fit.descend", descended):
        fitted(task, lambda record: at.append(time.process_time()))
    end = time.process_time()
    began, stepped = at if len(at) > 1 else (*at, math.inf)  # none, where no step was found in time
    return Times(began - begin, stepped - began, max(0.0, end - stepped))


def fitted(task: Task, callback: Callable[[gd.StepRecord], None]) -> gd.Solution:
    """A fit of one step."""
    return gd.fit(task.model, task.inputs, task.targets, max_steps=1, max_seconds=MOST_SECONDS, callback=callback)


def profiled(task: Task) -> list[tuple[str, int, float]]:
    """Function, its calls and its seconds, of `PARTS`, in the order of their seconds."""
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    fitted(task, lambda record: None)
    profile.disable()
    found = list[tuple[str, int, float]]()
    for (file, line, name), (_, n_calls, _, seconds, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if name in PARTS and "geodescent" in file:
            found.append((f"{Path(file).stem}.{name}:{line}", n_calls, seconds))
    return sorted(found, key=lambda part: -part[2])


if __name__ == "__main__":
    main(sys.argv[1:])
