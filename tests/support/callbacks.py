"""Callbacks that end a run, and a clock that a test moves by itself."""

from collections.abc import Callable

import geodescent as gd


def stop_after(steps: int, error: type[BaseException] = StopIteration) -> Callable[[gd.StepRecord], None]:
    """Raises after so many steps."""

    def callback(record: gd.StepRecord) -> None:
        if record.step >= steps:
            raise error

    return callback


class Clock:
    """Stands in the place of a clock of `time`: it stands still until somebody moves it.

    As a callback it moves by `step` seconds with each record.
    """

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def read(self) -> float:
        return self.now

    def __call__(self, record: gd.StepRecord) -> None:
        self.now += self.step
