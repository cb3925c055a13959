"""Run folders: what a run needs to be opened again as an ordinary module, each file written whole or not at all."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from geodescent._errors import InputError
from geodescent._record import StepRecord
from geodescent.app._networks import NetworkChoice
from geodescent.app._scaling import Scaling
from geodescent.app._tables import Split, SplitTable, load_table


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
        """The table with this run's split."""
        return SplitTable(load_table(self.config.table.name), Split(self.train_index, self.test_index))

    def training_tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y that the run was trained on."""
        return self.table.tensors(self.train_index, dtype=self.config.network.torch_dtype)


def load(path: str | os.PathLike[str]) -> Run:
    """The run in that folder, its module on the CPU and in evaluation mode.

    Raises:
        InputError: no folder, no run in it, or a run that was not finished.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"No run folder at {folder}.")
    config, rows = _read_config(folder), _read_json(folder, "split.json")
    model = config.model()
    _put_weights(model, folder, config)
    return Run(
        path=folder,
        config=config,
        model=model.eval(),
        train_index=np.array(rows["train"], dtype=np.int64),
        test_index=np.array(rows["test"], dtype=np.int64),
        history=read_history(folder / "history.jsonl"),
    )


def read_history(path: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of history.jsonl, NaN where a record says null; a torn last line is dropped.

    What a record says of several blocks of rows becomes a column for each, as `block_rms.data`.
    """
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    records = [_flat(json.loads(line)) for line in lines]
    columns = records[0].keys() if records else ()
    return {name: np.array([record[name] for record in records], dtype=np.float64) for name in columns}


def _flat(record: dict[str, Any]) -> dict[str, float]:
    nested = {name: value for name, value in record.items() if isinstance(value, dict)}
    plain = {name: value for name, value in record.items() if name not in nested}
    return plain | {f"{name}.{key}": entry for name, value in nested.items() for key, entry in value.items()}


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run under way; it comes into being with the first record or the result."""

    path: Path
    config: Config
    split: Split

    def append(self, record: StepRecord) -> None:
        """One line of history.jsonl for an accepted step, a dataclass of numbers."""
        self._begin()
        with (self.path / "history.jsonl").open("a") as history:
            history.write(strict_json(dataclasses.asdict(record)) + "\n")

    def finish(self, model: nn.Module, *, certificate: Mapping[str, object], curve: bytes) -> None:
        """The weights, the certificate and the picture; weights last, for they mark the run as finished."""
        self._begin()
        write_whole(self.path / "certificate.json", _encode(certificate))
        write_whole(self.path / "curve.png", curve)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        write_whole(self.path / "weights.safetensors", save(state))

    def _begin(self) -> None:
        if (self.path / "config.json").exists():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        rows = {"train": self.split.train.tolist(), "test": self.split.test.tolist()}
        write_whole(self.path / "split.json", _encode(rows))
        write_whole(self.path / "config.json", _encode(dataclasses.asdict(self.config)))


def free_folder(out: str | None, *, name: str) -> Path:
    """The folder asked for, or `runs/NAME-DATE-TIME`.

    Raises:
        InputError: it holds a run already, or is a file.
    """
    wanted = Path(out) if out is not None else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    if (wanted / "config.json").exists():
        raise InputError(f"{wanted} holds a run already: remove it or choose another folder with --out.")
    if wanted.exists() and not wanted.is_dir():
        raise InputError(f"{wanted} is a file: choose a folder with --out.")
    return wanted


def write_whole(path: Path, content: bytes) -> None:
    """The file with this content, or the file as it was: a crash leaves no half of one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


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


def _encode(value: object) -> bytes:
    return (strict_json(value, indent=1) + "\n").encode()


def _read_json(folder: Path, name: str) -> Any:
    file = folder / name
    if not file.exists():
        raise InputError(f"{folder} is no run folder: it has no {name}.")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}.") from error


def _read_config(folder: Path) -> Config:
    entries = _read_json(folder, "config.json")
    missing = [field.name for field in dataclasses.fields(Config) if field.name not in entries]
    if missing:
        raise InputError(f"{folder / 'config.json'} lacks {', '.join(missing)}: it is of another version or not whole.")
    try:
        table, network = TableFacts(**entries["table"]), NetworkChoice(**entries["network"])
        classes, features = tuple(table.class_names), tuple(table.feature_names)
        table = dataclasses.replace(table, class_names=classes, feature_names=features)
        network = dataclasses.replace(network, hidden=tuple(network.hidden))
    except TypeError as error:
        raise InputError(f"{folder / 'config.json'} is of another version: {error}.") from error
    rest = {field.name: entries[field.name] for field in dataclasses.fields(Config)}
    return Config(**(rest | {"table": table, "network": network}))


def _put_weights(model: nn.Module, folder: Path, config: Config) -> None:
    file = folder / "weights.safetensors"
    if not file.exists():
        raise InputError(f"{folder} holds a run that was not finished: it has no {file.name}.")
    try:
        model.load_state_dict(load_file(file))
    except SafetensorError as error:
        raise InputError(f"{file} cannot be read: {error}.") from error
    except RuntimeError as error:
        raise InputError(f"{file} does not fit the network {config.widths} of config.json: {error}") from error
