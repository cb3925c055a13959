"""Runs a job in a process of its own, with a bound on memory and a bound on time: nothing it does ends the table.

The processes are forked from a server that has imported everything and computed nothing.
"""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from job import Job, environment, execute

MEMORY_GB = 12.0
LOOK_SECONDS = 0.05
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the server finds these modules too
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["job"])


def line_of(job: Job, *, unit_seconds: float = 1.0) -> dict[str, Any]:
    """The line of a job: its figures, or the reason why it was ended; its budget is in units of so many seconds."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, theirs))
    process.start()
    theirs.close()
    reason = watched(process.pid or 0, ours, limit_seconds(job.budget * unit_seconds))
    figures = dict[str, Any]()
    if not reason:
        try:
            figures = ours.recv()
        except EOFError:
            process.join()
            reason = f"the process ended by itself with exit status {process.exitcode}"
    _end(process.pid or 0)
    process.join()
    return asdict(job) | environment(job) | ({"reason": reason} if reason else figures)


def limit_seconds(budget: float) -> float:
    """How long a run may take in all: warm-up or compilation, the budget, one step that began within it."""
    return 60.0 + 2.0 * budget


def watched(pid: int, answer: Connection, seconds: float) -> str:
    """Waits for the answer; the reason if memory or time ran out before."""
    end = time.monotonic() + seconds
    while not answer.poll(LOOK_SECONDS):
        if resident_gb(pid) > MEMORY_GB:
            return f"needs more than {MEMORY_GB:.0f} GB"
        if time.monotonic() > end:
            return f"did not end within {seconds:.0f} s"
    return ""


def resident_gb(pid: int) -> float:
    """Resident memory of a process and of those it started, in GB; 0 where /proc does not tell."""
    with suppress(OSError, ValueError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e9 + sum(resident_gb(int(child)) for child in children)
    return 0.0


def _work(job: Job, answer: Connection) -> None:
    """In the process: a group of its own, so that what it starts ends with it."""
    os.setsid()
    answer.send(execute(job))
    answer.close()


def _end(pid: int) -> None:
    """Ends the group of a process that was started here."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
