"""What a run says of rows, whatever was fitted, and what everything fitted can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
"""Numbers, a row for each sample."""

Mode = Literal["posterior", "exact"]
"""Noisy data by the posterior, or all digits of the targets."""

INTERVAL_LEVEL = 0.9
"""Share of new targets that lies in an interval."""

WEIGHTS, CALIBRATION, POSTERIOR = "weights.safetensors", "calibration.json", "posterior.safetensors"
"""Files of a network, of what rows left out say of it, and of a posterior."""


@dataclass(frozen=True)
class Predicted:
    """What a run says of n rows.

    Attributes:
        mean: the target in its own units; of classes the number of the most probable one, (n,).
        deviation: standard deviation of a new target, (n,); None for classes.
        lower, upper: ends of intervals, (n,); None for classes.
        probabilities: of each class, (n, C); None for a regression.
        level: share of new targets that lies in an interval.
    """

    mean: Rows
    deviation: Rows | None = None
    lower: Rows | None = None
    upper: Rows | None = None
    probabilities: Rows | None = None
    level: float = INTERVAL_LEVEL

    def at(self, rows: NDArray[np.bool_]) -> "Predicted":
        """Of these rows alone."""

        def part(values: Rows | None) -> Rows | None:
            return None if values is None else values[rows]

        ends = part(self.lower), part(self.upper)
        return Predicted(self.mean[rows], part(self.deviation), *ends, part(self.probabilities), self.level)

    @classmethod
    def of_classes(cls, probabilities: Rows) -> "Predicted":
        """By the probabilities, (n, C)."""
        return cls(probabilities.argmax(axis=1).astype(np.float64), probabilities=probabilities)


class Fitted(Protocol):
    """What predicts rows of encoded inputs, and can be saved."""

    @property
    def mode(self) -> Mode:
        """How it was fitted."""
        ...

    @property
    def left_out(self) -> float | None:
        """The error to expect of new rows, by rows left out: root mean square error, or log loss."""
        ...

    @property
    def importance(self) -> Rows | None:
        """The fitted scale of each input, (d,), in units of its standard deviation."""
        ...

    def predicted(self, inputs: Rows, level: float = INTERVAL_LEVEL) -> Predicted:
        """Of encoded inputs, (n, d)."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Names and contents of the files that it is saved in; the last one makes it whole."""
        ...
