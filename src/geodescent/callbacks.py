"""Callbacks that are ready to use: `gd.fit(model, X, y, callback=gd.callbacks.TensorBoard("runs/x"))`.

A callback is any function of a `StepRecord`; it is called after each accepted step, and StopIteration ends the run.
"""

import math
import os
from importlib import import_module
from typing import Protocol

from geodescent._record import StepRecord

__all__ = ["ScalarWriter", "TensorBoard"]

SHOWN = ("cost", "predicted", "validation_cost", "damping", "gain_ratio", "rank")
"""Fields of a record that become curves, where they are known."""


class ScalarWriter(Protocol):
    """What a `torch.utils.tensorboard.SummaryWriter` has."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Adds a point to a curve."""
        ...

    def flush(self) -> None:
        """Writes what was added."""
        ...


class TensorBoard:
    """Writes the numbers of each step for TensorBoard: cost, C_lin, validation cost, damping, gain ratio, rank, blocks.

        gd.fit(model, X, y, callback=gd.callbacks.TensorBoard("runs/first"))      # then: tensorboard --logdir runs

    Args:
        log: a folder, or a writer of your own, such as `torch.utils.tensorboard.SummaryWriter`.
        prefix: of the names of the curves.

    Raises: ImportError, where a folder is given and tensorboard is not installed.
    """

    def __init__(self, log: str | os.PathLike[str] | ScalarWriter, *, prefix: str = "fit") -> None:
        self.writer = _writer(log) if isinstance(log, str | os.PathLike) else log
        self.prefix = prefix

    def __call__(self, record: StepRecord) -> None:
        """Writes one accepted step."""
        values = {name: getattr(record, name) for name in SHOWN}
        values |= {f"block_rms/{name}": rms for name, rms in record.block_rms.items()}
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                self.writer.add_scalar(f"{self.prefix}/{name}", float(value), record.step)
        self.writer.flush()


def _writer(folder: str | os.PathLike[str]) -> ScalarWriter:
    try:
        tensorboard = import_module("torch.utils.tensorboard")
    except ImportError:
        raise ImportError(
            "gd.callbacks.TensorBoard writes with tensorboard, which is missing: pip install tensorboard, or pass a "
            "writer that has add_scalar and flush."
        ) from None
    writer: ScalarWriter = tensorboard.SummaryWriter(os.fspath(folder))
    return writer
