"""The plan of a fit: its stages, its validation cost, and notes for the user."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geodescent._conversion import Values
from geodescent._deadline import unhurried
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.descent import (
    PROGRESS,
    GainRatio,
    MeasuredExactly,
    Method,
    Patience,
    Spring,
    Stage,
    Stages,
    State,
    Stopping,
    batches_stage,
    planned_lift,
    planned_stages,
)
from geodescent.doors._arguments import Data, checked_method
from geodescent.generalisation import Validation, in_units, split_off, validation_cost
from geodescent.lift import KrylovLift
from geodescent.metric import LayerUnits
from geodescent.outputs import Select
from geodescent.problem import (
    EXACT_VALUES,
    VALUES_WEIGHT,
    BatchSource,
    DrawnSource,
    FixedSource,
    GrowingSource,
    Model,
    PartSource,
    Problem,
    Source,
    StreamedSource,
    may_be_rounding,
    part_of,
    problem_of,
    rounding_floor,
)

logger = logging.getLogger("geodescent")

GENTLE = GainRatio(initial_damping=1e4, fall=0.3)
"""The control of a fit with `stop="validation"`: from the smoothest fit to the closest (docs/decisions.md)."""

WATCHING = Patience(12, closer=PROGRESS)
"""Of a fit with `validation=`: on 84 runs never above 1.05 times the least validation cost of the whole path, and
never before the end of a noise-free one; 10 steps would do, 6 end noise-free ones (docs/decisions.md)."""
OVER_BATCHES = Patience(math.inf)
"""Where each step has one batch of a DataLoader, costs are those of batches, and the run is not ended by them."""


SAMPLES_OF_A_NOTE = 100  # Samples: their mean outputs show whether targets lie a hundred times their spread away.


@dataclass(frozen=True)
class FitPlan:
    """A fit before its first step.

    Attributes:
        stages: of the descent; the source of the last one has all data.
        judge: θ ↦ the validation cost, or None without validation data.
        notes: sentences for the user.
    """

    stages: Stages
    judge: Callable[[Theta], float | None]
    notes: list[str]

    @property
    def problem(self) -> Problem:
        """The problem of the last stage's source."""
        return self.stages[-1].source.first


@dataclass(frozen=True)
class Asked:
    """What a door is asked to fit.

    Attributes:
        model, X, y, weights, select: as in `gd.fit`.
        call: the door, "fit" or "plan", whose name messages have.
    """

    model: Model
    X: Data | None
    y: Values | None
    weights: Values | None
    select: Select | None
    call: str

    @property
    def judged(self) -> str:
        """How else a run is judged by validation, where no samples can be drawn for it."""
        if self.call == "plan":
            return "leave stop= out, because gd.plan has no validation="
        return "pass validation=(X, y), or another gd.Problem over the same parameters"

    def problem(self) -> Problem:
        """Of all data. Raises InputError for what cannot be fitted."""
        assert not isinstance(self.X, DataLoader)
        with unhurried():
            return problem_of(self.model, self.X, self.y, self.weights, call=self.call, select=self.select)


def plan_fit(asked: Asked, method: object, validation: Validation | None, *, by_validation: bool) -> FitPlan:
    """The stages for these data by this method; the planned ones where none is given."""
    chosen = checked_method(method)
    if isinstance(asked.X, DataLoader):
        if asked.y is not None or asked.weights is not None:
            raise InputError(
                f"a DataLoader brings its own targets and no weights: pass gd.{asked.call}(model, loader)."
            )
        return _over_loader(asked, asked.X, chosen, validation, by_validation=by_validation)
    problem = whole = asked.problem()
    if isinstance(chosen, tuple):
        return _own_stages(asked, problem, chosen, validation, by_validation=by_validation)
    notes = whole.notes
    if by_validation and validation is None:
        problem, validation = split_off(whole, otherwise=asked.judged)
        drawn, n_samples = validation.blocks[0].n_samples, whole.blocks[0].n_samples
        notes.append(f"Of the {n_samples} samples {drawn} were drawn for validation.")
    judge = validation_cost(problem, validation)
    notes += judge.notes
    if chosen is None and not by_validation:
        stages = planned_stages(problem, part_of(problem))
        notes += _opening_notes(stages)
    else:
        single = chosen or Method(control=GENTLE)
        stages = (single.stage(FixedSource(problem), problem),)
    return FitPlan(stages, judge, notes)


def _own_stages(
    asked: Asked, problem: Problem, stages: Stages, validation: Validation | None, *, by_validation: bool
) -> FitPlan:
    if stages[-1].source.first is not problem:
        raise InputError(
            "stages bring their own sources: pass the problem that the last of them is over, "
            f"gd.{asked.call}(problem, method=(gd.Stage(gd.FixedSource(problem), …),))."
        )
    for number, stage in enumerate(stages, 1):
        if stage.source.first is not problem:
            raise InputError(
                f"the costs of stage {number} are not those of the problem: take steps on other samples by "
                "gd.PartSource(gd.FixedSource(problem), other), which measures the cost of the problem at each step."
            )
    if by_validation and validation is None:
        raise InputError(
            f'stop="validation" over stages needs validation=: no samples are drawn from their sources; {asked.judged}.'
        )
    judge = validation_cost(problem, validation)
    return FitPlan(stages, judge, [*problem.notes, *judge.notes])


