"""What a run leaves behind: the time at which each target was first met, and a thinned trace of the cost.

No packages: this file is read in the environment of the JAX peers too.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TARGETS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-20)
THINNING = 0.8  # a point enters the trace when the cost has fallen by a fifth: about ten points a decade
FINE = 0.95  # the same for curves that are compared at every moment: they are right to 5 %


class Recorder:
    """The clock of one run; `note` says when the run is over.

    A cost that is noted after the budget counts for nothing. A run is over at its last target, when the budget is out,
    when the cost is no longer finite, or when `patience` notes in a row brought the same cost.
    """

    def __init__(
        self,
        *,
        budget: float,
        targets: tuple[float, ...] = TARGETS,
        patience: float = math.inf,
        thinning: float = THINNING,
    ) -> None:
        self.budget, self.targets, self.patience, self.thinning = budget, targets, patience, thinning
        self.result, self.steps, self.unchanged, self.aside_seconds = "running", 0, 0, 0.0
        self.extra = dict[str, Any]()
        self.trace, self.times, self.best, self.last = list[tuple[float, float]](), dict[float, float](), math.inf, -1.0
        self.stopped = math.nan
        self.begin = time.perf_counter()

    def start(self, cost: float) -> None:
        """Sets the clock to zero at this cost."""
        self.trace, self.best, self.begin = [(0.0, cost)], cost, time.perf_counter()

    def elapsed(self) -> float:
        """Seconds since the start, without what was measured aside."""
        return time.perf_counter() - self.begin - self.aside_seconds

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Work of the benchmark, not of the method: not counted."""
        begin = time.perf_counter()
        yield
        self.aside_seconds += time.perf_counter() - begin

    def note(self, cost: float) -> bool:
        """Records a cost at this moment; true when the run is over."""
        return self.note_at(self.elapsed(), cost)

    def note_at(self, now: float, cost: float) -> bool:
        """Records a cost at a moment that was stamped before."""
        if now > self.budget:
            return self.over("budget")
        if not math.isfinite(cost):
            return self.over("not finite")
        self.steps += 1
        self.unchanged = self.unchanged + 1 if cost == self.last else 0
        self.last, self.best = cost, min(self.best, cost)
        for target in self.targets:
            if cost <= target:
                self.times.setdefault(target, now)
        if not self.trace or cost < self.thinning * self.trace[-1][1]:
            self.trace.append((now, cost))
        if self.targets and cost <= self.targets[-1]:
            return self.over("last target")
        return self.unchanged >= self.patience and self.over("stalled")

    def over(self, result: str) -> bool:
        """Keeps the first reason for which the run ended."""
        if self.result == "running":
            self.result, self.stopped = result, self.elapsed()
        return True

    def figures(self) -> dict[str, Any]:
        """The run as fields of a line."""
        return {
            "steps": self.steps,
            "result": self.result,
            "best_cost": self.best,
            "times": {f"{target:.0e}": self.times.get(target) for target in TARGETS},
            "trace": [(round(seconds, 6), float(f"{cost:.4g}")) for seconds, cost in self.trace],
        } | self.extra


def finite(value: Any) -> Any:
    """The same, with null where a number is infinite or not a number: strict JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value


def as_line(figures: dict[str, Any]) -> str:
    """One line of strict JSON."""
    return json.dumps(finite(figures), allow_nan=False)
