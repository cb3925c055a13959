"""Run folders: what a run needs to be opened again as an ordinary module."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import save
from torch import nn

from geodescent._errors import InputError
from geodescent._files import alone_in, append_line, require_writable, write_whole
from geodescent._record import StepRecord
from geodescent.app._networks import NetworkChoice
from geodescent.app._scaling import Scaling
from geodescent.app._tables import Split, SplitTable, load_table

CONFIG, SPLIT, HISTORY = "config.json", "split.json", "history.jsonl"
WEIGHTS, CERTIFICATE, CURVE = "weights.safetensors", "certificate.json", "curve.png"
FILES = (CONFIG, SPLIT, HISTORY, WEIGHTS, CERTIFICATE, CURVE)
"""What the folder of a run holds."""


@dataclass(frozen=True)
class TableFacts:
    """What a run keeps of its table.

    Attributes:
        name: of the data set.
        task: classification or regression.
        class_names: empty for a regression.
        feature_names: of the columns.
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]

    @property
    def n_outputs(self) -> int:
        """Q: one output per class, one for a regression."""
        return max(1, len(self.class_names))


@dataclass(frozen=True)
class Config:
    """Everything that rebuilds a run's network, data and scaling; the content of config.json.

    Attributes:
        command: that made the run.
        table: what is kept of its table.
        network: what was asked for.
        seed: of the split and of the start.
        test_size: fraction of the samples in the test part.
        scalings: `inputs`, and `targets` of a regression.
        options: of the command.
        versions: of the packages.
    """

    command: str
    table: TableFacts
    network: NetworkChoice
    seed: int
    test_size: float
    scalings: dict[str, dict[str, list[float]]]
    options: dict[str, Any]
    versions: dict[str, str]

    def model(self) -> nn.Sequential:
        """The network at its start, on the CPU."""
        return self.network.network(len(self.table.feature_names), self.table.n_outputs, self.seed)

    @property
    def widths(self) -> str:
        """The network's widths, such as 64-256-256-10."""
        widths = [len(self.table.feature_names), *self.network.hidden, self.table.n_outputs]
        return "-".join(map(str, widths))


@dataclass(frozen=True)
class Run:
    """A finished run: its module with the weights kept, and the data it was trained on."""

    path: Path
    config: Config
    model: nn.Module
    train_index: NDArray[np.int64]
    test_index: NDArray[np.int64]
    history: dict[str, NDArray[np.float64]]

    def inputs(self, raw: ArrayLike) -> torch.Tensor:
        """The module's inputs `(n, d)` of raw rows, by the scaling learnt in training.

        Raises:
            InputError: not d columns, or a value that is not finite.
        """
        rows, width = np.asarray(raw, dtype=np.float64), len(self.config.table.feature_names)
        if rows.ndim != 2 or rows.shape[1] != width:
            raise InputError(f"Raw rows of {self.config.table.name} have shape (n, {width}): got {rows.shape}.")
        if not np.isfinite(rows).all():
            raise InputError(f"Raw rows hold {np.count_nonzero(~np.isfinite(rows))} values that are not finite.")
        scaled = Scaling.from_dict(self.config.scalings["inputs"]).apply(rows)
        return torch.tensor(scaled, dtype=self.config.network.torch_dtype, device="cpu")

    @cached_property
    def table(self) -> SplitTable:
        """The table with this run's split. Raises InputError, where the table has not these rows."""
        table = load_table(self.config.table.name)
        rows = np.concatenate([self.train_index, self.test_index])
        if rows.min() < 0 or rows.max() >= len(table.inputs):
            raise InputError(
                f"{self.path / SPLIT} names rows from {rows.min()} to {rows.max()}, and {table.name} has "
                f"{len(table.inputs)} rows: it is of another table. Run the fit again."
            )
        return SplitTable(table, Split(self.train_index, self.test_index))

    def training_tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y that the run was trained on."""
        return self.table.tensors(self.train_index, dtype=self.config.network.torch_dtype)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run under way; it comes into being with the first record or the result."""

    path: Path
    config: Config
    split: Split

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs out of the folder inside the block; a folder that nothing came into is removed again.

        Raises: InputError, where the folder cannot be written to, another run is in it, or it holds files of a run.
        """
        made = not self.path.exists()
        require_writable(self.path, "the folder of the run")
        try:
            with alone_in(self.path):
                require_fresh(self.path)
                yield
        finally:
            if made:
                with suppress(OSError):  # something came into it
                    self.path.rmdir()

    def append(self, record: StepRecord) -> None:
        """One line of history.jsonl for an accepted step, a dataclass of numbers."""
        self._begin()
        append_line(self.path / HISTORY, strict_json(dataclasses.asdict(record)))

    def keep(self, model: nn.Module) -> None:
        """The weights, with which the run can be opened again."""
        self._begin()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        write_whole(self.path / WEIGHTS, save(state))

    def describe(self, *, certificate: Mapping[str, object], curve: bytes | None) -> None:
        """The certificate, and the picture where there is one."""
        self._begin()
        write_whole(self.path / CERTIFICATE, encoded(certificate))
        if curve is not None:
            write_whole(self.path / CURVE, curve)

    def _begin(self) -> None:
        if (self.path / CONFIG).exists():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        rows = {"train": self.split.train.tolist(), "test": self.split.test.tolist()}
        write_whole(self.path / SPLIT, encoded(rows))
        write_whole(self.path / CONFIG, encoded(dataclasses.asdict(self.config)))


def named_folder(out: str | None, *, name: str) -> Path:
    """The folder asked for, or `runs/NAME-DATE-TIME`.

    Raises:
        InputError: it holds files of a run already, or is a file.
    """
    wanted = Path(out) if out is not None else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    if wanted.exists() and not wanted.is_dir():
        raise InputError(f"{wanted} is a file: choose a folder with --out.")
    require_fresh(wanted)
    return wanted


def require_fresh(folder: Path) -> None:
    """Raises InputError, where the folder holds a run, or anything of the name of one of its files, links too."""
    if os.path.lexists(folder / CONFIG):
        raise InputError(f"{folder} holds a run already: remove it or choose another folder with --out.")
    stray = [name for name in FILES if os.path.lexists(folder / name)]
    if stray:
        raise InputError(
            f"{folder} holds {', '.join(stray)}, which a run would write: remove what is there, or choose another "
            "folder with --out."
        )


def strict_json(value: object, *, indent: int | None = None) -> str:
    """JSON without NaN and Infinity: null in their place."""
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, indent=indent)


def _plain(value: object) -> object:
    match value:
        case dict():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case np.ndarray() | np.generic() | torch.Tensor():
            return _plain(value.tolist())
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


def encoded(value: object) -> bytes:
    """The content of a JSON file."""
    return (strict_json(value, indent=1) + "\n").encode()
