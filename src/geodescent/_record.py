"""Why a run ended, and what is recorded of each of its steps."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

SENTENCES_BEFORE = {
    "No direction lowers the cost to first order: this is a critical point with cost above zero.": "stationary",
    "The largest number of steps was taken before the target was reached.": "max_steps",
    "The time ran out before the target was reached.": "max_seconds",
}
"""Sentences by which solutions were pickled before these were changed."""


class Result(Enum):
    """Why a run ended; the value is the sentence that people see."""

    target_reached = "The cost reached the target."
    time_reached = "The flow reached the time that was asked for."
    not_integrable = "The integrator could not keep its tolerance: the path turns too sharply, as where rank is lost."
    stationary = "No direction lowers the cost to first order: this is a critical point."
    rounding_floor = "The cost has reached the rounding floor: more digits do not exist in this precision."
    no_progress = "No damping, however large, gave a step that lowers the cost."
    validation_rose = "The validation cost rose: fitting further hurts. The point before is kept."
    max_steps = "The number of steps that was allowed has been taken."
    max_seconds = "The time that was allowed has run out."
    stopped = "The callback ended the run."
    interrupted = "The run was interrupted; the best point is kept."
    nonfinite = "The outputs or their derivatives became infinite or NaN; the best point is kept."

    @classmethod
    def _missing_(cls, value: object) -> "Result | None":
        return cls[SENTENCES_BEFORE[value]] if isinstance(value, str) and value in SENTENCES_BEFORE else None


@dataclass(frozen=True)
class StepRecord:
    """One accepted step.

    Attributes:
        step: its number, from 0 for the start.
        time: the sum of step sizes; in the flow, τ.
        cost: C, measured.
        predicted: C_lin, the cost that the linear model gave for this step; in the flow, the law's cost at τ.
        damping: μ, absolute, in the units of G.
        gain_ratio: (C_old − C)/(C_old − C_lin). It and `predicted` are of the samples that the step was taken on: a
            batch, or those that a fit opens on.
        rank: the numerical rank of D, where it was computed.
        validation_cost: the cost on the validation data, where there are any.
        seconds: since the start.
        block_rms: name of a block of rows → root of the mean square of x − y there, unweighted.
    """

    step: int
    time: float
    cost: float
    predicted: float
    damping: float = math.nan
    gain_ratio: float = math.nan
    rank: int | None = None
    validation_cost: float | None = None
    seconds: float = 0.0
    block_rms: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """The record for JSON: None where a number does not exist."""
        return {name: _finite(value) for name, value in asdict(self).items()}


class History(TypedDict):
    """NDArray[np.float64]s of equal length, the fields of `StepRecord`; NaN where a record holds None.

    `block_rms` is a dict of arrays, one for each block of rows.
    """

    step: NDArray[np.float64]
    time: NDArray[np.float64]
    cost: NDArray[np.float64]
    predicted: NDArray[np.float64]
    damping: NDArray[np.float64]
    gain_ratio: NDArray[np.float64]
    rank: NDArray[np.float64]
    validation_cost: NDArray[np.float64]
    seconds: NDArray[np.float64]
    block_rms: dict[str, NDArray[np.float64]]


def history_of(records: tuple[StepRecord, ...]) -> History:
    """The records as columns."""

    def column(name: str) -> NDArray[np.float64]:
        values = [getattr(record, name) for record in records]
        return np.array([np.nan if v is None else v for v in values])

    blocks = dict.fromkeys(name for record in records for name in record.block_rms)
    rms = {name: np.array([record.block_rms.get(name, np.nan) for record in records]) for name in blocks}
    return History(
        step=column("step"),
        time=column("time"),
        cost=column("cost"),
        predicted=column("predicted"),
        damping=column("damping"),
        gain_ratio=column("gain_ratio"),
        rank=column("rank"),
        validation_cost=column("validation_cost"),
        seconds=column("seconds"),
        block_rms=rms,
    )


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


Callback = Callable[[StepRecord], None]
"""Called with the record of each accepted step; StopIteration ends the run."""


def no_callback(record: StepRecord) -> None:
    """The callback of whoever passed none."""
