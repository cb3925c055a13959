"""Run folders are opened again: files that no run of this version has written are refused, and links not followed."""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from geodescent._errors import InputError
from geodescent._files import own_file
from geodescent.app._networks import NetworkChoice
from geodescent.app._runs import CONFIG, HISTORY, SPLIT, WEIGHTS, Config, Run, TableFacts, encoded
from geodescent.app._scaling import Scaling

Entries = dict[str, Any]


def load(path: str | os.PathLike[str]) -> Run:
    """The run in that folder, its module on the CPU and in evaluation mode.

    Raises:
        InputError: no folder, no run in it, a run that was not finished, or files that no run of this version wrote.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path is a {type(path).__name__}: the path of a run's folder is needed.")
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"No run folder at {folder}.")
    config = _read_config(folder)
    train, test = _read_split(folder)
    with _as_written(folder / CONFIG):
        model = config.model()
    _put_weights(model, folder, config)
    return Run(
        path=folder,
        config=config,
        model=model.eval(),
        train_index=train,
        test_index=test,
        history=read_history(folder / HISTORY),
    )


def read_history(path: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of history.jsonl, NaN where a record says null; a torn last line is dropped.

    What a record says of several blocks of rows becomes a column for each, as `block_rms.data`.
    """
    lines = path.read_text().split("\n")[:-1] if own_file(path) else []
    with _as_written(path):
        records = [_flat(json.loads(line)) for line in lines]
        columns = records[0].keys() if records else ()
        if any(record.keys() != columns for record in records):
            raise ValueError("its lines have different entries")
        return {name: np.array([record[name] for record in records], dtype=np.float64) for name in columns}


def _flat(record: Entries) -> Entries:
    if not {"step", "cost"} <= record.keys():
        raise ValueError("a line is no record of a step")
    nested = {name: value for name, value in record.items() if isinstance(value, dict)}
    plain = {name: value for name, value in record.items() if name not in nested}
    return plain | {f"{name}.{key}": entry for name, value in nested.items() for key, entry in value.items()}


@contextmanager
def _as_written(file: Path) -> Iterator[None]:
    """Makes an InputError of whatever goes wrong when the contents of a file are used as those of a run."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} is of another version, or was changed ({type(error).__name__}: {error}). Run the fit again."
        ) from error


def _read_json(folder: Path, name: str) -> Entries:
    file = folder / name
    if not own_file(file):
        raise InputError(f"{folder} is no run folder: it has no {name}.")
    try:
        entries = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}.") from error
    with _as_written(file):
        return dict(entries)


def _read_split(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training part and of the test part."""
    rows = _read_json(folder, SPLIT)
    with _as_written(folder / SPLIT):
        train, test = (np.array(rows[part]) for part in ("train", "test"))
        both = np.concatenate([train, test])
        if both.dtype.kind != "i" or both.ndim != 1 or len(np.unique(both)) < len(both) or not len(train):
            raise ValueError("train and test are no two lists of different row numbers")
        return train.astype(np.int64), test.astype(np.int64)


def _read_config(folder: Path) -> Config:
    file, entries = folder / CONFIG, _read_json(folder, CONFIG)
    missing = [field.name for field in dataclasses.fields(Config) if field.name not in entries]
    if missing:
        raise InputError(f"{file} lacks {', '.join(missing)}: it is of another version or not whole.")
    with _as_written(file):
        config = _config(entries)
        if json.loads(encoded(dataclasses.asdict(config))) != entries:
            raise ValueError("its entries are not those of this version")
        Scaling.from_dict(config.scalings["inputs"]).apply(np.zeros((1, len(config.table.feature_names))))
    return config


def _config(entries: Entries) -> Config:
    """The configuration that a file tells."""
    told = {name: dict(entries[name]) for name in ("table", "network")}
    table, network = TableFacts(**told["table"]), NetworkChoice(**told["network"])
    classes, features = tuple(table.class_names), tuple(table.feature_names)
    table = dataclasses.replace(table, class_names=classes, feature_names=features)
    network = dataclasses.replace(network, hidden=tuple(network.hidden))
    return Config(**(entries | {"table": table, "network": network}))


def _put_weights(model: nn.Module, folder: Path, config: Config) -> None:
    file = folder / WEIGHTS
    if not own_file(file):
        raise InputError(f"{folder} holds a run that was not finished: it has no {file.name}.")
    try:
        model.load_state_dict(load_file(file))
    except SafetensorError as error:
        raise InputError(f"{file} cannot be read: {error}.") from error
    except RuntimeError as error:
        raise InputError(f"{file} does not fit the network {config.widths} of config.json: {error}") from error
