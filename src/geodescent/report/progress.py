"""A progress bar on standard error: how many of the digits between C₀ and the target are won."""

import math
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class StepRecord(Protocol):
    """The entries of a callback's record that the bar shows."""

    @property
    def step(self) -> int:
        """Number of the accepted step."""

    @property
    def cost(self) -> float:
        """The measured cost after it."""

    @property
    def predicted(self) -> float:
        """The cost known beforehand: C_lin of `fit`, the law of `flow`."""

    @property
    def held_out(self) -> float | None:
        """Cost on the samples held out."""


@dataclass
class ProgressBar:
    """A callback, to be used in a `with` statement.

    Args:
        predicted_name: what the record's `predicted` is called.
        target_cost: where the bar ends, on a log scale from the first cost seen; None for a bar without end.
        console: where it is drawn; standard error by default.
    """

    predicted_name: str
    target_cost: float | None
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def __post_init__(self) -> None:
        """Lay the columns out; nothing is drawn yet."""
        text = TextColumn("step {task.fields[step]}  measured cost {task.fields[cost]}{task.fields[rest]}")
        columns = (SpinnerColumn(), BarColumn(bar_width=16), text, TimeElapsedColumn())
        self._bar = Progress(*columns, console=self.console)
        self._cost0: float | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        self._task = self._bar.add_task("", total=self._total(), step="0", cost="-", rest="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, record: StepRecord) -> None:
        """Show one accepted step."""
        if self._task is None:
            return
        rest = f"  {self.predicted_name} {record.predicted:.1e}"
        if record.held_out is not None:
            rest += f"  held-out {record.held_out:.1e}"
        done = self._won(record.cost)
        self._bar.update(self._task, completed=done, step=str(record.step), cost=f"{record.cost:.2e}", rest=rest)

    def _total(self) -> float | None:
        return 1.0 if self.target_cost is not None and self.target_cost > 0.0 else None

    def _won(self, cost: float) -> float:
        if self._cost0 is None:
            self._cost0 = cost
        target = self.target_cost
        if not target or not 0.0 < target < self._cost0 or not cost > 0.0:
            return 0.0
        return min(1.0, max(0.0, math.log(self._cost0 / cost) / math.log(self._cost0 / target)))
