"""How many threads a run computes with: on a machine that others use, threads that wait for each other cost most."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch

BEFORE_A_LOOK = 0.5  # Seconds of a run before its threads are looked at: short runs are over by then.
LOOK_AGAIN = 20.0  # Seconds between two looks: others come and go, and a look takes some hundredths of one.
ORDER, NUMBERS = 256, 2**17  # Of the product, and of the elementwise function, by which threads are compared.
TRIES = 5  # Measurements with each number of threads; their medians are compared.


class SuitedThreads:
    """One thread where several are slower, measured now and then; the user's number otherwise.

    Attributes:
        own: the number of threads that torch is set to.
        changed: whether the run has computed with one thread for a while.
    """

    def __init__(self) -> None:
        self.own, self.changed = torch.get_num_threads(), False
        self._next = time.perf_counter() + BEFORE_A_LOOK

    def look(self) -> None:
        """Measures, where it is time to, and sets the number of threads."""
        if self.own == 1 or time.perf_counter() < self._next:
            return
        alone, together = _seconds(1), _seconds(self.own)
        best = 1 if alone < together else self.own
        torch.set_num_threads(best)
        self.changed = self.changed or best == 1
        self._next = time.perf_counter() + LOOK_AGAIN

    @property
    def sentence(self) -> str | None:
        """What people are told, if anything was changed."""
        if not self.changed:
            return None
        return (
            f"Others compute on this machine: one thread was faster than torch's {self.own}, and was used in this run. "
            "torch.set_num_threads(1) keeps it so."
        )


@contextmanager
def suited_threads() -> Iterator[SuitedThreads]:
    """Whatever the number of threads becomes inside the block, it is the user's again afterwards."""
    threads = SuitedThreads()
    try:
        yield threads
    finally:
        if torch.get_num_threads() != threads.own:
            torch.set_num_threads(threads.own)


def _seconds(threads: int) -> float:
    """Of a product and an elementwise function with so many threads."""
    torch.set_num_threads(threads)
    a = torch.ones(ORDER, ORDER, dtype=torch.float64, device="cpu")
    b = torch.ones(NUMBERS, dtype=torch.float64, device="cpu")
    seconds = list[float]()
    for _ in range(TRIES):
        begin = time.perf_counter()
        a @ a
        b.tanh()
        seconds.append(time.perf_counter() - begin)
    return median(seconds)
