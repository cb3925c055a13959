"""Returns to the best point: when a run makes them, what they begin with, and when they are counted anew."""

from dataclasses import dataclass, field

import pytest
import torch
from support.small_nets import F64

import geodescent as gd
from geodescent.descent import (
    CostLevels,
    Damping,
    Linearised,
    Observer,
    Round,
    Stages,
    State,
    Trial,
    Walk,
    advance,
    start,
)

OBSERVER = Observer()


@dataclass(frozen=True)
class Asked:
    """What the control below remembers: how often it was sent back."""

    count: int = 0


@dataclass(frozen=True)
class Scripted:
    """Goes to these points, one after the other; where a point is None it takes no step.

    Attributes:
        points: θ after each step.
        returns: how often it may be sent back to the best point.
        promise: share of C that each of its steps promises.
        levels: what it was given with each step.
    """

    points: list[float | None]
    returns: int = 2
    promise: float = 1.0
    levels: list[CostLevels] = field(default_factory=list)
    state_type = Asked

    def begin(self, here: Linearised, damping: Damping | None = None) -> Asked:
        return Asked()

    def step(self, here: Linearised, walk: Walk, state: Asked, levels: CostLevels) -> tuple[Trial, Asked] | None:
        self.levels.append(levels)
        point = self.points.pop(0)
        if point is None:
            return None
        theta = torch.tensor([point], dtype=F64)
        cost, predicted = here.cost_of(here.residual_at(theta)), (1.0 - self.promise) * here.cost
        return Trial(theta, cost, predicted, damping=1.0, next_damping=1.0), state

    def restart(self, here: Linearised, count: int) -> Asked | None:
        return Asked(count + 1) if count < self.returns else None


def stages_of(control: Scripted) -> Stages:
    """x = θ from 10 to 0, so that C = θ²/2."""
    outputs = gd.FunctionMap(lambda theta: theta, torch.tensor([10.0], dtype=F64))
    problem = gd.Problem.over(outputs, torch.zeros(1, dtype=F64))
    return (gd.Stage(gd.FixedSource(problem), gd.GramLift(), gd.EulerWalk(), control),)


def advance_from(stages: Stages, state: State) -> Round | gd.Result:
    problem = stages[0].source.at(state.step)
    here = Linearised.at(problem, state.theta, lift=gd.GramLift(), dtype=F64)
    return advance(stages, state, here, OBSERVER)


def rounds(control: Scripted) -> tuple[list[State], list[bool], gd.Result]:
    """The states after each round, whether it took a step, and how the run ended."""
    stages = stages_of(control)
    states, stepped = [start(stages, OBSERVER)], list[bool]()
    while isinstance(played := advance_from(stages, states[-1]), Round):
        states.append(played.state)
        stepped.append(played.stepped)
    return states, stepped, played


def test_a_run_that_stands_still_away_from_its_best_point_returns_to_it() -> None:
    """To 4, up to 6, and no step from there: back to 4, and again from there, as often as the control likes."""
    control = Scripted([4.0, 6.0, None, None, None])
    states, stepped, result = rounds(control)
    assert stepped == [True, True, False, False] and result is gd.Result.no_progress
    assert [float(s.theta) for s in states] == [10.0, 4.0, 6.0, 4.0, 4.0]
    assert [s.cost for s in states] == [50.0, 8.0, 18.0, 8.0, 8.0]
    assert [s.returns for s in states] == [0, 0, 0, 1, 2]
    assert [s.stage.control.count for s in states[1:]] == [0, 0, 1, 2]
    assert [level.best for level in control.levels] == [50.0, 8.0, 8.0, 8.0, 8.0]
    assert {level.reference for level in control.levels} == {50.0}
    assert len(states[-1].records) == 3  # a return is no step


@pytest.mark.parametrize(("point", "returns"), [(3.7, 0), (3.9, 1), (5.0, 1)])
def test_returns_are_counted_anew_after_progress(point: float, returns: int) -> None:
    """Where a step brings the best cost down by a tenth: from 4 to below 3.79."""
    states, _, _ = rounds(Scripted([4.0, 6.0, None, point, None, None, None, None]))
    assert float(states[4].theta) == point and states[4].returns == returns
    assert states[4].best.cost == pytest.approx(min(point, 4.0) ** 2 / 2.0)


@pytest.mark.parametrize(("promise", "taken"), [(0.5e-12, False), (2e-12, True)])
def test_a_step_that_promises_nothing_is_not_taken(promise: float, taken: bool) -> None:
    """Less than 1e-12 of C: as if there were none."""
    stages = stages_of(Scripted([4.0], promise=promise, returns=0))
    played = advance_from(stages, start(stages, OBSERVER))
    assert isinstance(played, Round) is taken
