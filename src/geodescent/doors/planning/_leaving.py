"""When a stage is left, in words for each kind of rule, and which stages are passed over."""

from dataclasses import dataclass, replace
from functools import cached_property, singledispatch

from geodescent._deadline import has_deadline
from geodescent.descent import (
    LEAST_ROUNDS,
    LONG,
    PART_PATIENCE,
    AfterSteps,
    BatchesEnd,
    EigenvectorsPay,
    GradientsEnd,
    Leave,
    Linearised,
    MeasuredExactly,
    OpeningEnds,
    PartEnds,
    Stage,
    Stages,
    State,
    eigenvectors_price,
)
from geodescent.doors.planning._look import Look
from geodescent.jacobian import Jacobian, is_recorded
from geodescent.lift import Damped, Lift, Prepared, known_by_products
from geodescent.linalg import STEP_ITERATIONS
from geodescent.metric import Metric
from geodescent.problem import EXACT_VALUES, OF_ALL


@singledispatch
def rule_in_words(rule: Leave) -> str:
    """When a rule ends a stage; one of one's own is named."""
    return f"its rule {type(rule).__name__} holds"


@rule_in_words.register
def _(rule: OpeningEnds) -> str:
    return f"the cost is {rule.below:g} of its scale, or {LONG:g} exact steps would have cost as much"


@rule_in_words.register
def _(rule: BatchesEnd) -> str:
    valley = f"the cost is {rule.below:g} of its scale, or " if rule.below > 0.0 else ""
    timely = ", and max_seconds leaves time for steps on all" if has_deadline() else ""
    return f"{valley}a batch would have more than 1/{OF_ALL} of all samples{timely}"


@rule_in_words.register
def _(rule: EigenvectorsPay) -> str:
    return (
        f"products are passes through a graph, and eigenvectors of its factors cost no more than {STEP_ITERATIONS:g} "
        "iterations, or no more than the last step took"
    )


@rule_in_words.register
def _(rule: GradientsEnd) -> str:
    return f"the cost is {rule.below:g} of its scale, or hardly falls after {LEAST_ROUNDS} rounds"


@rule_in_words.register
def _(rule: PartEnds) -> str:
    return f"these samples are overfitted, or {PART_PATIENCE} steps on them do not help the others"


@rule_in_words.register
def _(rule: MeasuredExactly) -> str:
    return f"measured values are met to {EXACT_VALUES:g} of their size"


@rule_in_words.register
def _(rule: AfterSteps) -> str:
    return f"{rule.steps:,} steps of the run are taken"


def until(stages: Stages, index: int) -> str:
    """When a stage is left, and for which; empty for the last."""
    stage, last = stages[index], len(stages) - 1
    parts = [f"{rule_in_words(rule)} (then stage {min(index + rule.stages, last) + 1})" for rule in stage.leave]
    if parts and stage.stages_without_step:
        parts.append(f"no step is found (then stage {min(index + stage.stages_without_step, last) + 1})")
    return "; ".join(parts)


# --- stages that are passed over ------------------------------------------------------------------------------------


def passed_over(stages: Stages, state: State | None, looks: list[Look]) -> list[str]:
    """Why each stage would be left before its first step; empty for those in which steps are taken.

    The rules themselves are asked at the start of the run, on the way through its first stages; of later stages, and
    where few samples were looked at, the one rule whose numbers are known beforehand.

    Args:
        state: at the start; None where rules are not to be asked.
    """
    found, first = [""] * len(stages), 0
    while state is not None and first < len(stages) - 1 and looks[first].times == 1.0:
        here = _linearised(stages[first], state, looks[first])
        on = stages[first].stages_on(here, replace(state, stage=replace(state.stage, index=first)))
        if not on:
            break
        further = min(first + on, len(stages) - 1)
        for index in range(first, further):
            found[index] = _no_opening(stages[index], looks[index]) or "its rule holds at the start"
        first = further
    for index in range(first if state is None or looks[first].times > 1.0 else first + 1, len(stages)):
        found[index] = _no_opening(stages[index], looks[index])
    return found


def _no_opening(stage: Stage, look: Look) -> str:
    """Why an opening ends before its first step; empty where it does not."""
    for rule in stage.leave:
        if isinstance(rule, OpeningEnds) and not known_by_products(look.jacobian):
            worth = look.flops_of(rule.exact) / look.product_flops
            if worth <= STEP_ITERATIONS:
                return (
                    f"inexact steps pay where an exact one costs more than {STEP_ITERATIONS:g} of their iterations, "
                    f"and here it costs {worth:.2g}"
                )
        if isinstance(rule, EigenvectorsPay):
            price = eigenvectors_price(look.jacobian, look.product_flops)
            if is_recorded(look.jacobian) and price <= STEP_ITERATIONS:
                return f"the eigenvectors of its factors cost as much as {price:.2g} iterations"
    return ""


def _linearised(stage: Stage, state: State, look: Look) -> Linearised:
    """The first point as rules for leaving see it; its lift is prepared if one of them asks for it."""
    jacobian, metric = look.jacobian, state.metric.following(look.jacobian)
    cost = look.problem.cost_of(look.residual)
    later = _WhenAsked(stage.lift, jacobian, metric)
    return Linearised(look.problem, state.theta, look.residual, cost, jacobian, metric, later)


@dataclass
class _WhenAsked(Prepared):
    """A lift that is prepared when it is asked for."""

    lift_of: Lift
    jacobian: Jacobian
    metric: Metric

    @cached_property
    def _prepared(self) -> Prepared:
        return self.lift_of.prepare(self.jacobian, metric=self.metric.squares)

    def damped(self, damping: float) -> Damped:
        return self._prepared.damped(damping)

    @property
    def mean_square(self) -> float:
        return self._prepared.mean_square

    @property
    def least_damping(self) -> float:
        return self._prepared.least_damping

    @property
    def exact(self) -> bool:
        return self._prepared.exact
