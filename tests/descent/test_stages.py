"""Stages: what is planned, when a stage is left, what it leaves to the next, and how a run without a step ends."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from support.small_nets import F64, at, linearised, smooth
from support.steps import Watched
from torch import Tensor

import geodescent as gd
from geodescent import pde
from geodescent.descent import (
    Best,
    CostLevels,
    Damping,
    Linearised,
    Observer,
    OpeningEnds,
    Round,
    Stages,
    StageState,
    State,
    Trial,
    Walk,
    advance,
    planned_stages,
    play,
    start,
)
from geodescent.jacobian import BlockJacobian
from geodescent.lift import INEXACT
from geodescent.linalg import STEP_ITERATIONS
from geodescent.problem import rounding_floor

OBSERVER = Observer()


def begun(stages: Stages, **stage: Any) -> State:
    """The state at the start, with these fields of its stage."""
    return replace(start(stages, OBSERVER), stage=StageState(**stage))


def opening(stages: Stages) -> Linearised:
    """The start, linearised as the first stage does it."""
    return linearised(stages[0].source.at(0), stages[0].lift)


def played(stages: Stages, state: State, here: Linearised) -> State:
    """The state after a round that took a step."""
    after = advance(stages, state, here, OBSERVER)
    assert isinstance(after, Round) and after.stepped
    return after.state


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lift", "natural"), [(gd.GramLift(), True), (gd.NormalLift(), True), (gd.KrylovLift(), False)]
)
def test_the_plan_compares_corrections_only_where_solves_are_exact(lift: Any, natural: bool) -> None:
    problem = gd.Problem.of(*smooth())
    stage = gd.Method(lift=lift).stage(gd.FixedSource(problem), problem)
    assert stage.lift is lift
    assert isinstance(stage.control, gd.NaturalControl if natural else gd.GainRatio)
    assert isinstance(stage.walk, gd.GeodesicWalk if natural else gd.EulerWalk)


def test_what_a_method_says_is_what_its_stage_does() -> None:
    problem = gd.Problem.of(*smooth())
    parts = gd.NormalLift(), gd.EulerWalk(0.3), gd.GainRatio(fall=0.2), torch.float32
    stage = gd.Method(*parts).stage(gd.FixedSource(problem), problem)
    assert (stage.lift, stage.walk, stage.control, stage.solve_dtype) == parts


@dataclass(frozen=True)
class SolvesNoted(Watched):
    """A control that notes whether its step's solves were iterative ones."""

    iterative: list[bool] = field(default_factory=list)

    def step(self, here: Linearised, walk: Walk, state: Any, levels: CostLevels) -> tuple[Trial, Any] | None:
        before = here.tally["iterations"]
        taken = super().step(here, walk, state, levels)
        self.iterative.append(here.tally["iterations"] > before)
        return taken


@pytest.mark.slow
def test_a_descent_opens_with_inexact_steps_and_ends_with_exact_ones() -> None:
    problem, iterative = gd.Problem.of(*smooth(500, width=130)), list[bool]()
    stages = tuple(replace(s, control=SolvesNoted(s.control, iterative=iterative)) for s in planned_stages(problem))
    solution = gd.fit(problem, target_cost=1e-20, method=stages)
    assert solution.result is gd.Result.target_reached
    assert iterative[0] and not iterative[-1]
    assert iterative == sorted(iterative, reverse=True)  # once over, the opening does not come back


def test_the_planned_stages_are_those_of_a_fit() -> None:
    histories = []
    for planned in (False, True):
        problem = gd.Problem.of(*smooth(300, width=90))
        solution = gd.fit(problem, max_steps=6, method=planned_stages(problem) if planned else None)
        histories.append([solution.history["cost"].tolist(), solution.history["damping"][1:].tolist()])
    assert histories[0] == histories[1]


def test_the_opening_forms_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = planned_stages(gd.Problem.of(*smooth(1000, width=260)))
    here = opening(stages)

    def refuse(*arguments: object) -> Tensor:
        raise AssertionError("a matrix of all rows or parameters was formed")

    monkeypatch.setattr(BlockJacobian, "gram", refuse)
    monkeypatch.setattr(BlockJacobian, "normal", refuse)
    after = played(stages, begun(stages), here)
    assert after.cost < here.cost and after.stage.index == 0


# --- when a stage is left -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "reference", "over"),
    [(0.0, 1.0, False), (1e9, 1.0, True), (0.0, 1e6, True)],
    ids=["early", "long", "in the valley"],
)
def test_the_opening_ends_in_the_valley_or_when_it_was_long(before: float, reference: float, over: bool) -> None:
    stages = planned_stages(gd.Problem.of(*smooth(1000, width=260)))
    here = opening(stages)
    begin = stages[0].control.begin(here)
    state = replace(begun(stages, control=begin, work=before), reference=here.cost * reference)
    after = played(stages, state, here)
    assert (after.stage.index == 1) is over
    if over:  # the control that follows goes on with the damping that this one would have gone on with
        taken, _ = stages[0].control.step(opening(stages), stages[0].walk, begin, state.levels)
        exact = here.by(stages[1].lift)
        following = stages[1].control.begin(exact, after.stage.damping)
        assert after.stage.control is None
        assert following.damping.at(exact) == pytest.approx(taken.next_damping, rel=1e-9)


