"""What a fit and a flow return."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from geodescent._record import History, Result
from geodescent._types import Theta
from geodescent.certificate import Certificate
from geodescent.doors._in_words import html_of, lines_of, text_of
from geodescent.doors._on_demand import OnDemand
from geodescent.doors._plot import html_picture, plotted
from geodescent.flow import Array
from geodescent.problem import Estimate, ResidualTable, estimates, residual_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False, eq=False)
class Solution:
    """The end of a fit; the model holds the best point.

    Attributes:
        cost, cost0: C at the best point and at the start.
        result: how it ended.
        history: arrays of equal length, the fields of `StepRecord`; `block_rms` a dict of arrays.
        stats: the lift, its counts, the solve's dtype, routes of the parameters, and notes in sentences; `planned_mb`
            and `peak_mb`, the memory that was planned and the most that was held, in 10⁶ bytes beyond what the process
            held when the run began.
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

    @cached_property
    def unknowns(self) -> Mapping[str, Estimate]:
        """The unknown coefficients of the problem: name → value and standard error; empty where it names none."""
        return estimates(*self.on_demand.at_solution())

    def residuals(self, *, seed: int = 0) -> ResidualTable:
        """A row for each block: rows, weight, root mean square and largest residual, also on fresh rows; print it.

        Args:
            seed: of the points that are drawn, where a block can draw them.
        """
        return residual_table(*self.on_demand.at_solution(), seed=seed)

    def __repr__(self) -> str:
        return f"Solution({self.result.name}, cost={self.cost:.4g}, steps={self.steps}, seconds={self.seconds:.3g})"

    def __str__(self) -> str:
        return text_of(self._rows(), 8)

    def _repr_html_(self) -> str:
        return html_of(self._rows(), html_picture(self._drawn))

    def plot(self) -> "Axes":
        """Draws the cost over the steps, beside C_lin and the validation cost; `axes.figure.savefig` keeps it.

        Raises: ImportError, where matplotlib is not installed.
        """
        return plotted(self._drawn, "solution.plot()", height=4.6)

    def _drawn(self, figure: "Figure | None") -> "Figure":
        from geodescent.pictures import COST, draw_fit

        return draw_fit(
            self.history, cost0=self.cost0, target_cost=None, title=self.result.value, y_label=COST, figure=figure
        )

    def _rows(self) -> list[tuple[str, str]]:
        """The six rows of a printed result: the name of each, and its text."""
        validation = self.history["validation_cost"]
        judged = (
            "" if bool(np.isnan(validation).all()) else f"; validation cost {np.nanmin(validation):.4g} at its least"
        )
        return [
            ("cost", f"{self.cost0:.4g} → {self.cost:.4g}{judged}"),
            ("result", self.result.value),
            ("steps", f"{self.steps} in {self.seconds:.3g} s"),
            *lines_of(self.on_demand, self.seconds, self.result, self.stats, call="gd.fit"),
        ]


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
        return text_of(self._rows(), 9)

    def _repr_html_(self) -> str:
        return html_of(self._rows(), html_picture(self._drawn))

    def plot(self) -> "Axes":
        """Draws measured and predicted cost over τ, and below how far the outputs are from the straight line.

        Raises: ImportError, where matplotlib is not installed.
        """
        return plotted(self._drawn, "flow.plot()", height=6.2)

    def _drawn(self, figure: "Figure | None") -> "Figure":
        from geodescent.pictures import COST, draw_flow

        return draw_flow(vars(self), floor=self.floor, title=self.result.value, y_label=COST, figure=figure)

    def _rows(self) -> list[tuple[str, str]]:
        """The six rows of a printed flow: the name of each, and its text."""
        return [
            ("cost", f"{self.cost0:.4g} → {self.cost[-1]:.4g} at τ = {self.time[-1]:.4g}; the law is {self.law}"),
            ("deviation", f"{self.max_relative_deviation:.1e} of the predicted cost at most"),
            ("result", self.result.value),
            *lines_of(self.on_demand, self.seconds, self.result, self.stats, call="gd.flow"),
        ]
