"""A job of the command: a network at its start, its data, and the folder of its run."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import typer
from torch import nn

import geodescent as gd
from geodescent._errors import InputError
from geodescent.app._runs import Config, RunFolder, free_folder
from geodescent.app._tables import Prepared, prepare

Dtype = Literal["float64", "float32"]


@dataclass(frozen=True)
class NetworkChoice:
    """The network asked for, before its data are known."""

    hidden: tuple[int, ...]
    activation: str
    dtype: Dtype
    device: str


@dataclass(frozen=True)
class Job:
    """A model at its start, with its data and the folder of its run."""

    prepared: Prepared
    config: Config
    model: nn.Module
    folder: RunFolder

    @property
    def training(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y of the training part."""
        return self._tensors(self.prepared.split.train)

    @property
    def held_out(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y held out."""
        return self._tensors(self.prepared.split.test)

    def name(self) -> str:
        """Data and network in a few words."""
        return f"{self.config.data} · {self.config.widths} {self.config.activation}"

    def opening(self) -> str:
        """What is about to be trained on what."""
        kind = f"{self.config.n_outputs} classes" if self.config.class_names else "one real target"
        train, test = len(self.prepared.split.train), len(self.prepared.split.test)
        return (
            f"{self.name()} · {self.config.dtype} · {self.config.device} · seed {self.config.seed}\n"
            f"{self.config.task} ({kind}): {train} samples to train, {test} held out (--test-size)"
        )

    def test_scores(self) -> dict[str, float]:
        """Accuracy, or rmse and r2, on the samples held out."""
        with torch.no_grad():
            outputs = self.model(self.held_out[0])
        return self.prepared.score(self.prepared.split.test, outputs)

    def _tensors(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.prepared.tensors(rows, dtype=self.config.torch_dtype, device=self.config.device)


def network_choice(data: str, hidden: str | None, activation: str, dtype: Dtype, device: str) -> NetworkChoice:
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


def job_of(
    command: str,
    data: str,
    test_size: float,
    seed: int,
    options: Mapping[str, float | str | None],
    choice: NetworkChoice,
    out: str | None,
) -> Job:
    prepared = prepare(data, test_size=test_size, seed=seed)
    table, target_scaling = prepared.table, prepared.target_scaling
    config = Config(
        command=command,
        data=data,
        task=table.task,
        class_names=table.class_names,
        feature_names=table.feature_names,
        n_outputs=table.n_outputs,
        hidden=choice.hidden,
        activation=choice.activation,
        dtype=choice.dtype,
        device=choice.device,
        seed=seed,
        test_size=test_size,
        input_scaling=prepared.input_scaling.as_dict(),
        target_scaling=target_scaling.as_dict() if target_scaling else None,
        options=dict(options),
        versions={"geodescent": gd.__version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    folder = RunFolder(free_folder(out, name=f"{data}-{command}"), config, prepared.split)
    return Job(prepared, config, config.network().to(choice.device), folder)
