"""What `least_squares` and `curve_fit` return."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np

from geodescent._errors import InputError
from geodescent.curves._profile import Refit, profile_intervals
from geodescent.curves._report import report_of
from geodescent.curves._statistics import Array, Statistics

Slopes = Callable[[object], tuple[Array, Array]]
"""x ↦ the formula and its derivative by all parameters there, (m,) and (m, K)."""


@dataclass(frozen=True, eq=False)
class Told:
    """What is known of a fit beside its numbers.

    Attributes:
        statistics: covariance and criteria.
        start: name → first value of the free parameters.
        marks: name → "fixed", "tied", "at its lower bound", "at its upper bound".
        bounds: place → bounds of the free parameters.
        refit: χ² with one parameter kept.
        message: how the fit ended.
    """

    statistics: Statistics
    start: dict[str, float]
    marks: dict[str, str]
    bounds: dict[int, tuple[float, float]]
    refit: Refit
    message: str


class WithStatistics:
    """A result that tells of its parameters."""

    told: Told

    @property
    def names(self) -> tuple[str, ...]:
        """Of all parameters."""
        return self.told.statistics.names

    @property
    def stderr(self) -> Array:
        """Standard errors, (K,); infinite where the data do not determine them."""
        return self.told.statistics.stderr

    @property
    def correlation(self) -> Array:
        """Of the estimates, (K, K)."""
        return self.told.statistics.correlation

    @property
    def statistics(self) -> Statistics:
        """χ², reduced χ², AIC, BIC and R²."""
        return self.told.statistics

    def interval(self, level: float = 0.95) -> Array:
        """Confidence intervals, (K, 2), by the linear model: value ± t·stderr."""
        return self.told.statistics.interval(level)

    def profile(self, level: float = 0.95) -> Array:
        """Confidence intervals, (K, 2), by the profile of χ²: right also where the formula is far from linear.

        NaN for tied parameters, infinite where χ² never rises enough.

        Cost: some five fits for each end.
        """
        return profile_intervals(self.told.statistics, self.told.refit, level, self.told.bounds)

    def report(self) -> str:
        """Statistics, parameters with their errors, correlations, as text."""
        return report_of(self.told.statistics, self.told.start, self.told.marks, self.told.message)

    def __str__(self) -> str:
        return self.report()


@dataclass(frozen=True, repr=False, eq=False)
class LeastSquaresResult(WithStatistics, Mapping[str, object]):
    """The fields of SciPy's `OptimizeResult`, by attribute or by key, and statistics of the parameters.

    Attributes:
        x: all parameters, (K,).
        cost: `½ Σ C² ρ((f/C)²)`.
        fun: residuals at x, (m,).
        jac: their derivative, (m, k), times √(ρ' + 2zρ'') with a loss, as SciPy has it.
        grad: of the cost, (k,).
        optimality: the largest entry of the gradient, each times the room to its bound where it points there.
        active_mask: −1 at the lower bound, 1 at the upper one, else 0, (k,).
        nfev: calls of the function, those for differences included.
        njev: derivatives computed.
        status: 1 or 2 at a minimum; 0 where calls, steps or seconds ran out; −2 stopped; −1 for other failures.
        message: how it ended, and how derivatives were taken.
        success: whether status is above 0.
        told: what the statistics are made of.
    """

    x: Array
    cost: float
    fun: Array
    jac: Array
    grad: Array
    optimality: float
    active_mask: Array
    nfev: int
    njev: int
    status: int
    message: str
    success: bool
    told: Told

    def __getitem__(self, key: str) -> object:
        return {name: getattr(self, name) for name in self}[key]

    def __iter__(self) -> Iterator[str]:
        """The names of SciPy's fields."""
        return (field.name for field in fields(self) if field.name != "told")

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"LeastSquaresResult(x={self.x}, cost={self.cost:.6g}, status={self.status}, nfev={self.nfev})"


@dataclass(frozen=True, repr=False, eq=False)
class CurveFit(WithStatistics):
    """`popt, pcov = gd.curve_fit(…)`, and more by name.

    Attributes:
        result: that of `least_squares` for the whitened residuals.
        popt: all parameters, (K,).
        pcov: their covariance, (K, K).
        told: what the statistics are made of.
        slopes: the formula elsewhere, for bands.
        noise: standard deviation of one datum, where all have the same; None where sigma was given.
        full_output: whether it unpacks as SciPy's five.
    """

    result: LeastSquaresResult
    popt: Array
    pcov: Array
    told: Told
    slopes: Slopes
    noise: float | None
    full_output: bool = field(default=False)

    @property
    def success(self) -> bool:
        """Whether a minimum was reached."""
        return self.result.success

    @property
    def message(self) -> str:
        """How it ended, and how derivatives were taken."""
        return self.result.message

    def predict(self, x: object) -> Array:
        """f(x) with the fitted parameters, (m,)."""
        return self.slopes(x)[0]

    def band(
        self,
        x: object,
        level: float = 0.95,
        *,
        kind: Literal["confidence", "prediction"] = "confidence",
        sigma: object = None,
    ) -> tuple[Array, Array]:
        """Lower and upper limits of f(x), or of new data at x, (m,) each, by the linear model.

        Args:
            kind: of the curve itself, or of new data, whose own scatter is added.
            sigma: standard deviations of new data where `sigma` was given to the fit.

        Raises: InputError, where the scatter of new data is not known.
        """
        rows, slopes = self.slopes(x)
        variance = np.einsum("ij,jk,ik->i", slopes, self.pcov, slopes)
        if kind == "prediction":
            variance = variance + self._scatter(sigma)
        elif kind != "confidence":
            raise InputError(f'kind is {kind!r}: it is "confidence", of the curve, or "prediction", of new data.')
        away = self.told.statistics.half_width(level) * np.sqrt(variance)
        return rows - away, rows + away

    def _scatter(self, sigma: object) -> Array:
        if sigma is not None:
            known = 1.0 if self.told.statistics.absolute else self.told.statistics.reduced_chi_square
            return known * np.square(np.asarray(sigma, dtype=np.float64))
        if self.noise is None:
            raise InputError("sigma was given to the fit: pass sigma= of the new data too, band(x, sigma=…).")
        return np.asarray(self.noise**2)

    def _parts(self) -> tuple[object, ...]:
        if not self.full_output:
            return self.popt, self.pcov
        status = self.result.status
        told = {"nfev": self.result.nfev, "fvec": self.result.fun}
        return self.popt, self.pcov, told, self.message, status if status > 0 else 5

    def __iter__(self) -> Iterator[object]:
        return iter(self._parts())

    def __len__(self) -> int:
        return len(self._parts())

    def __getitem__(self, index: int) -> object:
        return self._parts()[index]

    def __repr__(self) -> str:
        pairs = ", ".join(f"{n}={v:.6g}±{e:.2g}" for n, v, e in zip(self.names, self.popt, self.stderr, strict=True))
        return f"CurveFit({pairs}, {'success' if self.success else 'no success'})"