def test_equations_leave_the_opening_early_and_factorise_larger_matrices() -> None:
    """At a tenth of the first cost in place of a thousandth, and up to order 6,000 in place of 3,000."""
    points = pde.Box(x=(0.0, 1.0)).inside(9)
    term = pde.Term("decay", lambda u: u.x + u, points)
    system = pde.System(pde.mlp(1, [4], 1), [term], coordinates=("x",))
    for problem, below, exact in ((system.problem(), 0.1, True), (gd.Problem.of(*smooth(9)), 1e-3, False)):
        first, second = planned_stages(problem)
        assert [rule.below for rule in first.leave if isinstance(rule, OpeningEnds)] == [below]
        assert second.lift.choice(3500, 10000, dtype=F64, device=torch.device("cpu")).exact is exact


def test_where_an_exact_step_is_cheap_there_is_no_opening() -> None:
    """Not even a first step: the round begins in the stage that follows, on the same linearisation."""
    stages = planned_stages(gd.Problem.of(*smooth(30, width=20)))
    assert [type(s.control) for s in stages] == [gd.GainRatio, gd.NaturalControl]
    here = opening(stages)
    after = played(stages, begun(stages), here)
    assert after.stage.index == 1
    assert here.tally["linearisations"] == 1 and here.tally["iterations"] == 0


def run_of(costs: list[float], **fields: Any) -> State:
    """A state whose records have these costs."""
    problem = gd.Problem.of(*smooth(12))
    first = start((gd.Method().stage(gd.FixedSource(problem), problem),), OBSERVER)
    records = tuple(replace(first.records[0], step=i, cost=cost) for i, cost in enumerate(costs))
    return replace(first, records=records, **fields)


def test_a_part_is_left_where_it_is_overfitted() -> None:
    """It costs a tenth less than at the best point, which the step would be, had all samples come down too."""
    here, theta = at(*smooth(12)), torch.zeros(3, dtype=F64)
    for cost, over in ((0.91, False), (0.89, True)):
        state = run_of([2.0, 1.0], cost=cost, best=Best(theta, 5.0, 1.0))
        assert gd.PartEnds().is_over(here, state) is over


@pytest.mark.parametrize(
    ("idle", "last", "over"), [(23, 1.0, False), (24, 1.0, True), (24, 0.95, True), (24, 0.85, False)]
)
def test_a_part_is_left_where_all_samples_come_down_no_more(idle: int, last: float, over: bool) -> None:
    """24 steps that have not brought the cost of all of them down by a tenth."""
    here, theta = at(*smooth(12)), torch.zeros(3, dtype=F64)
    state = run_of([2.0, 1.0, *[1.0] * (idle - 1), last], cost=1.0, best=Best(theta, 1.0, 1.0))
    assert gd.PartEnds().is_over(here, state) is over


def test_a_stage_is_left_after_so_many_steps_of_the_run() -> None:
    here = at(*smooth(12))
    over = [gd.AfterSteps(3).is_over(here, run_of([1.0] * (n + 1))) for n in range(5)]
    assert over == [False, False, False, True, True]


def test_rules_that_hold_add_up() -> None:
    """As where a part and its opening end at once: each says how many stages on."""
    problem = gd.Problem.of(*smooth(12))
    source, here = gd.FixedSource(problem), at(*smooth(12))
    leave = (gd.AfterSteps(1, stages=2), gd.AfterSteps(2, stages=1, least_fall=0.5), gd.AfterSteps(9, stages=5))
    stage = gd.Stage(source, gd.GramLift(), gd.EulerWalk(), gd.GainRatio(), leave)
    assert [stage.stages_on(here, run_of([1.0] * (n + 1))) for n in range(4)] == [0, 2, 3, 3]
    assert stage.least_fall == 0.5
    part = planned_stages(problem, gd.Problem.of(*smooth(6)))
    assert [len(s.leave) for s in part] == [2, 1, 1, 0]
    assert [[rule.stages for rule in s.leave] for s in part] == [[1, 2], [2], [1], []]
    assert [type(s.source) for s in part] == [gd.PartSource, gd.PartSource, gd.FixedSource, gd.FixedSource]


def test_a_rule_leads_to_the_next_stage_unless_it_says_otherwise() -> None:
    assert [rule.stages for rule in (gd.OpeningEnds(gd.GramLift()), gd.PartEnds(), gd.AfterSteps(1))] == [1, 1, 1]


