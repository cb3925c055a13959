"""What a computation may cost: free memory, sizes up to which matrices are formed and factorised, and time.

Every allocation that grows with m², K² or m·K is held against the budget first. The sizes are those measured on CPUs
(docs/decisions.md); another device may get another profile here, and nowhere else.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from geodescent._errors import MemoryPlanError

FRACTION = 0.6  # Share of the free memory that is used; the rest is for what allocations bring with them.
FLOPS_A_SECOND = 5e9  # Rate of the slowest decompositions on two CPU cores; where it is higher, work is over earlier.
READ_EVERY = 0.05  # Seconds between readings of the free memory: touching what could matter takes longer.

LINEARISATION, FORWARD_PASS, PRODUCT = "linearisation", "forward pass", "product"
"""Pieces of work whose seconds are measured, because a model may be slower than its flops say."""


@dataclass(frozen=True)
class Budget:
    """The sizes that choices are made by.

    Attributes:
        free_bytes: memory taken to be free; None asks the device.
        tile_rows: rows of one tile of a Gram matrix. Tiles of 256 rows and their buffers stay near the cores.
        rows_numbers: numbers of rows of D that are formed at once; 2²⁴ are 128 MB in float64.
        batch_bytes: bytes of derivatives of single samples that are taken at once.
        factor_order: the largest Gram or normal matrix that a descent factorises.
        exact_order: the same where solves must be exact, as in a flow.
        spectrum_order: the largest matrix that is diagonalised for a spectrum.
        spectrum_numbers, spectrum_flops: D is decomposed up to this size m·K and this m·K·min(m, K): some seconds.
        hessian_order: the largest K at which ∇²C is formed.
    """

    free_bytes: int | None = None
    tile_rows: int = 256
    rows_numbers: int = 2**24
    batch_bytes: int = 2**28
    factor_order: int = 3000
    exact_order: int = 6000
    spectrum_order: int = 3000
    spectrum_numbers: float = 2e7
    spectrum_flops: float = 3e10
    hessian_order: int = 1500


@dataclass
class Deadline:
    """When work is to be over.

    Attributes:
        at: by `time.perf_counter`.
        remedy: a sentence that says how people get what was left out.
        left_out: what was not begun because it would have ended later.
        seconds: name of a piece of work → how long it took when it was last done, by `measuring`.
    """

    at: float = math.inf
    remedy: str = ""
    left_out: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


DEFAULT = Budget()
_current: ContextVar[Budget | None] = ContextVar("budget", default=None)
_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def budget() -> Budget:
    """The budget that holds here."""
    return _current.get() or DEFAULT


@contextmanager
def spending(limits: Budget) -> Iterator[None]:
    """Makes a budget hold inside the block, in this thread or task alone."""
    token = _current.set(limits)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def within(seconds: float | None, *, remedy: str = "gd.certify takes the time it needs.") -> Iterator[Deadline]:
    """Makes a deadline hold inside the block, in this thread or task alone; None for as long as it takes.

    Args:
        remedy: a sentence that says how people get what is left out for want of time.
    """
    deadline = Deadline(math.inf if seconds is None else time.perf_counter() + seconds, remedy)
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)


@contextmanager
def measuring(piece: str) -> Iterator[None]:
    """Measures what is done inside the block: `in_time` takes each more of its kind to last as long.

    Args:
        piece: `LINEARISATION`, `FORWARD_PASS`, or `PRODUCT`, which is one with D and one with Dᵀ.
    """
    begin = time.perf_counter()
    yield
    deadline = _deadline.get()
    if deadline is not None:
        deadline.seconds[piece] = time.perf_counter() - begin


def in_time(
    flops: float, what: str, *, linearisations: float = 0.0, forward_passes: float = 0.0, products: float = 0.0
) -> bool:
    """Whether work would be over by the deadline; if not, it is noted as left out.

    Args:
        flops: of the work.
        what: a name for people, such as "the margin".
        linearisations, forward_passes, products: how many of these the work takes; a kind that was not measured yet
            counts as nothing.
    """
    deadline = _deadline.get()
    if deadline is None:
        return True
    counts = {LINEARISATION: linearisations, FORWARD_PASS: forward_passes, PRODUCT: products}
    measured = sum(count * deadline.seconds.get(piece, 0.0) for piece, count in counts.items())
    if max(flops / FLOPS_A_SECOND, measured) <= deadline.at - time.perf_counter():
        return True
    deadline.left_out.append(what)
    return False


def has_deadline() -> bool:
    """Whether work is to be over at some time, so that it is worth measuring."""
    deadline = _deadline.get()
    return deadline is not None and math.isfinite(deadline.at)


def left_out() -> str | None:
    """A sentence that says what was left out so far for want of time, and how to get it."""
    deadline = _deadline.get()
    if deadline is None or not deadline.left_out:
        return None
    return f"for want of time left out: {', '.join(deadline.left_out)}; {deadline.remedy}"


def available_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes: by the driver on CUDA, else MemAvailable within the cgroup's limit."""
    assumed = budget().free_bytes
    if assumed is not None:
        return assumed
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _host_bytes(int(time.monotonic() / READ_EVERY))


def allowed_bytes(device: torch.device) -> float:
    """How large an allocation may be to be safe."""
    return FRACTION * available_bytes(device)


def fits(n_bytes: float, device: torch.device) -> bool:
    """Whether an allocation of `n_bytes` is safe."""
    return n_bytes <= allowed_bytes(device)


def require(n_bytes: float, device: torch.device, *, what: str, instead: str) -> None:
    """Raises MemoryPlanError unless `n_bytes` fit, before the system's out-of-memory killer could end the process."""
    if not fits(n_bytes, device):
        free = available_bytes(device) / 1e9
        raise MemoryPlanError(
            f"{what} needs {n_bytes / 1e9:.2f} GB, and {FRACTION:.0%} of the {free:.2f} GB free are allowed. {instead}"
        )


@lru_cache(maxsize=1)
def _host_bytes(tick: int) -> int:
    """Read once a tick: a small step asks several times, and each reading costs as much as a product."""
    return min(limit for limit in (_meminfo(), _cgroup()) if limit > 0)


def _meminfo() -> int:
    path = Path("/proc/meminfo")
    if not path.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _cgroup() -> int:
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not (limit.exists() and used.exists()) or limit.read_text().strip() == "max":
        return 0
    return max(1, int(limit.read_text()) - int(used.read_text()))
