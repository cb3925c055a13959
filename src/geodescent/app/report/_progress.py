"""Progress on standard error: a bar on a terminal, a line every few seconds elsewhere, a line a step where asked."""

import math
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from geodescent._record import StepRecord

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

EVERY_SECONDS_OF_A_LINE = (
    5.0  # Between two lines where nobody sees a bar: a log stays short, and shows that work goes on.
)


@dataclass
class ProgressBar:
    """A callback, to be used in a `with` statement; one line of at most 80 columns.

    Args:
        predicted_name: what the record's `predicted` is called.
        target_cost: where the bar ends, on a log scale from the first cost seen.
        until: the time at which it ends where no cost is aimed at; with neither, the bar has no end.
        verbose: whether each step has a line of its own.
        console: where it is drawn; standard error by default.
    """

    predicted_name: str
    target_cost: float | None = None
    until: float | None = None
    verbose: bool = False
    console: "Console" = field(default_factory=lambda: _standard_error())

    def __post_init__(self) -> None:
        """Lay the columns out; nothing is drawn yet."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(bar_width=10), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._drawn = self.console.is_terminal and not self.verbose
        self._bar = Progress(*columns, console=self.console, disable=not self._drawn)
        self._task: TaskID = self._bar.add_task("first step …", total=1.0 if self.target_cost or self.until else None)
        self._cost0: float | None = None
        self._said = -math.inf

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, record: StepRecord) -> None:
        """Show one accepted step."""
        costs = [("measured", record.cost), (self.predicted_name, record.predicted)]
        costs += [] if record.validation_cost is None else [("validation", record.validation_cost)]
        shown = "  ".join(f"{name} {cost:.1e}" for name, cost in costs if math.isfinite(cost))
        self.say(f"step {record.step}  {shown}", completed=self._share(record))

    def say(self, text: str, *, completed: float = 0.0) -> None:
        """Show what is being done.

        Args:
            completed: share of the way that lies behind.
        """
        if self._drawn:
            self._bar.update(self._task, completed=completed, description=text)
        elif self.verbose or time.monotonic() - self._said >= EVERY_SECONDS_OF_A_LINE:
            self._said = time.monotonic()
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _share(self, record: StepRecord) -> float:
        """Of the way to the target that lies behind, between 0 and 1."""
        self._cost0 = record.cost if self._cost0 is None else self._cost0
        if self.target_cost and 0.0 < self.target_cost < self._cost0 and record.cost > 0.0:
            won = math.log(self._cost0 / record.cost) / math.log(self._cost0 / self.target_cost)
            return min(1.0, max(0.0, won))
        return min(1.0, record.time / self.until) if self.until else 0.0


def _standard_error() -> "Console":
    """Rich is imported when something is shown, and not for the help."""
    from rich.console import Console

    return Console(stderr=True)
