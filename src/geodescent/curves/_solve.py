"""The descent of a fit with few parameters, and how it ended in SciPy's words."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._record import Result, StepRecord
from geodescent._settings import BELOW_ONE, OrNone, Whole, settle
from geodescent.curves._box_control import UNDETERMINED, BoxControl, box_step, polished
from geodescent.curves._differences import Differences
from geodescent.curves._rows import Rows
from geodescent.descent import STATIONARY, Clock, EulerWalk, Method, Observer, Stopping, descend, start
from geodescent.doors import fit
from geodescent.problem import FixedSource, Problem

Box = tuple[Tensor, Tensor]
BY_ITSELF = (Result.stationary, Result.rounding_floor, Result.target_reached, Result.no_progress)
"""Results of runs that ended by themselves: the point itself says whether it is a minimum."""
STATUS = {Result.max_steps: 0, Result.max_seconds: 0, Result.stopped: -2, Result.interrupted: -2}
"""Result → SciPy's status, where the run did not end by itself; −1 for every other failure."""
FINAL = "3-point"
"""Scheme of differences at the end, for the last digits: an error of D moves the minimum by as much."""
AT_THE_END = f", {FINAL} ones at the end"
WITHOUT_BEND = (
    "; the last {} steps were taken along the lines of Levenberg and Marquardt, as the descent found no other"
)
AT_MINIMUM = "No direction lowers the cost to first order: this is a minimum, or another point where its slope is zero."
KEPT = "No direction that the bounds allow lowers the cost to first order."
EXACT = "The cost is zero to rounding: the formula meets the data."
SMALL_FALL = "The last step lowered the cost by less than ftol of it."
ENOUGH_CALLS = "max_nfev calls of the function were made."


@dataclass(frozen=True)
class Limits:
    """When a fit ends before its minimum.

    Attributes:
        max_nfev: calls of the user's function, looked at after each step; None for 100 steps' worth of the default.
        max_steps, max_seconds: of the descent.
        ftol: share of the cost, the least fall of a step after which the run goes on; 0 for none.
    """

    max_nfev: int | None = None
    max_steps: int = 500
    max_seconds: float | None = None
    ftol: float = 0.0

    def __post_init__(self) -> None:
        settle(self, max_nfev=OrNone(Whole(5000, least=1)), ftol=BELOW_ONE.such_as(1e-10))


@dataclass(frozen=True, eq=False)
class Solved:
    """The end of a descent.

    Attributes:
        u: the free parameters, (k,).
        residual: whitened, without a loss, (m,).
        jacobian: of the residual by u, (m, k).
        status: SciPy's: 1, 2 for a minimum, 0 where calls, steps or seconds ran out, −1 and −2 otherwise.
        message: what happened, and how derivatives were taken.
        nfev, njev: calls of the function, and linearisations.
        steps: of the descent.
        bounds: −1, 0 or 1 for each free parameter: at its lower bound, free, at its upper one.
    """

    u: Tensor
    residual: Tensor
    jacobian: Tensor
    status: int
    message: str
    nfev: int
    njev: int
    steps: int
    bounds: Tensor


def solve(rows: Rows, limits: Limits) -> Solved:
    """The minimum near the start. Raises InputError, where the residuals at the start are not finite."""
    formula, arrangement = rows.formula, rows.formula.arrangement
    _require_finite(rows)
    problem = rows.problem()
    lower, upper = arrangement.box
    watch = _Calls(rows, limits)
    ended = (_inside if arrangement.is_bounded else _anywhere)(problem, limits, watch, (lower, upper))
    u = ended.theta
    if formula.differences == Differences() and ended.result in BY_ITSELF:
        rows = replace(rows, formula=replace(formula, differences=Differences(FINAL)))
        problem = rows.problem()
        u = polished(problem, u, (lower, upper))
    outputs, jacobian = problem.linearise(u)
    residual = rows.residual(u)
    status, message = _verdict(rows, ended.result, outputs, jacobian.dense(), u)
    if watch.reason is not None and ended.result is Result.stopped:
        status, message = watch.reason
    how = formula.said + (AT_THE_END if rows.formula is not formula else "")
    how += WITHOUT_BEND.format(ended.others) if ended.others else ""
    at = (u >= upper).int() - (u <= lower).int()
    return Solved(
        u,
        residual,
        rows.of_residual(jacobian.dense(), residual),
        status,
        f"{message} ({how})",
        formula.calls.count,
        ended.linearisations + 1,
        ended.steps,
        at,
    )


