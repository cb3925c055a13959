"""How much memory a run takes: what was planned before each large piece of work, and what the process held at most.

On the host this is resident memory, which counts what torch's kernels and a library's first call take too; on CUDA it
is what torch's allocator has given out.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

LEAST_PLANNED = 2.0**20  # Bytes: less is not entered, as reading what is held takes some microseconds.
MB = 1e6  # Bytes.
MAPPING = 2**25 - 2**16  # Bytes: a little less than the largest mapping whose size glibc learns from.
RESET = b"5"  # To /proc/self/clear_refs: VmHWM, the peak of resident memory, starts anew (proc_pid_clear_refs(5)).
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096  # Bytes.


@dataclass
class Account:
    """The memory of one run, for each device: what was planned, and the peak.

    Attributes:
        begin: bytes held when the run began.
        planned: the most that was held, by then, together with a piece of work that was asked for, in bytes.
        peak: the most that was held at all, in bytes; complete when the account is closed.
    """

    begin: dict[torch.device, int]
    planned: dict[torch.device, float] = field(default_factory=dict)
    peak: dict[torch.device, int] = field(default_factory=dict)

    def planned_mb(self, device: torch.device) -> float:
        """Above what was held when the run began."""
        device = _place(device)
        return max(0.0, self.planned.get(device, 0.0) - self.begin.get(device, 0)) / MB

    def peak_mb(self, device: torch.device) -> float:
        """Above what was held when the run began."""
        device = _place(device)
        return max(0, self.peak.get(device, 0) - self.begin.get(device, 0)) / MB

    def add(self, n_bytes: float, device: torch.device) -> None:
        """A piece of work that needs `n_bytes` beside what is held."""
        self.planned[device] = max(self.planned.get(device, 0.0), held_bytes(device) + n_bytes)

    def keep_peak(self) -> None:
        """Called before the peaks of the process start anew, and when the account is closed."""
        self.peak = {device: max(self.peak.get(device, 0), _peak(device)) for device in {*self.begin, *self.planned}}


_open = list[Account]()
_highest = 0


@contextmanager
def accounting() -> Iterator[Account]:
    """Opens the account of a run. The peaks of the process, and of torch's allocators on CUDA, start anew here.

    Accounts may be open inside of others and in several threads; each counts what the whole process holds.
    """
    global _highest
    _highest = highest_bytes()
    for account in _open:
        account.keep_peak()
    devices = [torch.device("cpu"), *_cuda_devices()]
    for device in devices:
        _start_anew(device)
    account = Account({device: held_bytes(device) for device in devices})
    _open.append(account)
    try:
        yield account
    finally:
        account.keep_peak()
        _open[:] = [other for other in _open if other is not account]


def plan(n_bytes: float, device: torch.device) -> None:
    """Enters a piece of work into the accounts that are open, before it is done."""
    if n_bytes >= LEAST_PLANNED:
        device = _place(device)
        for account in tuple(_open):
            account.add(n_bytes, device)


@cache
def keep_freed_memory() -> None:
    """Lets the C library keep freed memory, up to 64 MB, for the next tensors: fresh pages cost a tenth of a step.

    glibc returns less to the system once it has seen a program free a large mapping (mallopt(3), M_MMAP_THRESHOLD and
    M_TRIM_THRESHOLD). This one is never touched, so that it takes no memory. With another C library nothing changes.
    """
    torch.empty(MAPPING, dtype=torch.uint8, device="cpu")


def held_bytes(device: torch.device) -> int:
    """What the process holds now: resident memory, or what torch's allocator has given out."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return _most_resident()
    try:
        return int(os.read(statm, 128).split()[1]) * PAGE
    finally:
        os.close(statm)


def highest_bytes() -> int:
    """The most resident memory of the process since it began, also where accounts have started its peak anew."""
    return max(_highest, _peak(torch.device("cpu")))


def _place(device: torch.device) -> torch.device:
    """The device with its number, by which it is known here."""
    return torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device


def _cuda_devices() -> list[torch.device]:
    """Those that torch has begun to use; of others it has no statistics."""
    devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [device for device in devices if torch.cuda.memory_stats(device)]


def _start_anew(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError), Path("/proc/self/clear_refs").open("wb", buffering=0) as references:
        references.write(RESET)


def _peak(device: torch.device) -> int:
    """The most that was held since the peak started anew."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError), Path("/proc/self/status").open("rb", buffering=0) as status:
        return int(status.read().split(b"VmHWM:", 1)[1].split(None, 1)[0]) * 1024
    return _most_resident()


def _most_resident() -> int:
    """Where there is no /proc: the peak since the process began; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else most * 1024
