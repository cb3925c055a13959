"""`plan`: what a fit would do, before any work."""

from dataclasses import replace
from typing import Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from geodescent._conversion import Values
from geodescent._deadline import unhurried, within
from geodescent._errors import InputError
from geodescent.descent import Method, Observer, Stage, Stages, State, start, steps_of_first_round
from geodescent.doors._arguments import Data, checked_stopping, require_finite_start
from geodescent.doors._call import door
from geodescent.doors._plan import Asked, FitPlan, plan_fit
from geodescent.doors.planning._layers import layers_of
from geodescent.doors.planning._leaving import passed_over, until
from geodescent.doors.planning._look import Look
from geodescent.doors.planning._result import Plan, PlannedStage, Price, Timings
from geodescent.doors.planning._samples import (
    OVER_LOADERS,
    number_of_samples,
    problem_of_step,
    samples_in_words,
    whole_of,
)
from geodescent.doors.planning._solves import Solves, solves, used, why
from geodescent.metric import LayerUnits
from geodescent.outputs import Select
from geodescent.problem import EpochsSource, FixedSource, HasStart, Model, Problem, ShuffledSource, StreamedSource

PASSES_OF_START = 6.0  # Forward passes over all data before the first step of a fit.
LONG_START = 1.0  # Seconds.
ANY_STEPS = 500  # Of a fit, whose number changes nothing of its plan.


@door
def plan(
    model: Model,
    X: Data | None = None,
    y: Values | None = None,
    *,
    weights: Values | None = None,
    stop: Literal["cost", "validation"] | None = None,
    method: Method | Stages | None = None,
    max_seconds: float | None = None,
    select: Select | None = None,
) -> Plan:
    """What `gd.fit` would do with the same arguments: its stages, why, memory, and seconds a step; no step is taken.

        print(gd.plan(model, X, y))

    The stages are those of `gd.fit` itself, and rules for leaving a stage are asked at the model's own parameters. Of a
    step, the parts are measured: outputs and Jacobian, products with D, passes through the model, and solves of small
    matrices; those of large ones follow from their flops and the rate of products of matrices. Where all samples would
    take more than about a second, few are measured, and seconds are in proportion. Fourteen fits took 0.5 to 1.5 times
    the seconds that were foretold for their first steps (docs/routes.md).

    Args:
        model, X, y, weights, stop, method, max_seconds, select: as in `gd.fit`. With `max_seconds` a fit takes shorter
            steps where the planned ones would be too long. Over a DataLoader its first batch is looked at.

    Returns:
        A `Plan`; print it, or read its `stages`, `layers`, `measured`. The model is as it was.

    Raises: InputError, JacobianError, MemoryPlanError: as `gd.fit` does before any work.
    Cost: one to a few seconds.
    """
    checked_stopping(None, ANY_STEPS, max_seconds, stop)
    by_validation = stop == "validation"
    if by_validation and isinstance(X, DataLoader):
        raise InputError(
            'stop="validation" over a DataLoader needs validation data, and takes the same steps as without: leave '
            "stop= out, gd.plan(model, loader)."
        )
    with torch.random.fork_rng(devices=[]):  # a loader draws the seed of its order
        with within(max_seconds):
            asked = Asked(model, X, y, weights, select, call="plan")
            fit = plan_fit(asked, method, None, by_validation=by_validation)
        with unhurried():
            looks = _looks(fit.stages)
            whole = _look_at_whole(fit.stages[-1], looks[-1])
            state = _start(fit, looks[0], whole, by_validation=by_validation)
            with within(max_seconds):
                passed = passed_over(fit.stages, state, looks)
                left = [until(fit.stages, index) for index in range(len(fit.stages))]
            return _planned(fit, looks, whole, list(zip(passed, left, strict=True)), _notes(model, fit), method is None)


def _looks(stages: Stages) -> list[Look]:
    """At the problem of each stage; stages on the same rows share one."""
    known = dict[tuple[object, ...], Look]()
    found = list[Look]()
    for stage in stages:
        problem = problem_of_step(stage.source)
        rows = (*(id(block.map) for block in problem.blocks), stage.solve_dtype)
        if rows not in known:
            look = Look.at(problem, stage.solve_dtype)
            known[rows] = _of_all_batches(look, stage.source) if isinstance(stage.source, StreamedSource) else look
        found.append(known[rows])
    return found


