"""A finished run: it predicts, and its files are the only ones that are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from geodescent._errors import InputError
from geodescent._settings import SHARE_INSIDE
from geodescent.app._entries import Entries
from geodescent.app.fitted import INTERVAL_LEVEL, Fitted, FittedNetwork, Predicted, Rows
from geodescent.app.runs._as_frame import AnyTable, as_frame
from geodescent.app.runs._config import Config


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: what was fitted, and how tables become its inputs.

        run = gd.load("runs/mine")
        run.predict(table)                       # targets in their own units, or labels, (n,)
        run.predict_interval(table, level=0.9)   # lower and upper ends
        run.predict_proba(table)                 # of classes, (n, C)

    A table is a frame of polars or pandas, a dict of columns, the path of a file, or an array of the columns that the
    run uses, in the order of `columns`; columns are matched by name, so that their order does not matter.

    Attributes:
        path: of its folder.
        config: of the run.
        fitted: what was fitted.
        train_index, test_index: rows of the table.
        history: columns of history.jsonl.
        result: what the command answered.
    """

    path: Path
    config: Config
    fitted: Fitted
    train_index: NDArray[np.int64]
    test_index: NDArray[np.int64]
    history: Mapping[str, NDArray[np.float64]]
    result: Entries

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.config.mode}, {self.config.target.name!r} of {self.config.data.name!r})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that predictions are made from."""
        return tuple(rule.name for rule in self.config.encoding.used)

    @property
    def model(self) -> nn.Module:
        """The network of the exact mode, on inputs as `inputs` gives them. Raises InputError, where there is none."""
        if not isinstance(self.fitted, FittedNetwork):
            raise InputError(
                f"{self.path} holds a posterior, which is no single network: predict, predict_interval and "
                "predict_proba use it; a run of --mode exact leaves a network."
            )
        return self.fitted.network

    def predict(self, table: AnyTable) -> NDArray[Any]:
        """The target in its own units, or the most probable class, (n,)."""
        mean = self.predicted(table).mean
        classes = self.config.target.classes
        return np.array(classes)[mean.astype(np.int64)] if classes else mean

    def predict_interval(self, table: AnyTable, level: float = INTERVAL_LEVEL) -> tuple[Rows, Rows]:
        """Lower and upper ends, (n,) each, between which a share `level` of new targets lies."""
        found = self.predicted(table, level)
        if found.lower is None or found.upper is None:
            raise InputError(f"{self.path} predicts classes, which have no intervals: use predict_proba.")
        return found.lower, found.upper

    def predict_proba(self, table: AnyTable) -> Rows:
        """Probabilities of the classes, in the order of `config.target.classes`, (n, C)."""
        found = self.predicted(table).probabilities
        if found is None:
            raise InputError(f"{self.path} predicts numbers, not classes: use predict and predict_interval.")
        return found

    def predicted(self, table: AnyTable, level: float = INTERVAL_LEVEL) -> Predicted:
        """All that is said of the rows of a table."""
        level = SHARE_INSIDE.of("level", level)
        return self.fitted.predicted(self.inputs(table), level)

    def inputs(self, table: AnyTable) -> Rows:
        """The numbers that the rows of a table become, (n, d).

        Raises: InputError, where columns are missing, or hold what cannot be read.
        """
        return self.config.encoding.apply(as_frame(table, self.columns)).inputs
