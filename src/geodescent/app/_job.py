"""A job of the command: a network at its start, its data, and the folder of its run."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import typer
from torch import nn

from geodescent._errors import InputError
from geodescent._record import StepRecord
from geodescent._version import __version__
from geodescent.app._networks import Dtype, NetworkChoice
from geodescent.app._runs import Config, RunFolder, TableFacts, named_folder
from geodescent.app._tables import SplitTable, prepare


@dataclass(frozen=True)
class Job:
    """A model at its start, with its data and the folder of its run.

    Attributes:
        notes: sentences on what could not be saved or shown; none of it ends the run.
    """

    table: SplitTable
    config: Config
    model: nn.Module
    folder: RunFolder
    notes: list[str] = field(default_factory=list)

    def record(self, record: StepRecord) -> None:
        """One line of the history, if it can be written."""
        with self.noting(f"history.jsonl in {self.folder.path} is not whole"):
            self.folder.append(record)

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Makes a note of an exception inside the block: the work is done, and its result must not be lost.

        Args:
            what: is lost, as a clause.
        """
        try:
            yield
        except Exception as error:
            if not any(note.startswith(what) for note in self.notes):
                self.notes.append(f"{what} ({type(error).__name__}: {error}).")

    @property
    def training(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y of the training part."""
        return self._tensors(self.table.split.train)

    @property
    def test(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y of the test part."""
        return self._tensors(self.table.split.test)

    def name(self) -> str:
        """Data and network in a few words."""
        return f"{self.config.table.name} · {self.config.widths} {self.config.network.activation}"

    def opening(self) -> str:
        """What is about to be trained on what."""
        facts, network = self.config.table, self.config.network
        kind = f"{facts.n_outputs} classes" if facts.class_names else "one real target"
        train, test = len(self.table.split.train), len(self.table.split.test)
        return (
            f"{self.name()} · {network.dtype} · {network.device} · seed {self.config.seed}\n"
            f"{facts.task} ({kind}): {train} samples to train, {test} to test (--test-size)"
        )

    def test_scores(self) -> dict[str, float]:
        """Accuracy, or rmse and r2, on the test part."""
        with torch.no_grad():
            outputs = self.model(self.test[0])
        return self.table.score(self.table.split.test, outputs)

    def _tensors(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.table.tensors(rows, dtype=self.config.network.torch_dtype, device=self.config.network.device)


def network_choice(data: str, hidden: str | None, activation: str, dtype: Dtype, device: str) -> NetworkChoice:
    """The network that the options name. Raises a usage error for widths, and InputError for a device."""
    widths = hidden if hidden is not None else "256,256" if data == "digits" else "64,64"
    try:
        numbers = tuple(int(width) for width in widths.split(",") if width.strip())
    except ValueError as error:
        raise typer.BadParameter(f"--hidden takes widths such as 64,64: got {widths!r}.") from error
    return NetworkChoice(numbers, activation, dtype, _device(device))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch sees no CUDA device here. Use --device cpu or auto.")
    if name != "cpu" and not name.startswith("cuda"):
        raise InputError(f"--device {name}: cpu, cuda, cuda:0 … or auto are known.")
    return name


@dataclass(frozen=True)
class JobOptions:
    """What the command was asked for, whatever it does with it.

    Attributes:
        data: name of the data set.
        network: hidden widths, activation, dtype and device.
        seed: of the split and of the start.
        test_size: fraction of the samples in the test part.
        out: the run's folder, or None for one of its own.
        more: the command's own options, kept in config.json.
    """

    data: str
    network: NetworkChoice
    seed: int
    test_size: float
    out: str | None
    more: Mapping[str, float | str | None]


def job_of(command: str, options: JobOptions) -> Job:
    """The job that these options ask for."""
    table = prepare(options.data, test_size=options.test_size, seed=options.seed)
    facts = TableFacts(options.data, table.table.task, table.table.class_names, table.table.feature_names)
    scalings = {"inputs": table.input_scaling.as_dict()}
    if table.target_scaling is not None:
        scalings["targets"] = table.target_scaling.as_dict()
    config = Config(
        command=command,
        table=facts,
        network=options.network,
        seed=options.seed,
        test_size=options.test_size,
        scalings=scalings,
        options=dict(options.more),
        versions={"geodescent": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    folder = RunFolder(named_folder(options.out, name=f"{options.data}-{command}"), config, table.split)
    return Job(table, config, config.model().to(options.network.device), folder)