@dataclass(frozen=True)
class _Ended:
    """The end of a descent of u.

    Attributes:
        others: how many of the steps were those of the box, after the door's descent had found none.
    """

    theta: Tensor
    result: Result
    steps: int
    linearisations: int
    others: int = 0


def _anywhere(problem: Problem, limits: Limits, watch: "_Calls", box: Box) -> _Ended:
    """Without bounds: the door's own descent; where that finds no step, those of a box without walls."""
    ended = fit(problem, max_steps=limits.max_steps, max_seconds=limits.max_seconds, callback=watch.after_step)
    linearisations = int(str(ended.stats.get("linearisations", 0)))
    if ended.result is not Result.no_progress:
        return _Ended(ended.theta, ended.result, ended.steps, linearisations)
    left = None if limits.max_seconds is None else max(0.0, limits.max_seconds - ended.seconds)
    again = _inside(problem, replace(limits, max_steps=limits.max_steps - ended.steps, max_seconds=left), watch, box)
    steps = ended.steps + again.steps
    return _Ended(again.theta, again.result, steps, linearisations + again.linearisations, again.steps)


def _inside(problem: Problem, limits: Limits, watch: "_Calls", box: Box) -> _Ended:
    """Inside the box. Nothing is solved for linearly on the way, as that solution may lie outside."""
    control, source = BoxControl(*box), FixedSource(problem)
    stages, observer = (Method(walk=EulerWalk(), control=control).stage(source, problem),), Observer(seconds=Clock())
    state, counts = replace(start(stages, observer), linear=None), Counter[str]()
    seconds = math.inf if limits.max_seconds is None else limits.max_seconds
    stopping = Stopping(max_steps=limits.max_steps, max_seconds=seconds)
    ended = descend(
        stages,
        state,
        stopping=stopping,
        callback=watch.after_step,
        observer=observer,
        tally=counts,
        save=lambda state: None,
    )
    best = torch.clamp(ended.state.best.theta, *box)
    best = polished(problem, best, box) if ended.result in BY_ITSELF else best
    return _Ended(best, ended.result, ended.state.step, counts["linearisations"])


class _Calls:
    """Ends a run by `Limits`, after a step."""

    def __init__(self, rows: Rows, limits: Limits) -> None:
        self._rows, self._limits, self._cost = rows, limits, math.inf
        self.reason: tuple[int, str] | None = None

    def after_step(self, record: StepRecord) -> None:
        fell, self._cost = self._cost - record.cost, record.cost
        if 0.0 <= fell < self._limits.ftol * record.cost:
            self.reason = (2, SMALL_FALL)
        most = self._limits.max_nfev
        if most is not None and self._rows.formula.calls.count >= most:
            self.reason = (0, ENOUGH_CALLS)
        if self.reason is not None:
            raise StopIteration


def _require_finite(rows: Rows) -> None:
    formula = rows.formula
    residual = rows.residual(formula.arrangement.first)
    bad = int((~torch.isfinite(residual)).sum())
    if bad:
        start = ", ".join(
            f"{n} = {v:g}" for n, v in zip(formula.arrangement.names, formula.arrangement.start.tolist(), strict=True)
        )
        what = "is" if bad == 1 else "are"
        raise InputError(
            f"{bad} of {len(residual)} residuals {what} not finite at the start, {start}: pass another start, where "
            f"{formula.call.name} is defined."
        )


def _verdict(rows: Rows, result: Result, residual: Tensor, jacobian: Tensor, u: Tensor) -> tuple[int, str]:
    """Status and sentence, by what the linear model promises inside the bounds at the end."""
    if result not in BY_ITSELF:
        return STATUS.get(result, -1), result.value
    cost = float(residual.square().sum())
    if result is Result.rounding_floor or cost == 0.0:
        return 2, EXACT if cost == 0.0 else result.value
    lower, upper = rows.formula.arrangement.box
    scale = jacobian.norm(dim=0)
    step = box_step(jacobian, residual, (lower - u, upper - u), scale, UNDETERMINED)
    promised = cost - float((residual + jacobian @ step).square().sum())
    if promised <= STATIONARY * cost:
        return 1, KEPT if rows.formula.arrangement.is_bounded else AT_MINIMUM
    return (1, result.value) if result is Result.stationary else (-1, result.value)