def test_a_stage_that_promises_too_little_is_left_without_its_step() -> None:
    """An opening whose linear model leaves all but a millionth of C says nothing; the exact stage takes the step."""
    problem = gd.Problem.of(*smooth(40, width=30))
    source = gd.FixedSource(problem)
    for least_fall, index in ((0.0, 0), (1.0, 1)):
        leave = (gd.AfterSteps(100, least_fall=least_fall),)
        first = gd.Stage(source, INEXACT, gd.EulerWalk(), gd.GainRatio(), leave)
        second = gd.Stage(source, gd.GramLift(), gd.GeodesicWalk(), gd.NaturalControl())
        stages = (first, second)
        after = played(stages, begun(stages), opening(stages))
        assert after.stage.index == index and after.step == 1


def test_near_the_floor_it_is_measured_again() -> None:
    """Within 1e4 floors of the one known so far: parameters grow on the way, and their rounding with them."""
    problem = gd.Problem.of(*smooth(30, width=20))
    stages = (gd.Method().stage(gd.FixedSource(problem), problem),)
    after = played(stages, begun(stages), opening(stages))
    for share, again in ((0.9e4, True), (1.1e4, False)):
        floor = after.cost / share
        near = played(stages, replace(begun(stages), floor=floor), opening(stages))
        assert near.floor == (rounding_floor(problem, near.theta) if again else floor)


def test_the_floor_is_of_no_use_before_costs_are_near_it() -> None:
    """It is estimated where a cost is below √eps of the scale of costs, and where no step is found."""
    problem = gd.Problem.of(*smooth(30, width=20))
    stages = (gd.Method().stage(gd.FixedSource(problem), problem),)
    state, here = begun(stages), opening(stages)
    assert state.floor == 0.0
    after = played(stages, state, here)
    assert after.floor == 0.0
    scale = 1.1 * after.cost / torch.finfo(F64).eps ** 0.5
    low = played(stages, replace(state, reference=scale), here)
    assert low.floor == rounding_floor(problem, low.theta)
    solution = gd.fit(problem)
    assert solution.result is gd.Result.rounding_floor
    again = start(stages, OBSERVER)
    assert again.floor == rounding_floor(problem, problem.theta)


def test_the_work_of_a_run_is_counted_over_all_its_steps() -> None:
    """Iterations, and fifteen for each factor."""
    stages, tally = planned_stages(gd.Problem.of(*smooth(40, width=30))), Counter[str]()
    state = start(stages, OBSERVER)
    for _ in range(4):
        after = play(stages, state, OBSERVER, tally)
        assert isinstance(after, Round)
        state = after.state
        assert state.stage.work == tally["iterations"] + STEP_ITERATIONS * tally["factors"] > 0.0


@dataclass(frozen=True)
class Asked(gd.FixedSource):
    """Notes after which step the cost of everything is wanted."""

    steps: list[int] = field(default_factory=list)

    def cost_of_all(self, step: int, theta: Tensor, own_cost: float) -> float | None:
        self.steps.append(step)
        return own_cost


def test_the_cost_of_everything_is_wanted_after_each_step_by_its_number() -> None:
    problem = gd.Problem.of(*smooth(12))
    source = Asked(problem)
    gd.fit(problem, method=(gd.Stage(source, gd.GramLift(), gd.EulerWalk(0.1), gd.GainRatio()),), max_steps=3)
    assert list(dict.fromkeys(source.steps)) == [1, 2, 3]


# --- how a run without a step ends ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nothing:
    """What a control remembers that takes no step."""


@dataclass(frozen=True)
class Refusing:
    """A control that takes no step."""

    state_type = Nothing

    def begin(self, here: Linearised, damping: Damping | None = None) -> Nothing:
        return Nothing()

    def step(self, here: Linearised, walk: Walk, state: Nothing, levels: CostLevels) -> None:
        return None

    def restart(self, here: Linearised, count: int) -> None:
        return None


@pytest.mark.parametrize(
    ("promised", "floor", "result"),
    [
        (0.5, 0.0, gd.Result.no_progress),
        (0.5, 2e-4, gd.Result.rounding_floor),  # within 1e4 floors nothing else is said
        (1e-13, 0.0, gd.Result.stationary),
        (1e-11, 0.0, gd.Result.no_progress),
        (1.9e-3, 1e-8, gd.Result.rounding_floor),  # ten times the noise of C, 2√(floor·C)
        (2.1e-3, 1e-8, gd.Result.no_progress),
    ],
)
def test_a_run_without_a_step_ends_by_what_was_promised(promised: float, floor: float, result: gd.Result) -> None:
    """x = (θ, 0) and y = (√p, √(1 − p)): the share p of the cost can be removed."""
    target = torch.tensor([math.sqrt(promised), math.sqrt(1.0 - promised)], dtype=F64)
    outputs = gd.FunctionMap(lambda theta: torch.cat([theta, 0.0 * theta]), torch.zeros(1, dtype=F64))
    problem = gd.Problem.over(outputs, target)
    stages = (gd.Stage(gd.FixedSource(problem), gd.NormalLift(), gd.EulerWalk(), Refusing()),)
    state = replace(begun(stages), floor=floor * problem.cost(problem.theta))
    assert advance(stages, state, opening(stages), OBSERVER) is result
