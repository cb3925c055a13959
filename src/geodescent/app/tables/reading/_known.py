"""The five data sets that travel inside scikit-learn, as frames of columns with their target."""

from typing import Literal

import numpy as np
import polars as pl

Task = Literal["classification", "regression"]

DATA_SETS: dict[str, Task] = {
    "digits": "classification",
    "wine": "classification",
    "iris": "classification",
    "breast_cancer": "classification",
    "diabetes": "regression",
}
"""Name of each set, and its task."""

IMAGES = frozenset({"digits"})
"""Sets whose columns are the pixels of one image, which have one common scale."""

TARGET_NAME = "target"
"""Name of the column of targets, where a file or a set does not name it itself."""


def known_frame(name: str) -> pl.DataFrame:
    """The columns of a set of `DATA_SETS`, then `target`: names of classes as text, or numbers."""
    from sklearn import datasets  # takes a second, so it is imported when a set is asked for

    bunch = getattr(datasets, f"load_{name}")()
    inputs = np.asarray(bunch.data, dtype=np.float64)
    columns = {str(feature): inputs[:, j] for j, feature in enumerate(bunch.feature_names)}
    if DATA_SETS[name] == "regression":
        return pl.DataFrame(columns | {TARGET_NAME: np.asarray(bunch.target, dtype=np.float64)})
    labels = [str(bunch.target_names[number]) for number in bunch.target]
    return pl.DataFrame(columns).with_columns(pl.Series(TARGET_NAME, labels, dtype=pl.String))
