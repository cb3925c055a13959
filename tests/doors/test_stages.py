"""Stages and controls of one's own, through the door of fit."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.callbacks import stop_after
from support.diabetes import cost_of, diabetes, linear_diabetes, theta_of
from support.laws import assert_close
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent.descent import CostLevels, Damping, Linearised, Trial, Walk

F64 = torch.float64


def opening(source: gd.Source, steps: int, **parts: Any) -> gd.Stage:
    """Straight steps under the gain ratio, so many of them."""
    return gd.Stage(source, gd.GramLift(), gd.EulerWalk(), gd.GainRatio(), (gd.AfterSteps(steps, **parts),))


def end_game(source: gd.Source, control: Any = None) -> gd.Stage:
    return gd.Stage(source, gd.GramLift(), gd.GeodesicWalk(), control or gd.NaturalControl())


# --- stages ---------------------------------------------------------------------------------------------------------


def test_the_first_steps_are_those_of_the_first_stage_and_then_the_next_takes_over() -> None:
    model, x, y = diabetes()
    problem = gd.Problem.of(model, x, y)
    source = gd.FixedSource(problem)
    solution = gd.fit(problem, method=(opening(source, 3), end_game(source)), max_steps=8)
    alone = gd.fit(*diabetes(), method=gd.Method(gd.GramLift(), gd.EulerWalk(), gd.GainRatio()), max_steps=8)
    for name in ("cost", "predicted", "damping"):
        assert solution.history[name][1:4] == pytest.approx(alone.history[name][1:4], rel=1e-9), name
    assert abs(solution.history["cost"][4] / alone.history["cost"][4] - 1.0) > 0.1
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-9)
    assert solution.cost < 1e-10


def test_a_stage_begins_with_the_damping_that_the_last_one_leaves() -> None:
    """The fourth step of the gain ratio is the same whether it stands in the stage of the first three or in another."""
    problem = gd.Problem.of(*diabetes())
    source = gd.FixedSource(problem)
    stages = (opening(source, 3), gd.Stage(source, gd.GramLift(), gd.EulerWalk(), gd.GainRatio()))
    split = gd.fit(problem, method=stages, max_steps=6).history
    whole = gd.fit(*diabetes(), method=gd.Method(gd.GramLift(), gd.EulerWalk(), gd.GainRatio()), max_steps=6).history
    assert split["damping"][1:] == pytest.approx(whole["damping"][1:], rel=1e-9)
    assert split["cost"] == pytest.approx(whole["cost"], rel=1e-6)


def test_a_stage_on_other_samples_begins_at_the_best_point() -> None:
    """Steps on a third of the samples, whose cost of all rises at the last one; then steps on all."""
    model, x, y = diabetes()
    problem = gd.Problem.of(model, x, y)
    whole, few = gd.FixedSource(problem), gd.Problem.of(model, x[:10], y[:10])
    stages = (opening(gd.PartSource(whole, few), 4), end_game(whole, control := FixedDamping(1.0)))
    first = gd.fit(problem, method=stages, max_steps=4)
    costs = first.history["cost"]
    best = int(np.argmin(costs))
    assert best < 4  # so the fourth step did not lead to the best point
    control.points.clear()
    model.load_state_dict(diabetes()[0].state_dict())
    second = gd.fit(problem, method=stages, max_steps=5)
    assert second.history["cost"][:5] == pytest.approx(costs, rel=1e-9)
    assert_close(control.points[0], first.theta, 1e-9)
    assert costs[best] == first.cost == pytest.approx(problem.cost(control.points[0]), rel=1e-9)


def test_a_stage_that_finds_no_step_hands_over() -> None:
    problem = gd.Problem.of(*diabetes())
    source = gd.FixedSource(problem)
    stages = (replace(opening(source, 50), control=FixedDamping(1.0, most=2)), end_game(source))
    solution = gd.fit(problem, method=stages)
    assert solution.result is gd.Result.rounding_floor
    assert list(solution.history["damping"][1:3]) == [1.0, 1.0] and solution.history["damping"][3] != 1.0


def test_stages_may_be_skipped() -> None:
    problem = gd.Problem.of(*diabetes())
    source, never = gd.FixedSource(problem), FixedDamping(1.0)
    stages = (opening(source, 1, stages=2), replace(opening(source, 2), control=never), end_game(source))
    with pytest.raises(gd.InputError, match=r"stage 2 of 3 is never reached"):
        gd.fit(problem, method=stages)
    either = replace(stages[0], leave=(gd.AfterSteps(1, stages=2), gd.AfterSteps(99)))
    gd.fit(problem, method=(either, *stages[1:]), max_steps=4)
    assert never.points == []


def test_stages_are_resumed_where_they_stood(tmp_path: Path) -> None:
    def run(**options: Any) -> gd.Solution:
        problem = gd.Problem.of(*diabetes())
        source = gd.FixedSource(problem)
        return gd.fit(problem, method=(opening(source, 2), end_game(source)), max_steps=5, **options)

    for broken in (1, 2, 3):
        run(checkpoint=tmp_path / str(broken), callback=stop_after(broken))
        resumed, whole = run(checkpoint=tmp_path / str(broken)), run()
        assert resumed.history["cost"] == pytest.approx(whole.history["cost"], rel=1e-5)
        assert resumed.history["damping"][1:] == pytest.approx(whole.history["damping"][1:], rel=1e-9)
    problem = gd.Problem.of(*diabetes())
    with pytest.raises(gd.InputError, match=r"saved in stage 2 and this method has 1"):
        gd.fit(problem, method=(end_game(gd.FixedSource(problem)),), checkpoint=tmp_path / "3")


# --- what no door would use -----------------------------------------------------------------------------------------


def refused(make: Callable[[gd.Problem, gd.Source], dict[str, Any]], message: str) -> None:
    model, x, y = diabetes()
    problem, before = gd.Problem.of(model, x, y), theta_of(model)
    with pytest.raises(gd.InputError, match=message):
        gd.fit(problem, **make(problem, gd.FixedSource(problem)))
    assert torch.equal(theta_of(model), before)


def test_parts_that_would_not_be_used_are_refused() -> None:
    other = gd.Problem.of(*diabetes())
    small = gd.FixedSource(gd.Problem.of(*linear_diabetes(30)))
    few = gd.FixedSource(gd.Problem.of(*diabetes(10)))
    end = end_game
    refused(lambda p, s: {"method": (opening(s, 3),)}, r"the last stage has rules for leaving it, and nothing comes")
    refused(lambda p, s: {"method": (end(s), end(s))}, r"stage 2 of 2 is never reached: .*leave=\(gd\.AfterSteps")
    refused(lambda p, s: {"method": end(gd.FixedSource(other))}, r"stages bring their own sources: pass the problem")
    for foreign in (small, few):
        refused(lambda p, s, f=foreign: {"method": (opening(f, 3), end(s))}, r"costs of stage 1 .*by gd\.PartSource\(")
    refused(lambda p, s: {"method": (opening(gd.PartSource(s, small.first), 3), end(s))}, r"11 parameters .*145")
    refused(lambda p, s: {"method": end(s), "y": torch.ones(30, 1)}, r"a Problem brings its own data: leave y out")
    refused(lambda p, s: {"method": end(s), "weights": torch.ones(30)}, r"its own data: leave weights out")
    refused(lambda p, s: {"method": end(s), "stop": "validation"}, r'stop="validation" over stages needs validation=')
    refused(lambda p, s: {"method": (end(s), 3)}, r"method must be a gd\.Method or a tuple of gd\.Stage, not")
    refused(lambda p, s: {"method": ()}, r"method must be a gd\.Method or a tuple of gd\.Stage, not \(\)")


def test_stages_bring_what_a_module_and_a_loader_would_bring() -> None:
    model, x, y = diabetes()
    stage = end_game(gd.FixedSource(gd.Problem.of(model, x, y)))
    with pytest.raises(gd.InputError, match=r"stages bring their own sources: pass the problem"):
        gd.fit(model, x, y, method=stage)
    with pytest.raises(gd.InputError, match=r"stages bring their own sources: pass a problem in the place of model"):
        gd.fit(model, DataLoader(TensorDataset(x, y), batch_size=10), method=stage)


def test_a_method_has_no_part_that_a_door_could_leave_aside() -> None:
    """Walk and control are those of a descent, the field that of a flow: each is asked for where it is used alone."""
    model, x, y = diabetes()
    with pytest.raises(TypeError, match="field"):
        gd.Method(field=gd.AdaptedField())
    with pytest.raises(gd.InputError, match=r"gd\.flow has no method=; it takes .* field, lift"):
        gd.flow(model, x, y, method=gd.Method(lift=gd.GramLift()))
    for part in ("walk", "control"):
        with pytest.raises(gd.InputError, match=f"gd.flow has no {part}="):
            gd.flow(model, x, y, **{part: object()})


# --- a control of one's own -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """What `FixedDamping` remembers: how often it stepped, how far in all, and where it began."""

    count: int
    length: Damping
    first: Tensor


@dataclass(frozen=True)
class FixedDamping:
    """Takes every step at one damping, and at most so many."""

    damping: float
    most: int = 10**6
    points: list[Tensor] = field(default_factory=list, compare=False)
    state_type = Steps

    def begin(self, here: Linearised, damping: Damping | None = None) -> Steps:
        return Steps(0, Damping(self.damping, here.total_square), here.theta.clone())

    def step(self, here: Linearised, walk: Walk, state: Steps, levels: CostLevels) -> tuple[Trial, Steps] | None:
        self.points.append(here.theta)
        if state.count >= self.most:
            return None
        damped = here.damped(self.damping)
        lifted = here.lift(damped, -here.residual)
        theta = here.theta + walk.displacement(here, damped, lifted).theta
        cost = here.cost_of(here.residual_at(theta))
        trial = Trial(theta, cost, here.predicted(lifted), self.damping, self.damping)
        return trial, replace(state, count=state.count + 1)

    def restart(self, here: Linearised, count: int) -> Steps | None:
        return None


def test_a_control_of_ones_own_takes_the_steps() -> None:
    """`θ ← θ − (DᵀD + μ)⁻¹Dᵀr`, by dense algebra: linear in θ, so that D is known."""
    model, x, y = linear_diabetes(30)
    rows, theta, n = torch.cat([x, torch.ones(30, 1, dtype=F64)], 1), theta_of(model), 30
    control = FixedDamping(3.0)
    method = gd.Method(lift=gd.NormalLift(), walk=gd.EulerWalk(), control=control)
    solution = gd.fit(model, x, y, method=method, max_steps=4)
    for step in range(1, 5):
        residual = rows @ theta - y[:, 0]
        theta = theta - torch.linalg.solve(rows.T @ rows + 3.0 * torch.eye(11, dtype=F64), rows.T @ residual)
        left = rows @ theta - y[:, 0]
        assert solution.history["cost"][step] == pytest.approx(float(left @ left) / (2 * n), rel=1e-10)
    assert_close(theta_of(model), theta, 1e-9)
    assert solution.history["gain_ratio"][1:] == pytest.approx(1.0, rel=1e-6)
    assert list(solution.history["damping"][1:]) == [3.0] * 4


def test_what_a_control_of_ones_own_remembers_is_saved_and_resumed(tmp_path: Path) -> None:
    """Numbers, dampings and vectors: it stops after five steps in all, of which a break took none."""
    _, x, y = linear_diabetes(30)

    def run(**options: Any) -> gd.Solution:
        method = gd.Method(lift=gd.NormalLift(), walk=gd.EulerWalk(), control=FixedDamping(30.0, most=5))
        return gd.fit(linear_diabetes(30)[0], x, y, method=method, **options)

    whole = run()
    assert whole.steps == 5 and whole.result is gd.Result.no_progress
    run(checkpoint=tmp_path, callback=stop_after(3))
    resumed = run(checkpoint=tmp_path)
    assert resumed.steps == 5 and resumed.result is whole.result
    assert resumed.cost == pytest.approx(whole.cost, rel=1e-10)


@dataclass
class Listed:
    """A control whose state is a tuple."""

    state_type = tuple

    def begin(self, here: Linearised, damping: Damping | None = None) -> tuple[float, ...]:
        raise AssertionError("it is refused before")

    def step(self, here: Linearised, walk: Walk, state: tuple[float, ...], levels: CostLevels) -> None:
        raise AssertionError("it is refused before")

    def restart(self, here: Linearised, count: int) -> None:
        raise AssertionError("it is refused before")


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"control": gd.GainRatio}, r"control = GainRatio is a class: pass an object, for example control=gd\.Natural"),
        ({"lift": gd.NaturalControl()}, r"lift is a NaturalControl, which it cannot be: .*lift=gd\.GramLift\(\)"),
        ({"walk": gd.KrylovLift()}, r"walk is a KrylovLift, .*for example walk=gd\.EulerWalk\(\)"),
        ({"control": "natural"}, r"control is a str, which it cannot be"),
        ({"control": Listed()}, r"the state of Listed is a <class 'tuple'>: it must be a dataclass of numbers"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused_where_they_are_written(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence):
        gd.Method(**parts)
    source = gd.FixedSource(gd.Problem.of(*linear_diabetes(30)))
    with pytest.raises(gd.InputError, match=sentence):
        gd.Stage(
            **{"source": source, "lift": gd.GramLift(), "walk": gd.EulerWalk(), "control": gd.GainRatio(), **parts}
        )


def test_sources_and_rules_of_the_wrong_kind_are_refused() -> None:
    problem = gd.Problem.of(*linear_diabetes(30))
    parts = gd.GramLift(), gd.EulerWalk(), gd.GainRatio()
    with pytest.raises(gd.InputError, match=r"source is a Problem, .*source=gd\.FixedSource\(problem\)"):
        gd.Stage(problem, *parts)
    for leave in (None, gd.AfterSteps(3), [gd.AfterSteps(3)]):
        with pytest.raises(gd.InputError, match=r"a tuple of rules is needed, for example \(gd\.AfterSteps\(10\),\)"):
            gd.Stage(gd.FixedSource(problem), *parts, leave)
    with pytest.raises(gd.InputError, match=r"leave is a int, which it cannot be"):
        gd.Stage(gd.FixedSource(problem), *parts, (3,))
    for parts_of_a_flow in ({"lift": gd.Method()}, {"field": gd.EulerWalk()}, {"lift": gd.GramLift}):
        with pytest.raises(gd.InputError, match=r"for example (lift=gd\.GramLift|field=gd\.StraightLineField)"):
            gd.flow(problem, until=0.1, **parts_of_a_flow)
