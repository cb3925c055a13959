"""A module whose parameters are other tensors for a while: in one thread at a time, with all derivatives taken inside.

What reads the parameters after the forward pass, as a checkpoint that computes a segment again during the backward
pass, reads those at which D is taken.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.backends import cuda

Answer = TypeVar("Answer")


def standing(model: nn.Module, parameters: dict[str, Tensor], ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns while the model's parameters are these, by name; inside a block of `alone`."""
    modules, kept = dict(model.named_modules()), list[tuple[dict[str, Any], str, Any]]()
    with math_attention():
        try:
            for name, tensor in parameters.items():
                path, _, own = name.rpartition(".")
                held: dict[str, Any] = modules[path]._parameters
                kept.append((held, own, held[own]))
                held[own] = tensor
            return ask()
        finally:
            for held, own, tensor in kept:
                held[own] = tensor


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Other threads wait for the modules that hold the model's parameters: setting these is seen by all threads."""
    locks = [_lock_of(module) for module in sorted((m for m in model.modules() if m._parameters), key=id)]
    for lock in locks:  # always in the same order, so that no two threads wait for each other
        lock.acquire()
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def _lock_of(module: nn.Module) -> Any:
    lock = _locks.get(module)
    if lock is None:
        with _attention.lock:  # two threads must not make two locks
            lock = _locks.setdefault(module, threading.RLock())
    return lock


@contextmanager
def math_attention() -> Iterator[None]:
    """Attention by the one kernel with derivatives of every kind; the setting is the process's, so threads share it."""
    _attention.enter()
    try:
        yield
    finally:
        _attention.leave()


KERNELS: tuple[tuple[Callable[[], bool], Callable[[bool], None]], ...] = (
    (cuda.math_sdp_enabled, cuda.enable_math_sdp),
    (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
)
"""The kernels of attention, of every device: whether each may be used, and how to say so."""


class _Shared:
    """The choice of the attention kernel, from the first block that wants it to the end of the last."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock, self._blocks, self._found = threading.Lock(), 0, list[bool]()

    def enter(self) -> None:
        with self.lock:
            if self._blocks == 0:
                self._found = [is_enabled() for is_enabled, _ in KERNELS]
                for _, enable in KERNELS:
                    enable(enable is cuda.enable_math_sdp)
            self._blocks += 1

    def leave(self) -> None:
        with self.lock:
            self._blocks -= 1
            if self._blocks == 0:
                for (_, enable), found in zip(KERNELS, self._found, strict=True):
                    enable(found)


_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_attention = _Shared()


def _forked() -> None:
    """In a forked process the threads that held a lock are gone."""
    _locks.clear()
    _attention.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
