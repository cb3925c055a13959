"""How many threads a run computes with: on a machine that others use, threads that wait for each other cost most."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

BEFORE_A_LOOK = 0.5  # Seconds of a run before its threads are compared, where nothing says who else computes.
COUNT_AGAIN = 1.0  # Seconds between two counts of those who compute: a count takes a tenth of a millisecond.
LOOK_AGAIN = 20.0  # Seconds between two comparisons: others come and go, and each takes some hundredths of one.
ORDER, NUMBERS = 256, 2**17  # Of the product, and of the elementwise function, by which threads are compared.
FEW_ROWS = (
    1500  # Of a matrix that one thread factors nearly as fast as two; on a busy machine two took ten times as long.
)
TRIES = 5  # Measurements with each number of threads; their medians are compared.


class SuitedThreads:
    """One thread where several are slower, measured now and then; the user's number otherwise.

    Attributes:
        own: the number of threads that torch is set to.
        changed: whether the run has computed with one thread for a while.
    """

    def __init__(self) -> None:
        self.own, self.changed = torch.get_num_threads(), False

    def look(self) -> None:
        """Compares one thread with the user's number, where others compute or did, and sets the faster one."""
        if self.own == 1:
            return
        if time.perf_counter() >= _here.next:
            _here.is_one, wait = self._compared()
            _here.next = time.perf_counter() + wait
        torch.set_num_threads(1 if _here.is_one else self.own)
        self.changed = self.changed or _here.is_one

    def _compared(self) -> tuple[bool, float]:
        """Whether one thread is faster, and for how many seconds that is taken to be so."""
        others = _others()
        if others is None and not _here.next:
            return False, BEFORE_A_LOOK
        if others is not None and others + self.own <= _cores() and not _here.is_one:
            return False, COUNT_AGAIN
        return _seconds(1) < _seconds(self.own), LOOK_AGAIN

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
    """A look at the beginning; whatever the number of threads becomes inside, it is the user's again afterwards.

    A block inside another is the same one.
    """
    if _here.block is not None:
        yield _here.block
        return
    threads = _here.block = SuitedThreads()
    try:
        threads.look()
        yield threads
    finally:
        _here.block = None
        if torch.get_num_threads() != threads.own:
            torch.set_num_threads(threads.own)


@contextmanager
def one_thread_for_few(n_rows: int) -> Iterator[None]:
    """One thread inside the block for matrices of few rows, whatever others compute: two runs agree bit for bit."""
    own = torch.get_num_threads()
    if n_rows > FEW_ROWS or own == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(own)


class _Here(threading.local):
    """What was found last in this thread of Python.

    Attributes:
        block: the one that runs.
        is_one: whether one thread was faster.
        next: when this is looked at again; 0 before the first time.
    """

    block: SuitedThreads | None = None
    is_one: bool = False
    next: float = 0.0


_here = _Here()


def _others() -> int | None:
    """How many threads of other processes compute at this moment, as Linux counts them; None where it is not known."""
    try:
        computing = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc/self/task").glob("*/stat")]
    except (OSError, ValueError, IndexError):
        return None
    return max(0, computing - states.count("R"))


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