def _opening_notes(stages: Stages) -> list[str]:
    source = stages[0].source
    if isinstance(source, DrawnSource):
        n_samples = sum(block.n_samples for block in source.first.blocks)
        samples = "all" if source.is_whole else f"{source.n_drawn} samples of {n_samples}, drawn anew for each"
        products = ", by few products with D" if source.by_products else ""
        return [
            f"The planned steps would take too much of max_seconds: shorter ones are taken, on {samples}{products}. A "
            "larger max_seconds leaves time for better ones."
        ]
    if not isinstance(source, PartSource):
        return []
    drawn, n_samples = source.drawn.blocks[0].n_samples, source.first.blocks[0].n_samples
    return [f"Steps are taken on {drawn} of {n_samples} samples first, as long as these lower the cost of all."]


def _over_loader(
    asked: Asked,
    loader: DataLoader[tuple[Tensor, Tensor]],
    method: Method | Stages | None,
    validation: Validation | None,
    *,
    by_validation: bool,
) -> FitPlan:
    """Steps on batches that grow, or on one batch each where a matrix can be factorised; on all batches together where
    the lift needs only sums over rows."""
    model, select = asked.model, asked.select
    if not isinstance(model, nn.Module):
        raise InputError(f"a DataLoader goes with a module: pass gd.{asked.call}(model, loader).")
    if by_validation and validation is None:
        raise InputError('stop="validation" over a DataLoader needs validation=(X, y): no samples are drawn from it.')
    if isinstance(method, tuple):
        raise InputError("stages bring their own sources: pass a problem in the place of model and DataLoader.")
    chosen = method or Method()
    whole = chosen.lift is not None and chosen.lift.adds_over_batches and not isinstance(chosen.control, Spring)
    if whole:
        with unhurried():
            streamed = StreamedSource.of(model, loader, select)
        stage = chosen.stage(streamed, streamed.whole)
    else:
        with unhurried():
            batches = BatchSource.of(model, loader, select)
        stage = (
            batches_stage(GrowingSource(batches)) if method is None and _is_large(batches) else _alone(batches, chosen)
        )
    first = stage.source.first
    note = f"The certificate is that of the first batch, {first.blocks[0].n_samples} samples."
    judge = validation_cost(first, validation)
    return FitPlan((stage,), judge, [*first.notes, *judge.notes, note])


def _is_large(batches: BatchSource) -> bool:
    """Whether a fit of all samples, held in memory, would have no matrix that can be factorised."""
    lift, first = planned_lift(batches.first), batches.first
    chosen = lift.choice(batches.most_rows, first.n_params, dtype=torch.float64, device=first.device)
    return isinstance(chosen, KrylovLift)


def _alone(batches: BatchSource, method: Method) -> Stage:
    """Each step on one batch of the loader, with momentum where no control is given."""
    planned = method.stage(batches, batches.first)
    if method.control is not None:
        return planned
    return Method(method.lift, planned.walk, Spring(), method.solve_dtype).stage(batches, batches.first)


def watched(stopping: Stopping, stop: str | None, validation: Validation | None, source: Source) -> Stopping:
    """The same, and the best point is that of least validation cost, where validation data are given without `stop`.

    Args:
        source: of the last stage.
    """
    if stop is not None or validation is None:
        return stopping
    return replace(stopping, by_validation=True, patience=OVER_BATCHES if isinstance(source, BatchSource) else WATCHING)


def kept_notes(state: State, stopping: Stopping) -> list[str]:
    """A note where validation data have chosen another point than the last."""
    step = state.least_validation()[1]
    if not stopping.by_validation or step == state.step:
        return []
    return [f"Kept is step {step}, of the least validation cost; stop='cost' keeps that of the least cost."]


def exact_notes(stages: Stages, state: State) -> list[str]:
    """A note where measured values have turned out to be exact, and steps weigh them so from then on."""
    source = stages[state.stage.index].source
    before = stages[state.stage.index - 1].leave if state.stage.index > 0 else ()
    if not (any(isinstance(rule, MeasuredExactly) for rule in before) and isinstance(source, PartSource)):
        return []
    pairs = zip(source.first.blocks, source.drawn.blocks, strict=True)
    names = ", ".join(repr(block.name) for block, raised in pairs if block.weight != raised.weight)
    return [
        f"The values of {names} are met to {EXACT_VALUES:g} of their size, as exact ones are: from then on steps weigh "
        f"them by {VALUES_WEIGHT:g}, as exact values. The cost is by the weights of the terms."
    ]


def unit_notes(problem: Problem, units: LayerUnits | None) -> list[str]:
    """A note for a start that the units of the data have saturated, by the outputs of a few samples."""
    saturated = in_units(problem, problem.theta, units, most_samples=SAMPLES_OF_A_NOTE)[1].saturated
    if saturated is None:
        return []
    note = (
        f"The {saturated}, and the network starts as for data of order 1: gd.initialise(model, X, y), or "
        "gd.fit(…, initialise=True), suits the start to the data."
    )
    logger.warning(note)
    return [note]


def target_notes(problem: Problem, target_cost: float, state: State) -> list[str]:
    """A note for a target that a fit cannot reach because of rounding."""
    if not target_cost > 0.0 or not (state.floor or may_be_rounding(problem, target_cost, state.reference)):
        return []
    floor = state.floor or rounding_floor(problem, state.theta)
    if not target_cost < floor:
        return []
    note = (
        f"The target_cost = {target_cost:.3g} lies under the rounding floor, about {floor:.1e} for {problem.dtype} "
        "at this scale of y: no run in this precision reaches it."
    )
    logger.warning(note)
    return [note]
