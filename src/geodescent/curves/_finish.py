"""From the end of a descent to a result: SciPy's fields, covariance, and what is known of each parameter."""

import math
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from geodescent.curves._kept import Kept
from geodescent.curves._report import undetermined
from geodescent.curves._results import LeastSquaresResult, Told
from geodescent.curves._rows import Rows
from geodescent.curves._solve import Limits, Solved, solve
from geodescent.curves._statistics import Statistics, covariance_of


def result_of(rows: Rows, solved: Solved, *, absolute: bool, total_square: float) -> LeastSquaresResult:
    """The result of a finished descent.

    Args:
        absolute: whether the data's errors are known.
        total_square: χ² of the best constant; NaN where there is none.
    """
    loss, arrangement = rows.loss, rows.formula.arrangement
    residual, per_u = solved.residual, solved.jacobian
    jacobian = per_u / arrangement.scale
    gradient = jacobian.T @ (residual * loss.weight(residual))
    scaled = jacobian if loss.is_linear else jacobian * loss.curvature(residual)[:, None]
    full = arrangement.full(solved.u)
    cost = loss.cost(residual)
    statistics = _statistics(rows, solved.u, full, scaled, cost, absolute=absolute, total_square=total_square)
    return LeastSquaresResult(
        x=full.cpu().numpy(),
        cost=cost,
        fun=residual.cpu().numpy(),
        jac=scaled.cpu().numpy(),
        grad=gradient.cpu().numpy(),
        optimality=float(
            (gradient * _room(full[list(arrangement.free)], gradient, arrangement.lower, arrangement.upper)).abs().max()
        ),
        active_mask=solved.bounds.cpu().numpy(),
        nfev=solved.nfev,
        njev=solved.njev,
        status=solved.status,
        message=solved.message,
        success=solved.status > 0,
        told=_told(rows, solved, statistics, full),
    )


def _room(x: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Coleman and Li's: the distance to the bound that descent goes to, 1 where there is none."""
    room = torch.where(gradient < 0.0, upper - x, x - lower)
    return torch.where(torch.isfinite(room), room, torch.ones_like(room))


def _statistics(
    rows: Rows, u: Tensor, full: Tensor, scaled: Tensor, cost: float, *, absolute: bool, total_square: float
) -> Statistics:
    arrangement = rows.formula.arrangement
    m, k = scaled.shape
    covariance, unknown = covariance_of(scaled, rows.formula.resolution)
    turn = (arrangement.derivative(u) / arrangement.scale).cpu()
    if unknown:
        moves = turn.abs().amax(1) > 0.0
        covariance = torch.where(moves[:, None] & moves, math.inf, 0.0)
    else:
        variance = 1.0 if absolute else 2.0 * cost / (m - k) if m > k else math.inf
        covariance = turn @ covariance.cpu() @ turn.T
        covariance = covariance * variance if math.isfinite(variance) else torch.where(covariance != 0.0, math.inf, 0.0)
    return Statistics(
        arrangement.names,
        full.cpu().numpy(),
        covariance.numpy(),
        m,
        k,
        2.0 * cost,
        total_square,
        absolute,
        tuple(arrangement.names[arrangement.free[j]] for j in unknown),
    )


def _told(rows: Rows, solved: Solved, statistics: Statistics, full: Tensor) -> Told:
    arrangement = rows.formula.arrangement
    names = arrangement.names
    marks = {name: "fixed" for i, name in enumerate(names) if i not in arrangement.free}
    marks |= {names[place]: "tied" for place in arrangement.ties}
    for place, side in zip(arrangement.free, solved.bounds.tolist(), strict=True):
        if side:
            marks[names[place]] = f"at its {'upper' if side > 0 else 'lower'} bound"
    edges = zip(arrangement.lower.tolist(), arrangement.upper.tolist(), strict=True)
    return Told(
        statistics,
        {names[i]: float(arrangement.start[i]) for i in arrangement.free},
        marks,
        dict(zip(arrangement.free, edges, strict=True)),
        Kept(_Refits(rows, full, statistics.covariance)),
        solved.message,
    )


class _Refits:
    """`(place, value) ↦ χ²`, the others fitted again from where the covariance expects them."""

    def __init__(self, rows: Rows, full: Tensor, covariance: object) -> None:
        self._rows, self._full, self._covariance = rows, full, torch.as_tensor(covariance, device=full.device).to(full)

    def __call__(self, place: int, value: float) -> float:
        arrangement, column = self._rows.formula.arrangement, self._covariance[:, place]
        moved = self._full + column / column[place] * (value - self._full[place])
        free = list(arrangement.free)
        moved[free] = torch.clamp(moved[free], arrangement.lower, arrangement.upper)
        formula = self._rows.formula
        least = math.inf
        for at in (moved, self._full):
            rows = replace(self._rows, formula=replace(formula, arrangement=arrangement.without(place, value, at)))
            cost = self._cost(rows)
            if cost < math.inf:
                least = cost
                break
        return 2.0 * least

    def _cost(self, rows: Rows) -> float:
        first = rows.formula.arrangement.first
        residual = rows.residual(first)
        if not bool(torch.isfinite(residual).all()):
            return math.inf
        if len(first):
            residual = solve(rows, Limits()).residual
        return rows.loss.cost(residual)


def warn_of(result: LeastSquaresResult) -> None:
    """SciPy's OptimizeWarning, where no minimum was reached, or the covariance is not known."""
    sentence = _doubt(result)
    if sentence is not None:
        from scipy.optimize import OptimizeWarning

        warnings.warn(sentence, OptimizeWarning, stacklevel=4)  # the line that called `curve_fit`, past its decorator


def _doubt(result: LeastSquaresResult) -> str | None:
    statistics = result.told.statistics
    if not result.success:
        return f"no minimum was reached: {result.message} Pass another start, p0."
    if statistics.unknown:
        way = "Fix one of them" if len(statistics.unknown) > 1 else "Fix it"
        return f"the covariance is not known: the data do not {undetermined(statistics.unknown)}. {way}."
    if not statistics.absolute and statistics.degrees <= 0:
        return (
            f"the covariance is not known: {statistics.n_rows} data for {statistics.n_free} free parameters leave no "
            "measure of their scatter. Pass more data, or sigma and absolute_sigma=True."
        )
    return None
