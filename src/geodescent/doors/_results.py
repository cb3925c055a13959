"""What a fit and a flow return."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from geodescent._record import Result, StepRecord
from geodescent._types import Theta
from geodescent.certificate import Certificate
from geodescent.doors._on_demand import OnDemand
from geodescent.flow import Array


class History(TypedDict):
    """Arrays of equal length, the fields of `StepRecord`; NaN where a record holds None.

    `block_rms` is a dict of arrays, one for each block of rows.
    """

    step: Array
    time: Array
    cost: Array
    predicted: Array
    damping: Array
    gain_ratio: Array
    rank: Array
    validation_cost: Array
    seconds: Array
    block_rms: dict[str, Array]


def history_of(records: tuple[StepRecord, ...]) -> History:
    """The records as columns."""

    def column(name: str) -> Array:
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


@dataclass(frozen=True, repr=False, eq=False)
class Solution:
    """The end of a fit; the model holds the best point.

    Attributes:
        cost, cost0: C at the best point and at the start.
        result: how it ended.
        history: arrays of equal length, the fields of `StepRecord`; `block_rms` a dict of arrays.
        stats: the lift, its counts, the solve's dtype, routes of the parameters.
        steps: accepted steps.
        seconds: of the whole call.
        theta: the best point, (K,).
        certificate: what is known at the end; computed on first use, which may take longer than the fit.
    """

    cost: float
    cost0: float
    result: Result
    history: History
    stats: dict[str, object]
    steps: int
    seconds: float
    theta: Theta
    on_demand: OnDemand

    @property
    def certificate(self) -> Certificate:
        return self.on_demand.get()

    def __repr__(self) -> str:
        return f"Solution({self.result.name}, cost={self.cost:.4g}, steps={self.steps}, seconds={self.seconds:.3g})"

    def __str__(self) -> str:
        lines = [
            f"cost        {self.cost0:.4g} → {self.cost:.4g}",
            f"result      {self.result.value}",
            f"steps       {self.steps} in {self.seconds:.3g} s",
        ]
        return "\n".join([*lines, self.on_demand.in_words(self.seconds)])


@dataclass(frozen=True, repr=False, eq=False)
class Flow:
    """The flow's path, at every accepted step; the model is left at its end.

    Attributes:
        time: τ, from 0.
        cost: C by a forward pass at θ(τ), uncorrected.
        predicted_cost: `F + (C₀ − F)e^{−2τ}`, F the floor; known before the first step where F = 0.
        rank, sigma_min: of D through G or DᵀD: σ below √(min(m, K)·eps)·σ_max count as 0, and σ_min is 0 where the
            rank is not full; NaN where the spectrum was not computed. `gd.certify` uses D itself where it is small.
        path_bound: `‖x₀ − y‖ ∫dt/σ_min`, t = 1 − e^{−τ}: an upper bound of the length of the path from θ₀.
        displacement: `‖θ(τ) − θ₀‖`, measured.
        line_deviation: `‖x(τ) − [(1−t)x₀ + ty]‖/‖x₀ − y‖`, how far the outputs are from the straight line.
        line_deviation_lost: its part outside range(D), which no velocity of θ reduces: 0 where D has full row rank, NaN
            where the spectrum was not computed. The rest is due to the rotation of range(D) along the path.
        max_relative_deviation: the largest |C/predicted − 1|.
        cost0: C₀.
        floor: F at the start: 0 where D has full row rank.
        theta: the end of the path, (K,).
        result, stats, seconds, certificate: as of a fit.
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
    stats: dict[str, object]
    seconds: float
    theta: Theta
    on_demand: OnDemand

    @property
    def certificate(self) -> Certificate:
        return self.on_demand.get()

    @property
    def law(self) -> str:
        """The predicted curve in words."""
        return "C₀·exp(−2τ)" if self.floor == 0.0 else "F + (C₀ − F)·exp(−2τ), F the instant floor at the start"

    def __repr__(self) -> str:
        off = f"max_relative_deviation={self.max_relative_deviation:.1e}"
        return f"Flow({self.result.name}, time={self.time[-1]:.4g}, cost={self.cost[-1]:.4g}, {off})"

    def __str__(self) -> str:
        lines = [
            f"cost        {self.cost0:.4g} → {self.cost[-1]:.4g} at τ = {self.time[-1]:.4g}; the law is {self.law}",
            f"deviation   {self.max_relative_deviation:.1e} of the predicted cost at most",
            f"result      {self.result.value}",
        ]
        return "\n".join([*lines, self.on_demand.in_words(self.seconds)])