def _of_all_batches(look: Look, source: StreamedSource) -> Look:
    """The look at a first batch, as one at all of them."""
    times = number_of_samples(source.whole) / number_of_samples(look.problem)
    return replace(look, problem=source.whole, linearisation=times * look.linearisation, in_passes=True)


def _look_at_whole(last: Stage, look: Look) -> Look:
    """At the problem of all data, whose gradient is the unit of prices."""
    problem = whole_of(last.source)
    return look if look.problem is problem else Look.at(problem, last.solve_dtype, as_far_as_fits=True)


def _start(fit: FitPlan, first: Look, whole: Look, *, by_validation: bool) -> State | None:
    """The state of a fit before its first step; None over batches, whose cost would take a pass over the data.

    Where passes over all data would take long, its costs are those of the samples that were looked at.
    """
    last, observer = fit.stages[-1], Observer(by_validation=by_validation)
    if isinstance(last.source, OVER_LOADERS):
        return None
    if PASSES_OF_START * whole.forward <= LONG_START:
        state = start(fit.stages, observer, LayerUnits.of(fit.problem))
        require_finite_start(fit.problem, state.best.cost)
        return state
    state = start((replace(last, source=FixedSource(first.few)),), observer)
    require_finite_start(first.few, state.best.cost)
    return state


def _planned(
    fit: FitPlan, looks: list[Look], whole: Look, left: list[tuple[str, str]], notes: tuple[str, ...], is_planned: bool
) -> Plan:
    """The plan, from what was looked at.

    Args:
        left: of each stage, why it is passed over, and when it is left.
    """
    problem = whole_of(fit.stages[-1].source)
    stages = list[PlannedStage]()
    for index, (stage, look) in enumerate(zip(fit.stages, looks, strict=True)):
        lift = used(stage, look)
        found = solves(lift, stage, look)
        numbers = found.numbers
        held = None if numbers is None else look.held_bytes + numbers * stage.solve_dtype.itemsize
        in_gradients = None if found.seconds is None else found.seconds / whole.gradient
        n_samples = number_of_samples(look.problem)
        n_steps, of_round = _round_of(stage, found, look, whole)
        price = Price(n_samples, found.order, held, found.seconds, in_gradients, found.late_seconds, n_steps, of_round)
        reason = why(stage, look, is_planned=is_planned)
        passed, until_then = left[index]
        on = samples_in_words(stage.source)
        stages.append(PlannedStage(on, lift.name, found.words, reason, until_then, passed, price))
    times = Timings(whole.gradient, whole.linearisation, whole.product, number_of_samples(whole.few))
    return Plan(
        n_samples=number_of_samples(problem),
        n_outputs=_outputs_of(problem),
        n_params=problem.n_params,
        n_residuals=problem.n_residuals,
        dtype=str(problem.dtype).removeprefix("torch."),
        layers=layers_of(whole.few, whole.jacobian.blocks),
        stages=tuple(stages),
        measured=times,
        notes=notes,
    )


def _round_of(stage: Stage, found: Solves, look: Look, whole: Look) -> tuple[int, float | None]:
    """Steps of the first round, and its seconds: steps on batches share a pass over all samples, for their cost."""
    if isinstance(stage.source, EpochsSource) and found.seconds is not None:
        n_steps = stage.source.n_batches(0)
        return n_steps, n_steps * found.seconds + whole.forward
    if not isinstance(stage.source, ShuffledSource) or found.seconds is None or found.products is None:
        return 1, found.seconds
    n_steps = steps_of_first_round(look.jacobian, found.products, stage.source.first)
    return n_steps, n_steps * found.seconds + whole.forward


def _outputs_of(problem: Problem) -> int | None:
    numbers = {block.n_outputs for block in problem.blocks}
    return numbers.pop() if len(numbers) == 1 else None


def _notes(model: Model, fit: FitPlan) -> tuple[str, ...]:
    """What a fit says before its first step, and what it does before it."""
    chosen = isinstance(model, HasStart) and not isinstance(model, nn.Module) and model.is_fresh
    said = ["gd.fit chooses the start of the network first, by the residual of its equations."] if chosen else []
    return (*fit.notes, *said)
