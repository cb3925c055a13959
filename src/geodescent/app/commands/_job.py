"""What a command works on: a table made ready, the folder of its run, and what is said meanwhile."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from geodescent._errors import InputError
from geodescent._version import __version__
from geodescent.app._entries import Entries
from geodescent.app.fitted import Dtype, Mode, NetworkChoice, ScaledData, common_factor, standardise
from geodescent.app.report import Answer
from geodescent.app.runs import Config, DataFacts, RunFolder, digest_of
from geodescent.app.tables import PreparedTable

USUAL, OF_IMAGES = (64, 64), (256, 256)
"""Widths of the hidden layers: of tables, and of images, whose 64 pixels and ten classes ask for more."""


@dataclass(frozen=True)
class DataOptions:
    """Which table, and which parts of it.

    Attributes:
        data: name of the data set, or path of a file.
        target: name of the column to predict; None for the last one.
        task: "auto", "regression" or "classification".
        test_size: fraction of the rows in the test part.
        seed: of the split and of the start.
    """

    data: str
    target: str | None
    task: Literal["auto", "regression", "classification"]
    test_size: float
    seed: int


@dataclass(frozen=True)
class Job:
    """A command at work.

    Attributes:
        command: its name.
        asked: which table.
        table: made ready.
        folder: of the run.
        answer: where things are said.
        verbose: whether each step is said on a line of its own.
        notes: sentences on what could not be saved or shown; none of it ends the run.
    """

    command: str
    asked: DataOptions
    table: PreparedTable
    folder: RunFolder
    answer: Answer
    verbose: bool = False
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Makes a note of an exception inside the block: the work is done, and its result must not be lost.

        Args:
            what: is lost, as a sentence without its full stop.
        """
        try:
            yield
        except Exception as error:
            if not any(note.startswith(what) for note in self.notes):
                self.notes.append(f"{what} ({type(error).__name__}: {error}).")

    def begin(self, config: Config) -> None:
        """Writes what the run is, if it can be written."""
        with self.noting(f"The files config.json and split.json are not saved in {self.folder.path}"):
            self.folder.begin(config, self.table.split)

    def config(self, mode: Mode, options: Entries, network: NetworkChoice | None, scaled: ScaledData | None) -> Config:
        """What is kept of the run."""
        return Config(
            command=self.command,
            data=DataFacts(self.table.raw.name, self.digest(), self.asked.seed, self.asked.test_size),
            mode=mode,
            target=self.table.target,
            encoding=self.table.encoding,
            network=network,
            scaled=scaled,
            options=options,
            versions={"geodescent": __version__, "torch": torch.__version__, "python": platform.python_version()},
        )

    def digest(self) -> str:
        """Of the numbers of the table."""
        table = self.table
        return digest_of(table.target, table.encoding, table.inputs, table.targets.astype(np.float64))


@dataclass(frozen=True)
class ScaledTable:
    """The training part as a network takes it.

    Attributes:
        scaled: how.
        X, y: inputs (N, d) and targets (N, Q): one-hot classes, or the scaled value.
    """

    scaled: ScaledData
    X: torch.Tensor
    y: torch.Tensor

    @classmethod
    def of(cls, table: PreparedTable, choice: NetworkChoice) -> "ScaledTable":
        """One common factor for images, column by column otherwise."""
        inputs, targets = table.inputs[table.split.train], table.targets[table.split.train].astype(np.float64)
        scaling = common_factor(inputs) if table.raw.image else standardise(inputs)
        if table.target.classes:
            scaled, outputs = ScaledData(scaling, None), np.eye(len(table.target.classes))[targets.astype(np.int64)]
        else:
            of_target = standardise(targets[:, None])
            scaled, outputs = ScaledData(scaling, of_target), of_target.apply(targets[:, None])
        dtype, device = choice.torch_dtype, choice.device
        X = torch.tensor(scaling.apply(inputs), dtype=dtype, device=device)
        return cls(scaled, X, torch.tensor(outputs, dtype=dtype, device=device))


@dataclass(frozen=True)
class NetworkAsked:
    """The network that the options ask for; None leaves a choice to the table.

    Attributes:
        hidden: widths of the hidden layers.
        activation: between them.
        dtype, device: of parameters and data.
    """

    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    dtype: Dtype | None = None
    device: str | None = None

    def choice(self, table: PreparedTable) -> NetworkChoice:
        """The network for this table. Raises InputError for a device that cannot be.

        Where nobody chose: 256, 256 for images and 64, 64 else; GELU for numbers, which predicts noise-free rows more
        closely, and tanh for classes (docs/decisions.md).
        """
        hidden = self.hidden if self.hidden is not None else OF_IMAGES if table.raw.image else USUAL
        activation = self.activation or ("tanh" if table.target.classes else "gelu")
        return NetworkChoice(hidden, activation, self.dtype or "float64", _device(self.device or "auto"))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch sees no CUDA device here. Use --device cpu or auto.")
    if name != "cpu" and not name.startswith("cuda"):
        raise InputError(f"--device {name}: cpu, cuda, cuda:0 … or auto are known.")
    return name
