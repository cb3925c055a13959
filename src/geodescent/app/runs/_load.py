"""Run folders are opened again: files that no run of this version has written are refused, and links not followed."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of

from geodescent._budget import require
from geodescent._errors import InputError
from geodescent._files import own_file
from geodescent.app._entries import Entries
from geodescent.app.fitted import (
    CALIBRATION,
    POSTERIOR,
    WEIGHTS,
    Fitted,
    FittedClasses,
    FittedNetwork,
    FittedRegression,
)
from geodescent.app.runs._config import Config
from geodescent.app.runs._folder import CONFIG, HISTORY, RESULT, SPLIT
from geodescent.app.runs._json import as_written, encoded
from geodescent.app.runs._run import Run
from geodescent.generalisation import ClassPosterior, Posterior

COPIES = 3.0  # Of a file's bytes that reading it takes: the file, its text or its tensors, and what is made of them.


def load(path: str | os.PathLike[str]) -> Run:
    """The run in that folder, on the CPU.

    Raises:
        InputError: no folder, no run in it, a run that was not finished, or files that no run of this version wrote.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path is a {type(path).__name__}: the path of a run's folder is needed.")
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"No run folder at {folder}: give the folder that geodescent fit or flow has written.")
    config = read_config(folder)
    train, test = read_split(folder)
    return Run(
        path=folder,
        config=config,
        fitted=_fitted(folder, config),
        train_index=train,
        test_index=test,
        history=read_history(folder / HISTORY),
        result=read_json(folder, RESULT) if own_file(folder / RESULT) else {},
    )


def read_history(path: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of history.jsonl, NaN where a record says null; a torn last line is dropped.

    What a record says of several blocks of rows becomes a column for each, as `block_rms.data`.
    """
    lines = _bytes(path).decode(errors="replace").split("\n")[:-1] if own_file(path) else []
    with as_written(path):
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


def read_json(folder: Path, name: str) -> Entries:
    """The entries of a JSON file. Raises InputError, where there is none."""
    file = folder / name
    if not own_file(file):
        if name != CONFIG:
            raise InputError(f"{folder} has no {name}, which every finished run has. Run the fit again.")
        raise InputError(
            f"{folder} is no run folder: it has no {name}. Give the folder that geodescent fit or flow has written."
        )
    try:
        entries = json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not valid JSON ({error}): it was cut or changed. Run the fit again.") from error
    with as_written(file):
        return dict(entries)


def read_split(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training part and of the test part."""
    rows = read_json(folder, SPLIT)
    with as_written(folder / SPLIT):
        train, test = (np.array(rows[part]) for part in ("train", "test"))
        both = np.concatenate([train, test])
        if both.dtype.kind != "i" or both.ndim != 1 or len(np.unique(both)) < len(both) or not len(train):
            raise ValueError("train and test are no two lists of different row numbers")
        return train.astype(np.int64), test.astype(np.int64)


def read_config(folder: Path) -> Config:
    """The configuration of a run."""
    file, entries = folder / CONFIG, read_json(folder, CONFIG)
    with as_written(file):
        config = Config.from_dict(entries)
        if json.loads(encoded(config.as_dict())) != entries:
            raise ValueError("its entries are not those of this version")
    return config


def _fitted(folder: Path, config: Config) -> Fitted:
    if config.network is None or config.scaled is None:
        tensors = _tensors(folder, POSTERIOR)
        try:
            with as_written(folder / POSTERIOR):
                if config.target.classes:
                    return FittedClasses(ClassPosterior.from_tensors(tensors))
                return FittedRegression(Posterior.from_tensors(tensors))
        except InputError as error:
            raise InputError(f"{folder / POSTERIOR} is not of this run ({error}) Run the fit again.") from error
    with as_written(folder / CONFIG):
        network = config.network.network(config.n_inputs, config.n_outputs, config.data.seed)
    tensors = _tensors(folder, WEIGHTS)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{folder / WEIGHTS} does not fit the network {config.widths} of config.json. Run the fit again."
        ) from error
    judgement = read_json(folder, CALIBRATION)
    with as_written(folder / CALIBRATION):
        return FittedNetwork.opened(network, config.scaled, judgement, n_classes=len(config.target.classes))


def _tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    file = folder / name
    if not own_file(file):
        raise InputError(
            f"{folder} holds a run that was not finished: it has no {name}. A fit goes on by geodescent fit … "
            f"--out {folder} --resume."
        )
    try:
        return tensors_of(_bytes(file))
    except SafetensorError as error:
        raise InputError(f"{file} cannot be read ({error}): it was cut or changed. Run the fit again.") from error


def _bytes(file: Path) -> bytes:
    """The content of a file, if memory has room for it."""
    require(COPIES * file.stat().st_size, torch.device("cpu"), what=f"reading {file}", instead="Remove that file.")
    return file.read_bytes()
