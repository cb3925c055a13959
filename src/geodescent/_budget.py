"""How much memory there is: every allocation that grows with m², K² or mK is held against it first."""

import os
import time
from functools import lru_cache
from pathlib import Path

import torch

from geodescent._errors import MemoryPlanError

FRACTION = 0.6  # of what is free; the rest is for what the allocations bring with them
READ_EVERY = 0.05  # s; less than it takes to touch what could matter


def available_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes: by the driver on CUDA, else MemAvailable within the cgroup's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _host_bytes(int(time.monotonic() / READ_EVERY))


def fits(n_bytes: float, device: torch.device) -> bool:
    """Whether an allocation of `n_bytes` is safe."""
    return n_bytes <= FRACTION * available_bytes(device)


def require(n_bytes: float, device: torch.device, *, what: str, instead: str) -> None:
    """Raises MemoryPlanError unless `n_bytes` fit: never the kernel's out-of-memory killer."""
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
