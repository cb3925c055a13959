"""A module whose parameters are other tensors for a while: in one thread at a time, with all derivatives taken inside.

What reads the parameters after the forward pass, as a checkpoint that computes a segment again during the backward
pass, reads those at which D is taken.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.backends import cuda, cudnn, mkldnn

Answer = TypeVar("Answer")


def standing(model: nn.Module, parameters: dict[str, Tensor], ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns while the model's parameters are these, by name; inside a block of `alone`."""
    recurrent, kept = [m for m in model.modules() if isinstance(m, nn.RNNBase)], list[tuple[dict[str, Any], str, Any]]()
    with differentiable_kernels(recurrent):
        try:
            for name, tensor in parameters.items():
                held, own = place_of(model, name)
                kept.append((held, own, held[own]))
                held[own] = tensor
            return ask()
        finally:
            for held, own, tensor in kept:
                held[own] = tensor
            for module in recurrent:
                module._init_flat_weights()  # the list of weights that it keeps beside its parameters


def place_of(model: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """The dict in which a module keeps the parameter of this name in the model, and its key there."""
    *path, own = name.split(".")
    for part in path:
        below = model._modules[part]
        assert below is not None
        model = below
    return model._parameters, own


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Other threads wait for the modules that hold the model's parameters: setting these is seen by all threads."""
    if any(model is other for other in _alone.models):  # inside such a block
        yield
        return
    locks = [_lock_of(module) for module in sorted((m for m in model.modules() if m._parameters), key=id)]
    for lock in locks:  # always in the same order, so that no two threads wait for each other
        lock.acquire()
    _alone.models.append(model)
    try:
        yield
    finally:
        _alone.models.pop()
        for lock in locks:
            lock.release()


def _lock_of(module: nn.Module) -> Any:
    lock = _locks.get(module)
    if lock is None:
        with _locks_made:  # two threads must not make two locks
            lock = _locks.setdefault(module, threading.RLock())
    return lock


@contextmanager
def differentiable_kernels(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Attention, and recurrent layers among these modules, by the kernels with derivatives of every kind.

    cuDNN has none of recurrent layers. On CUDA all digits of float32 are computed with: torch takes convolutions in
    TF32, with three, where two calls and a derivative cannot be compared. The settings are the process's, so threads
    share them.
    """
    wanted = [_always]
    if any(isinstance(module, nn.RNNBase) for module in modules):
        wanted.append(_recurrent)
    for switches in wanted:
        switches.enter()
    try:
        yield
    finally:
        for switches in wanted:
            switches.leave()


@contextmanager
def unrolled(model: nn.Module) -> Iterator[None]:
    """LSTMs of float32 by products and elementwise functions, which autograd's graph tells of, on a CPU too.

    oneDNN has one operation for all times, about twice as fast, which can be differentiated once.
    """
    if not any(isinstance(module, nn.LSTM) for module in model.modules()):
        yield
        return
    _unrolled.enter()
    try:
        yield
    finally:
        _unrolled.leave()


@dataclass(frozen=True)
class Switch:
    """A setting of torch.

    Attributes:
        get, put: read and set it.
        wanted: what it is to be.
    """

    get: Callable[[], object]
    put: Callable[..., None]
    wanted: object

    @classmethod
    def attribute(cls, holder: object, name: str, wanted: object) -> "Switch":
        """An attribute of one of torch's backends."""
        return cls(lambda: getattr(holder, name), lambda value: setattr(holder, name, value), wanted)


class Switches:
    """Settings of the process, from the first block that wants them to the end of the last."""

    def __init__(self, *switches: Switch) -> None:
        self._switches = switches
        self.reset()

    def reset(self) -> None:
        self._lock, self._blocks, self._found = threading.Lock(), 0, list[object]()

    def enter(self) -> None:
        with self._lock:
            if self._blocks == 0:
                self._found = [switch.get() for switch in self._switches]
                self._put([switch.wanted for switch in self._switches])
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                self._put(self._found)

    def _put(self, values: list[object]) -> None:
        for switch, value in zip(self._switches, values, strict=True):
            if switch.get() != value:
                switch.put(value)


def _all_digits() -> list[Switch]:
    """The precision of float32 on CUDA; by the names that torch gives it since 2.9, or before."""
    if torch.version.cuda is None:
        return []
    if hasattr(cudnn, "conv"):
        return [Switch.attribute(holder, "fp32_precision", "ieee") for holder in (cudnn.conv, cuda.matmul)]
    return [Switch.attribute(holder, "allow_tf32", False) for holder in (cudnn, cuda.matmul)]


_always = Switches(
    Switch(cuda.math_sdp_enabled, cuda.enable_math_sdp, True),
    Switch(cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False),
    Switch(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False),
    Switch(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False),
    *_all_digits(),
)
_recurrent = Switches(Switch.attribute(cudnn, "enabled", False))
_unrolled = Switches(Switch.attribute(mkldnn, "enabled", False))


class _Alone(threading.local):
    """The models of the blocks of `alone` in this thread."""

    def __init__(self) -> None:
        self.models = list[nn.Module]()


_alone = _Alone()
_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_locks_made = threading.Lock()


def _forked() -> None:
    """In a forked process the threads that held a lock are gone."""
    global _locks_made
    _locks_made = threading.Lock()
    _locks.clear()
    _always.reset()
    _recurrent.reset()
    _unrolled.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
