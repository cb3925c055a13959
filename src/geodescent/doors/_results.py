"""What a fit and a flow return."""

from dataclasses import dataclass, fields

import numpy as np

from geodescent._record import Result, StepRecord
from geodescent.certificate import Certificate
from geodescent.flow import Array

History = dict[str, np.ndarray]


def history_of(records: list[StepRecord]) -> History:
    """Equal-length arrays, one a field; NaN where a record holds None."""
    columns = {f.name: [getattr(record, f.name) for record in records] for f in fields(StepRecord)}
    return {name: np.array([np.nan if v is None else v for v in values]) for name, values in columns.items()}


@dataclass(frozen=True)
class Solution:
    """The end of a fit; the model holds the best point.

    Attributes:
        cost, cost0: C at the best point and at the start.
        result: how it ended.
        history: arrays of equal length, the fields of `StepRecord`.
        certificate: what is known at the end.
        stats: the lift, its counts, the solve's dtype, routes of the parameters.
        steps: accepted steps.
        seconds: of the whole call.
    """

    cost: float
    cost0: float
    result: Result
    history: History
    certificate: Certificate
    stats: dict[str, object]
    steps: int
    seconds: float


@dataclass(frozen=True)
class Flow:
    """The flow's path, at every accepted step; the model is left at its end.

    Attributes:
        time: τ, from 0.
        cost: C by a forward pass at θ(τ), uncorrected.
        predicted_cost: `F + (C₀ − F)e^{−2τ}`, F the floor; known before the first step where F = 0.
        rank, sigma_min: of D through G: σ below √(m·eps)·σ_max count as none, and σ_min is then 0; NaN where the
            spectrum was not taken. `gd.certify` looks at D itself.
        path_bound: `‖x₀ − y‖ ∫dt/σ_min`, t = 1 − e^{−τ}: a bound of the way from θ₀ (THEORY 2.2).
        displacement: `‖θ(τ) − θ₀‖`, measured.
        line_deviation: `‖x(τ) − [(1−t)x₀ + ty]‖/‖x₀ − y‖`, how far the outputs are from the straight line (THEORY 2.3).
        line_deviation_lost: its part outside range(D), which no motion of θ undoes: 0 where D has full row rank, NaN
            where the spectrum was not taken. The rest came of the range's turning on the way.
        max_relative_deviation: the largest |C/predicted − 1|.
        cost0: C₀.
        floor: F at the start: 0 where D has full row rank.
        result, certificate, stats, seconds: as of a fit.
    """

    time: Array
    cost: Array
    predicted_cost: Array
    rank: Array
    sigma_min: Array
    path_bound: Array
    displacement: Array
    line_deviation: Array
    line_deviation_lost: Array
    max_relative_deviation: float
    cost0: float
    floor: float
    result: Result
    certificate: Certificate
    stats: dict[str, object]
    seconds: float

    @property
    def law(self) -> str:
        """The predicted curve in words."""
        return "C₀·exp(−2τ)" if self.floor == 0.0 else "F + (C₀ − F)·exp(−2τ), F the instant floor at the start"
