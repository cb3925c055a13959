"""The search for the most probable numbers of prior and noise, and its history."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodescent._deadline import seconds_left

CHANGE = 2e-7  # Times the number of rows, repetitions counted: a smaller change of the evidence ends the iterations.
SLOPE = 1e-2  # A smaller derivative does too.
REFUSED = 1e10  # In the place of the evidence where there is none.


@dataclass(frozen=True)
class TuningRecord:
    """A trial of the numbers that was better than all before it in the same search.

    Attributes:
        cost: minus the logarithm of the evidence, that of the prior of the numbers included, but for a constant.
        noise: the share of the targets' variance that is noise; of classes, the variance of the latent functions.
        seconds: since tuning began.
    """

    cost: float
    noise: float
    seconds: float


@dataclass(frozen=True)
class Tuning:
    """Keeps what is recorded, and shows it.

    Attributes:
        callback: called with each record.
        records: all so far.
    """

    callback: Callable[[TuningRecord], None] | None = None
    records: list[TuningRecord] = field(default_factory=list)
    _begin: float = field(default_factory=time.perf_counter)

    def __call__(self, cost: float, noise: float) -> None:
        record = TuningRecord(cost, noise, time.perf_counter() - self._begin)
        self.records.append(record)
        if self.callback is not None:
            self.callback(record)


def minimised(
    value_and_slope: Callable[[Tensor], tuple[float, Tensor] | None],
    begin: Tensor,
    *,
    iterations: int,
    n_rows: float,
    watched: Callable[[float, Tensor], None],
) -> Tensor:
    """By L-BFGS, as long as there is time; where there is no value, no step is taken.

    Args:
        n_rows: repetitions counted, by which small changes are measured.
        watched: called with value and logarithms where the value is the least so far.
    """
    logarithms, least = begin.clone().requires_grad_(), REFUSED
    search: torch.optim.Optimizer = torch.optim.LBFGS(
        [logarithms],
        max_iter=iterations,
        line_search_fn="strong_wolfe",
        tolerance_change=CHANGE * n_rows,
        tolerance_grad=SLOPE,
    )

    def closure() -> float:
        nonlocal least
        found = None if seconds_left() <= 0.0 else value_and_slope(logarithms.detach())
        value, slope = (REFUSED, torch.zeros_like(begin)) if found is None else found
        if value < least:
            least = value
            watched(value, logarithms.detach())
        logarithms.grad = slope
        return value

    search.step(closure)
    return logarithms.detach()
