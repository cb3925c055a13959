"""What a computation may cost: free memory, and sizes up to which matrices are formed and factorised.

Every allocation that grows with m², K² or m·K is held against the budget first. The sizes are those measured on CPUs
(docs/decisions.md); another device may get another profile here, and nowhere else.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from geodescent._errors import MemoryPlanError
from geodescent._memory import plan

FRACTION = 0.6  # Share of the free memory that is used; the rest is for what allocations bring with them.
READ_EVERY = 0.05  # Seconds between readings of the free memory: touching what could matter takes longer.


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


DEFAULT = Budget()
_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


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


def available_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes: on CUDA what the driver and torch's own cache have, else MemAvailable
    within the cgroup's limit."""
    assumed = budget().free_bytes
    if assumed is not None:
        return assumed
    tick = int(time.monotonic() / READ_EVERY)
    return _cuda_bytes(device, tick) if device.type == "cuda" else _host_bytes(tick)


def allowed_bytes(device: torch.device) -> float:
    """How large an allocation may be to be safe."""
    return FRACTION * available_bytes(device)


def fits(n_bytes: float, device: torch.device) -> bool:
    """Whether an allocation of `n_bytes` is safe."""
    return n_bytes <= allowed_bytes(device)


def reserved(n_bytes: float, device: torch.device) -> bool:
    """The same of one that is made now: it enters the plan of the run, `stats["planned_mb"]`."""
    if fits(n_bytes, device):
        plan(n_bytes, device)
        return True
    return False


def require(n_bytes: float, device: torch.device, *, what: str, instead: str) -> None:
    """Raises MemoryPlanError unless `n_bytes` are reserved, before the out-of-memory killer could end the process."""
    if not reserved(n_bytes, device):
        raise too_large(n_bytes, device, what=what, instead=instead)


def too_large(n_bytes: float, device: torch.device, *, what: str, instead: str) -> MemoryPlanError:
    """The error that tells what does not fit."""
    free = available_bytes(device) / 1e9
    return MemoryPlanError(
        f"{what} needs {n_bytes / 1e9:.2f} GB, and {FRACTION:.0%} of the {free:.2f} GB free are allowed. {instead}"
    )


@lru_cache(maxsize=1)
def _host_bytes(tick: int) -> int:
    """Read once a tick: a small step asks several times, and each reading costs as much as a product."""
    return min(limit for limit in (_meminfo(), _cgroup()) if limit > 0)


@lru_cache(maxsize=8)
def _cuda_bytes(device: torch.device, tick: int) -> int:
    """The same of a CUDA device: to the driver what torch has cached for its next tensors is taken."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


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
