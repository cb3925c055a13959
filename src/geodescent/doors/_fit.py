"""`fit`: to the least-squares minimum, as fast as possible."""

import math
import os
import time
from collections import Counter
from typing import Literal

from geodescent._conversion import Values
from geodescent._deadline import left_out, within
from geodescent._memory import Account, accounting
from geodescent._record import Callback, Result, history_of
from geodescent._settings import OneOf
from geodescent._threads import suited_threads
from geodescent.certificate import has_samples_to_leave_out
from geodescent.descent import (
    Clock,
    Descent,
    Keeper,
    Method,
    Observer,
    Stages,
    State,
    Stopping,
    descend,
    read_state,
    saving_alone,
    start,
)
from geodescent.doors._arguments import Data, checked_callback, checked_stopping, require_finite_start
from geodescent.doors._call import door
from geodescent.doors._kept_start import begin_as_kept, keep_start
from geodescent.doors._on_demand import OnDemand, on_demand
from geodescent.doors._plan import Asked, FitPlan, exact_notes, kept_notes, plan_fit, target_notes, unit_notes, watched
from geodescent.doors._progress import Progress, checked_verbose
from geodescent.doors._results import Solution
from geodescent.doors._stats import stats_of
from geodescent.doors._termination import as_ctrl_c
from geodescent.generalisation import GAINS, MOST_SAMPLES, Validation, choose_start
from geodescent.metric import LayerUnits
from geodescent.outputs import Select
from geodescent.problem import Changes, HasStart, Model, Problem

MOST_STEPS_OF_DATA, MOST_STEPS_OF_EQUATIONS = 500, 5000
"""Accepted steps: equations are fitted to the last digit, which takes many."""
SHARE_OF_START = 0.2  # Of max_seconds: choosing the start of a system of equations takes no longer.
REMEDY = "a larger max_seconds leaves time for it."


@door
def fit(
    model: Model,
    X: Data | None = None,
    y: Values | None = None,
    *,
    target_cost: float | None = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    weights: Values | None = None,
    validation: Validation | None = None,
    stop: Literal["cost", "validation"] | None = None,
    method: Method | Stages | None = None,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    select: Select | None = None,
    initialise: bool | None = None,
    verbose: int = 0,
) -> Solution:
    """Trains in place to the least-squares minimum of `C = ‖x[θ] − y‖²/(2N)`; no learning rate.

        solution = gd.fit(model, X, y, target_cost=1e-12)
        solution = gd.fit(problem)                          # a gd.Problem: several blocks of rows over one θ

    Damped Gauss–Newton steps bent along the geodesic, `θ ← θ − D_μ(x − y) − ½D_μ d²x`, judged by comparing corrections
    (`NaturalControl`) where solves are exact; straight ones, judged by the gain ratio, where they are inexact: on large
    problems, and in the opening of others. The path need not be monotone; the model is left at the best point, also
    after an exception.

    Where there are at least four times as many samples as max(500, 8K/Q), the default method takes its first steps on
    that many of them, drawn by a fixed seed; costs are those of all samples throughout, predictions and gain ratios
    those of the samples that a step is taken on (docs/decisions.md).

    Over a DataLoader each step is taken on one batch, with the momentum of SPRING (`Spring`), and C of all data is
    measured once a pass. Where network and data are too large for a matrix, steps are taken on batches that grow from
    128 samples to all that memory holds, and C of all data is measured after each round of them (docs/batches.md).
    With `method=Method(lift=NormalLift())` the steps are those of the full batch, exact, `DᵀD` being summed over the
    batches.

    Noisy data are better not fitted to the end: pass `validation=`, and the model is left where that costs least. With
    `stop="validation"` the damping falls gently from 1e4·‖B‖_F²/m, so that the path passes from the smoothest fit to
    the closest (`GainRatio(initial_damping=1e4, fall=0.3)`); the run ends six steps after the least validation cost.

    Args:
        model: any module whose output for a sample depends on that sample alone, or a whole problem; then X, y and
            weights are absent.
        X: tensor, tuple or dict of tensors, samples first; or a DataLoader of pairs (X, y). Arrays, lists, series and
            frames of pandas or polars become tensors of the model's dtype and device, which the notes say.
        y: targets in exactly the outputs' shape; (N,) for one output.
        target_cost: absolute, in the units of C; None goes on to the rounding floor.
        max_steps: the largest number of accepted steps; None for 500, and 5,000 for a system of equations.
        max_seconds: the longest time that the run may take, planning and start included, to a second or to one
            linearisation, whichever is more; what was left out for it is said in the notes. None for no bound.
        weights: w ≥ 0, (N,): rows are multiplied by √w, N = Σw.
        validation: (X, y), a DataLoader of such pairs, or another problem over the same θ, never fitted: its cost is
            recorded beside each step, the model is left where it is least, and the run ends where it has not fallen for
            long (docs/decisions.md).
        stop: "cost" goes on to the least cost, whatever the validation cost; "validation" takes gentle steps, from the
            smoothest fit to the closest, and draws a fifth of the samples by a fixed seed where no data are given.
        method: lift × walk × control of one stage, or a tuple of stages over the problem; None for the planned ones.
        callback: called with the record of each accepted step; StopIteration ends the run.
        checkpoint: a folder to save to after the first step, then every so often, at the latest every 30 s, at the end,
            at Ctrl-C and at SIGTERM, and to resume from. Where the disk is full, the notes of `stats` say so, and the
            solution is complete.
        select: picks the outputs from what the model returns, where that is a tuple, a dict or an object.
        initialise: suit the start to the data first, as `gd.initialise` does; what it did is said in the notes. None
            for True where a system of equations is fitted first, in at most a fifth of max_seconds, and False else.
        verbose: 0 prints nothing, 1 one live line, 2 a line a step; the same goes to the logger "geodescent" as INFO.

    Raises:
        InputError, JacobianError, MemoryPlanError: before any work, with the numbers and what to do.
    """
    begin, verbose = time.perf_counter(), checked_verbose(verbose)
    most = MOST_STEPS_OF_EQUATIONS if isinstance(model, HasStart) else MOST_STEPS_OF_DATA
    stopping = checked_stopping(target_cost, most if max_steps is None else max_steps, max_seconds, stop)
    called, asked = checked_callback(callback), Asked(model, X, y, weights, select, call="fit")
    OneOf((None, False, True)).of("initialise", initialise)
    with accounting() as account, saving_alone(checkpoint) as folder, within(max_seconds, remedy=REMEDY):
        plan = plan_fit(asked, method, validation, by_validation=stop == "validation")
        stopping = watched(stopping, stop, validation, plan.stages[-1].source)
        begin_as_kept(model, folder)
        state, notes = read_state(folder, plan.stages, planned=method is None), list(plan.notes)
        if state is None:
            suited = _suited(model, plan.problem, initialise, max_seconds)
            state, said = _begun(plan, suited, by_validation=stopping.by_validation)
            notes += said
            keep_start(model, folder)
        notes += target_notes(plan.problem, stopping.target_cost, state)
        keeper, counts = Keeper(folder, state), Counter[str]()
        judged = state.records[0].validation_cost is not None
        wanted = state.step == 0 and (judged or has_samples_to_leave_out(plan.problem))
        origin = state.theta if wanted else None
        with as_ctrl_c(wanted=folder is not None), Progress(verbose, called, state.records[-1]) as progress:
            descent, said = _descended(plan, stopping, progress, keeper, counts)
        notes += said
    notes += [*keeper.notes(), *exact_notes(plan.stages, descent.state), *kept_notes(descent.state, stopping)]
    best = descent.state.best.theta
    certificate = on_demand(plan.problem, best, target_cost=target_cost, start=origin, judged=judged)
    return _solution(plan, descent, counts, account, notes, certificate, begin)


