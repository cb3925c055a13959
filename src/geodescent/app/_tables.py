"""Real data that travel inside scikit-learn: the table, its split, and scalings learnt on the training part only."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app._scaling import Scaling, common_factor, standardise

Task = Literal["classification", "regression"]

DATA_SETS: dict[str, Task] = {
    "digits": "classification",
    "wine": "classification",
    "iris": "classification",
    "breast_cancer": "classification",
    "diabetes": "regression",
}
IMAGES = frozenset({"digits"})


@dataclass(frozen=True)
class Table:
    """Raw samples: inputs `(N, d)` and targets `(N,)`, class numbers 0 … Q−1 or real values."""

    name: str
    task: Task
    inputs: NDArray[np.float64]
    targets: NDArray[Any]
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    image: bool

    @property
    def n_outputs(self) -> int:
        """Q: one output per class, one for a regression."""
        return max(1, len(self.class_names))


def load_table(name: str) -> Table:
    """The data set of that name.

    Raises:
        InputError: no such data set.
    """
    if name not in DATA_SETS:
        raise InputError(
            f"Unknown data {name!r}. Available: {', '.join(DATA_SETS)}. "
            "Table files (.csv, .parquet, .npz) are not read yet."
        )
    from sklearn import datasets  # belongs to the extra `app`, so it is not imported with the package

    bunch = getattr(datasets, f"load_{name}")()
    task = DATA_SETS[name]
    classes = task == "classification"
    return Table(
        name=name,
        task=task,
        inputs=np.asarray(bunch.data, dtype=np.float64),
        targets=np.asarray(bunch.target, dtype=np.int64 if classes else np.float64),
        class_names=tuple(map(str, bunch.target_names)) if classes else (),
        feature_names=tuple(map(str, bunch.feature_names)),
        image=name in IMAGES,
    )


@dataclass(frozen=True)
class Split:
    """Row numbers of the training part and of the test part; disjoint, increasing."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def split(table: Table, *, test_size: float, seed: int) -> Split:
    """A random split fixed by the seed, stratified where there are classes.

    Args:
        table: the samples.
        test_size: fraction of the test part, in (0, 1).
        seed: of the split.

    Raises:
        InputError: a fraction outside (0, 1), or one too small or large to leave every class on both sides.
    """
    if not 0.0 < test_size < 1.0:
        raise InputError(f"test_size must lie between 0 and 1: got {test_size}.")
    from sklearn.model_selection import train_test_split

    classes = table.targets if table.task == "classification" else None
    rows = np.arange(len(table.inputs))
    try:
        train, test = train_test_split(rows, test_size=test_size, random_state=seed, stratify=classes)
    except ValueError as error:
        raise InputError(
            f"test_size = {test_size} cannot split the {len(rows)} rows of {table.name}: {error}"
        ) from error
    return Split(train=np.sort(train), test=np.sort(test))


@dataclass(frozen=True)
class SplitTable:
    """A table that is split, with the scalings that its training part alone decides."""

    table: Table
    split: Split

    @cached_property
    def input_scaling(self) -> Scaling:
        """One common factor for images, column by column otherwise."""
        training = self.table.inputs[self.split.train]
        return common_factor(training) if self.table.image else standardise(training)

    @cached_property
    def target_scaling(self) -> Scaling | None:
        """Of a regression; one-hot targets have none."""
        if self.table.task == "classification":
            return None
        return standardise(self.table.targets[self.split.train][:, None])

    def tensors(
        self, rows: NDArray[np.int64], *, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled inputs `(n, d)` and targets `(n, Q)` of these rows: one-hot classes, or the scaled value."""
        scaling, targets = self.target_scaling, self.table.targets[rows]
        scaled = scaling.apply(targets[:, None]) if scaling else np.eye(self.table.n_outputs)[targets]
        inputs = self.input_scaling.apply(self.table.inputs[rows])
        return (
            torch.tensor(inputs, dtype=dtype, device=device),
            torch.tensor(scaled, dtype=dtype, device=device),
        )

    def score(self, rows: NDArray[np.int64], outputs: torch.Tensor) -> dict[str, float]:
        """`{accuracy}` of classes, or `{rmse, r2}` in the target's own units, of outputs `(n, Q)` on these rows."""
        targets, predicted = self.table.targets[rows], outputs.detach().cpu().double().numpy()
        if self.target_scaling is None:
            return {"accuracy": float(np.mean(predicted.argmax(axis=1) == targets))}
        errors = self.target_scaling.invert(predicted)[:, 0] - targets
        spread = float(np.mean((targets - targets.mean()) ** 2))
        mean_square = float(np.mean(errors**2))
        return {"rmse": mean_square**0.5, "r2": 1.0 - mean_square / spread if spread > 0.0 else float("nan")}


def prepare(name: str, *, test_size: float, seed: int) -> SplitTable:
    """The data set of that name, split and ready to scale."""
    table = load_table(name)
    return SplitTable(table=table, split=split(table, test_size=test_size, seed=seed))
