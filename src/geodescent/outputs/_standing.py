"""A module whose parameters are other tensors for a while: in one thread at a time, with all derivatives taken inside.

What reads the parameters after the forward pass, as a checkpoint that computes a segment again during the backward
pass, reads those at which D is taken.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Answer = TypeVar("Answer")


def standing(model: nn.Module, parameters: dict[str, Tensor], ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns while the model's parameters are these, by name; inside a block of `alone`."""
    modules, kept = dict(model.named_modules()), list[tuple[dict[str, Any], str, Any]]()
    with differentiable_kernels(model):
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
    with _locks_made:  # two threads must not make two locks
        return _locks.setdefault(module, threading.RLock())


@contextmanager
def differentiable_kernels(model: nn.Module) -> Iterator[None]:
    """Attention and recurrent layers by the kernels with derivatives of every kind, as cuDNN's of recurrent layers are
    not; the settings are the process's, so threads share them."""
    with ExitStack() as wanted:
        wanted.enter_context(_attention.held())
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            wanted.enter_context(_recurrent.held())
        yield


class _Shared:
    """A setting of the process, from the first block that wants it to the end of the last."""

    def __init__(self, setting: Callable[[], AbstractContextManager[None]]) -> None:
        self._setting = setting
        self.reset()

    def reset(self) -> None:
        self._lock, self._blocks, self._choice = threading.Lock(), 0, ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The setting, inside the block."""
        with self._lock:
            if self._blocks == 0:
                self._choice.enter_context(self._setting())
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if self._blocks == 0:
                    self._choice.close()


@contextmanager
def _without_cudnn() -> Iterator[None]:
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_locks_made = threading.Lock()
_attention = _Shared(lambda: sdpa_kernel(SDPBackend.MATH))
_recurrent = _Shared(_without_cudnn)


def _forked() -> None:
    """In a forked process the threads that held a lock are gone."""
    global _locks_made
    _locks_made = threading.Lock()
    _locks.clear()
    _attention.reset()
    _recurrent.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
