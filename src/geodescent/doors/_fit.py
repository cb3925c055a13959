"""The doors: fit, flow, certify."""

import logging
import math
import os
import time as clock
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geodescent._errors import InputError
from geodescent._record import Callback, Result, StepRecord
from geodescent.certificate import Certificate, certificate_of
from geodescent.descent import GainRatio, Keeper, Method, Spring, Stopping, read_state
from geodescent.descent import _descend as _solve
from geodescent.doors._results import Flow, Solution, history_of
from geodescent.flow import _integrate as _flow
from geodescent.flow import columns
from geodescent.generalisation import apart, judge_of
from geodescent.lift import Lift, NormalLift
from geodescent.linalg import norm
from geodescent.outputs import Inputs
from geodescent.problem import BatchSource, FixedSource, Problem, Source, StreamedSource, part_of
from geodescent.theory import stopping_time

logger = logging.getLogger("geodescent")

GENTLE = GainRatio(initial_damping=1e4, fall=0.3)  # the path of a fit that held-out cost ends (docs/decisions.md)
DEFAULT_FALL = 1e-12  # of C/C₀, where a flow is asked for neither a time nor a target
TARGET_MARGIN = 1e-6  # the flow's end may miss its target by this share: the integration's own error


def fit(
    model: nn.Module,
    X: "Inputs | DataLoader[Any]",
    y: Tensor | None = None,
    *,
    target_cost: float | None = None,
    max_steps: int = 500,
    max_seconds: float | None = None,
    weights: Tensor | None = None,
    validation: tuple[Inputs, Tensor] | None = None,
    stop: Literal["cost", "held_out"] = "cost",
    method: Method | None = None,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Solution:
    """Trains the model in place to the least-squares minimum of `C = ‖x[θ] − y‖²/(2N)`; no learning rate.

    Damped Gauss–Newton steps bent along the geodesic, `θ ← θ − D_μ(x − y) − ½D_μ d²x`, judged by comparing corrections
    (`NaturalControl`) where solves are exact; straight ones, judged by the gain ratio, where they are inexact: on large
    problems, and in the opening of others (`PlannedControl`). The path need not be monotone; the model is left at the
    best point, also after an exception.

    Where there are at least four times as many samples as max(500, 8K/Q), the default method takes its first steps on
    that many of them, drawn by a fixed seed; costs are those of all samples throughout, predictions and gain ratios
    those of the samples that a step is taken on (docs/decisions.md).

    Over a DataLoader each step is taken on one batch, with the momentum of SPRING (`Spring`), and C of everything is
    measured once a pass. With `method=Method(lift=NormalLift())` the steps are those of the full batch, exact, `DᵀD`
    being summed over the batches.

    Noisy data are better not fitted to the end. With `stop="held_out"` the model is left at the least held-out cost and
    the run ends when that has not fallen for six steps; the damping then falls gently from 1e4·‖B‖_F²/m, so that the
    path passes from the smoothest fit to the closest (`GainRatio(initial_damping=1e4, fall=0.3)`).

    Args:
        model: any module whose output for a sample depends on that sample alone.
        X: tensor, tuple or dict of tensors, samples first; or a DataLoader of pairs (X, y).
        y: targets in exactly the outputs' shape; (N,) for one output.
        target_cost: absolute, in the units of C; None goes on to the rounding floor.
        max_steps, max_seconds: bounds of the run.
        weights: w ≥ 0, (N,): rows are multiplied by √w, N = Σw.
        validation: (X, y) on which the cost is recorded beside each step; never fitted.
        stop: by the cost, or by the cost of the validation data: where none are given, of a fifth of the samples, drawn
            by a fixed seed and left out of the fit.
        method: field × lift × walk × control.
        callback: called with the record of each accepted step; StopIteration ends the run.
        checkpoint: a folder to save to every 30 s and at the end, and to resume from.

    Raises:
        InputError, JacobianError, MemoryPlanError: before any work, with the numbers and the way out.
    """
    begin = clock.perf_counter()
    stopping = _stopping(target_cost, max_steps, max_seconds, stop)
    _require_folder(checkpoint)
    source, method, judged = _source(model, X, y, weights, method, validation, held_out=stopping.held_out)
    problem = source.first
    judge = judge_of(problem, judged)
    state = read_state(checkpoint, source) or _solve.start(source, method, judge)
    notes = _notes(problem, stopping.target_cost, state.floor)
    if judged is not None and judged is not validation:
        notes.append(f"{len(judged[1])} of {len(judged[1]) + len(problem.blocks[0].target)} samples were held apart.")
    if source.part is not None and state.part_cost is not None:
        opened = len(source.part.at(0).blocks[0].target)
        notes.append(f"The first steps are taken on {opened} of {len(problem.blocks[0].target)} samples.")
    keeper, counts = Keeper(checkpoint, state), Counter[str]()
    try:
        state, result = _solve.descend(
            source,
            state,
            method=method,
            stopping=stopping,
            callback=callback or _silent,
            held_out=judge,
            counts=counts,
            save=keeper,
        )
    finally:
        problem.write(keeper.state.best)
        keeper.write()
    certificate = certificate_of(problem, target_cost=target_cost, finished=True)
    return Solution(
        cost=state.best_cost,
        cost0=state.records[0].cost,
        result=result,
        history=history_of(list(state.records)),
        certificate=certificate,
        stats=_stats(problem, method.lift, method.solve_dtype, counts, notes),
        steps=state.records[-1].step,
        seconds=clock.perf_counter() - begin,
    )


def flow(
    model: nn.Module,
    X: Inputs,
    y: Tensor,
    *,
    until: float | None = None,
    target_cost: float | None = None,
    tol: float = 1e-9,
    max_seconds: float | None = None,
    weights: Tensor | None = None,
    method: Method | None = None,
    callback: Callback | None = None,
) -> Flow:
    """Integrates the adapted flow `dθ/dτ = −D⁺(x − y)` and leaves the model at the end of the path.

    While D keeps full row rank, `C(τ) = C₀ e^{−2τ}` whatever the network (arXiv:2311.15487); the deviation returned
    is that of the plain integration: no step is corrected towards the law.

    Args:
        model, X, y, weights, callback: as in `fit`.
        until: τ at which to stop, in e-folds of the residual.
        target_cost: stop at `½ ln(C₀/target)` instead. Neither: C/C₀ = 1e-12.
        tol: local error of the outputs against ‖x − y‖; at least 1e3·eps of the model's dtype.
        max_seconds: bound of the run; where D nears singularity the flow turns stiff and slow.
        method: its field (`StraightLineField` walks t = 1 − e^{−τ}) and its lift are used.

    Raises:
        InputError: bad input, or a target below the instant floor.
    """
    begin = clock.perf_counter()
    _flow.checked_until(until, target_cost, tol)
    problem = Problem.of(model, X, y, weights=weights)
    chosen = _checked_method(method, Method())
    lift = chosen.lift.exact()
    cost0 = problem.cost(problem.outputs(problem.theta))
    if not (math.isfinite(cost0) and cost0 > 0.0):
        raise InputError(f"the cost at the start is {cost0}: the flow needs a positive, finite one to fall from.")
    floor = _flow.start_floor(problem, lift)
    end = _end(until, target_cost, cost0, floor)
    bound = _stopping(target_cost, 0, max_seconds, "cost").max_seconds
    velocity = _flow.Velocity(problem, chosen.field, lift, max_seconds=bound)
    points, result = _flow.follow(velocity, end, tol=tol, callback=callback or _silent, floor=floor)
    problem.write(points[-1].theta)
    scale = 1.0 if problem.row_scale is None else problem.row_scale
    arrays = columns(points, floor, norm(velocity.residual0 * scale))
    full = bool(np.all(arrays["rank"] == problem.n_rows_wanted)) and result is Result.time_reached
    if result is Result.time_reached and target_cost and arrays["cost"][-1] <= target_cost * (1.0 + TARGET_MARGIN):
        result = Result.target_reached
    counts = Counter({"evaluations": velocity.evaluations})
    return Flow(
        **arrays,
        max_relative_deviation=float(np.max(np.abs(arrays["cost"] / arrays["predicted_cost"] - 1.0))),
        cost0=cost0,
        floor=floor,
        result=result,
        certificate=certificate_of(problem, target_cost=target_cost, finished=True, full_rank_so_far=full),
        stats=_stats(problem, lift, torch.float64, counts, _flow.notes(points, end, result)),
        seconds=clock.perf_counter() - begin,
    )


def certify(
    model: nn.Module,
    X: Inputs,
    y: Tensor,
    *,
    weights: Tensor | None = None,
    target_cost: float | None = None,
    rcond: float | None = None,
    lipschitz: float | None = None,
) -> Certificate:
    """What is known at the model's parameters: rank, spectrum, guarantee, floors and the causes of rank loss.

    Args:
        model, X, y, weights: as in `fit`; nothing is changed.
        target_cost: for the stopping time.
        rcond: relative cut on σ; default max(m, K)·eps from D, √(m·eps) through G.
        lipschitz: a proven Lipschitz constant L of D on the ball of radius σ_min/L (THEORY 1.9).
    """
    problem = Problem.of(model, X, y, weights=weights)
    return certificate_of(
        problem, target_cost=target_cost, rcond=rcond, lipschitz=lipschitz, finished=True, forecast=True
    )


def _source(
    model: nn.Module,
    X: "Inputs | DataLoader[Any]",
    y: Tensor | None,
    weights: Tensor | None,
    method: Method | None,
    validation: tuple[Inputs, Tensor] | None,
    *,
    held_out: bool,
) -> tuple[Source, Method, tuple[Inputs, Tensor] | None]:
    """The problem of each step, the method that goes with it where none was asked for, and the validation data."""
    if not isinstance(X, DataLoader):
        if y is None:
            raise InputError("y is missing: pass fit(model, X, y), or a DataLoader of pairs (X, y).")
        problem = Problem.of(model, X, y, weights=weights)
        if held_out and validation is None:
            problem, validation = apart(problem, X, y, weights)
        chosen = _checked_method(method, Method(control=GENTLE) if held_out else Method())
        part = part_of(problem) if method is None and not held_out else None
        return FixedSource(problem, part), chosen, validation
    if y is not None or weights is not None:
        raise InputError("a DataLoader brings its own targets and no weights: pass fit(model, loader).")
    if held_out and validation is None:
        raise InputError('stop="held_out" over a DataLoader needs validation=(X, y): its samples are not held apart.')
    chosen = _checked_method(method, Method(control=Spring()))
    if isinstance(chosen.lift, NormalLift) and not isinstance(chosen.control, Spring):
        return StreamedSource.of(model, X), chosen, validation
    return BatchSource.of(model, X), chosen, validation


def _end(until: float | None, target_cost: float | None, cost0: float, floor: float) -> float:
    """The τ at which a flow is to end; 0 where it is there already, or where nothing moves."""
    if until is not None:
        return until
    if target_cost is None and cost0 - floor <= DEFAULT_FALL * cost0:
        return 0.0
    return stopping_time(cost0, target_cost or floor + DEFAULT_FALL * (cost0 - floor), floor=floor)


def _silent(record: StepRecord) -> None:
    """No callback."""


def _checked_method(method: Method | None, default: Method) -> Method:
    if method is not None and not isinstance(method, Method):
        raise InputError(f"method must be a gd.Method, not {method!r}: for example gd.Method(lift=gd.KrylovLift()).")
    return method or default


def _require_folder(checkpoint: str | os.PathLike[str] | None) -> None:
    """Raises InputError, before any work, where nothing could be saved."""
    if checkpoint is None:
        return
    try:
        Path(checkpoint).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the checkpoint folder {checkpoint} cannot be made: {error.strerror}.") from error


def _stopping(target_cost: float | None, max_steps: int, max_seconds: float | None, stop: str) -> Stopping:
    if stop not in ("cost", "held_out"):
        raise InputError(f'stop must be "cost" or "held_out", not {stop!r}.')
    if target_cost is not None and not target_cost >= 0.0:
        raise InputError(f"target_cost = {target_cost}: a cost of zero or above is needed.")
    if max_steps < 0 or (max_seconds is not None and not max_seconds >= 0.0):
        raise InputError(f"max_steps = {max_steps} and max_seconds = {max_seconds} must not be negative.")
    seconds = math.inf if max_seconds is None else max_seconds
    return Stopping(target_cost or 0.0, max_steps, seconds, stop == "held_out")


def _notes(problem: Problem, target_cost: float, floor: float) -> list[str]:
    """What must be said before the first step."""
    if not 0.0 < target_cost < floor:
        return []
    note = (
        f"target_cost = {target_cost:.3g} lies under the rounding floor, about {floor:.1e} for {problem.theta.dtype} "
        "at this scale of y: the run will end at the floor."
    )
    logger.warning(note)
    return [note]


def _stats(
    problem: Problem, lift: Lift, solve_dtype: torch.dtype, counts: Counter[str], notes: list[str]
) -> dict[str, object]:
    theta = problem.theta
    chosen = lift.choice(problem.n_residuals, problem.n_params, dtype=solve_dtype, device=theta.device)
    return {
        "lift": chosen.name,
        "lift_settings": str(chosen),
        "solve_dtype": str(solve_dtype).removeprefix("torch."),
        "model_dtype": str(theta.dtype).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "n_residuals": problem.n_residuals,
        "n_params": problem.n_params,
        "routes": problem.linearise(theta)[1].routes(),
        "threads": torch.get_num_threads(),
        "notes": notes,
        **counts,
    }