def _solution(
    plan: FitPlan,
    descent: Descent,
    counts: Counter[str],
    account: Account,
    notes: list[str],
    certificate: OnDemand,
    begin: float,
) -> Solution:
    """The solution of a run that began at `begin`."""
    problem, last_stage, state = plan.problem, plan.stages[-1], descent.state
    return Solution(
        cost=state.best.cost,
        cost0=state.records[0].cost,
        result=descent.result,
        history=history_of(state.records),
        stats=stats_of(problem, descent.described, last_stage.solve_dtype, counts=counts, account=account, notes=notes),
        steps=state.step,
        seconds=time.perf_counter() - begin,
        theta=state.best.theta,
        on_demand=certificate,
    )


def _suited(model: Model, problem: Problem, initialise: bool | None, max_seconds: float | None) -> list[str]:
    """Suits the start to the data where that is wanted, and says what was changed."""
    if isinstance(model, HasStart) and (initialise or (initialise is None and model.is_fresh)):
        seconds = math.inf if max_seconds is None else SHARE_OF_START * max_seconds
        chosen: Changes | None = model.choose_start(seconds=seconds)
    elif initialise and not isinstance(model, HasStart):
        chosen = choose_start(problem, GAINS, MOST_SAMPLES, seed=0)
    else:
        chosen = None
    return [] if chosen is None else [f"{change[0].upper()}{change[1:]}." for change in chosen.changes]


def _begun(plan: FitPlan, notes: list[str], *, by_validation: bool) -> tuple[State, list[str]]:
    """The state before the first step, and what there is to say of the start."""
    problem = plan.problem
    units = LayerUnits.of(problem)
    state = start(plan.stages, Observer(plan.judge, by_validation=by_validation), units)
    require_finite_start(problem, state.best.cost)
    return state, notes or unit_notes(problem, units)


def _descended(
    plan: FitPlan, stopping: Stopping, callback: Callback, keeper: Keeper, counts: Counter[str]
) -> tuple[Descent, list[str]]:
    """The descent from the keeper's state, and what there is to say of it.

    Also after an exception the model is left at the best point and saved.
    """
    observer = Observer(plan.judge, Clock(keeper.state.records[-1].seconds), stopping.by_validation)
    with suited_threads() as threads:

        def save(state: State) -> None:
            keeper(state)
            threads.look()

        try:
            descent = descend(
                plan.stages,
                keeper.state,
                stopping=stopping,
                callback=callback,
                observer=observer,
                tally=counts,
                save=save,
            )
        finally:
            plan.problem.write(keeper.state.best.theta)
            keeper.write()
    untimely = left_out(time_is_said=descent.result is Result.max_seconds)
    return descent, [sentence for sentence in (threads.sentence, untimely) if sentence]
