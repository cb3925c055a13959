"""Steps along gradients of batches: the basis, the length in the space of the outputs, rounds, and when they end."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.callbacks import stop_after
from torch import Tensor, nn

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent._deadline import OutOfTime
from geodescent.descent import GradientsEnd, Linearised, Observer, Soap, SoapState, Stages, planned_stages, play, start
from geodescent.descent.first_order import LEAST_ROUNDS, gradient_steps
from geodescent.descent.first_order._eigenbases import Eigenbases
from geodescent.descent.first_order._soap import MOST_CHANGE, TOO_FAR
from geodescent.lift import GradientLift
from geodescent.metric import Metric
from geodescent.problem import EpochsSource, by_gradients, chosen_samples

F64, F32 = torch.float64, torch.float32
OBSERVER = Observer()


@pytest.fixture(autouse=True)
def _large() -> Iterator[None]:
    with spending(Budget(factor_order=50)):
        yield


def fitted(n: int = 600, dtype: torch.dtype = F64) -> tuple[nn.Module, Tensor, Tensor]:
    """A convolution over a series with a norm, which goes by a recorded call."""
    torch.manual_seed(0)
    x = torch.randn(n, 2, 8, dtype=dtype)
    y = torch.stack([torch.sin(x[:, 0].mean(1) * 3), x[:, 1, 0] * x[:, 0, 1], x[:, 0, 2]], 1)
    into, norm = nn.Conv1d(2, 6, 3, padding=1), nn.GroupNorm(2, 6)
    return nn.Sequential(into, norm, nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).to(dtype), x, y


def stages_of(problem: gd.Problem) -> Stages:
    stages = planned_stages(problem)
    assert isinstance(stages[0].source, EpochsSource) and isinstance(stages[0].control, Soap)
    return stages


def at(problem: gd.Problem, theta: Tensor | None = None) -> Linearised:
    theta = problem.theta if theta is None else theta
    return Linearised.at(by_gradients(problem), theta, lift=GradientLift(), dtype=problem.dtype)


def step(control: Soap, here: Linearised, state: SoapState, size: float = 1.0) -> tuple[Any, SoapState]:
    levels = start(stages_of(gd.Problem.of(*fitted())), OBSERVER).levels
    taken = control.step(here, gd.EulerWalk(size), state, levels)
    assert taken is not None
    return taken


# --- the basis ----------------------------------------------------------------------------------------------------


def layers() -> tuple[Eigenbases, list[Tensor], Tensor]:
    """Two layers among twenty parameters, and vectors like θ."""
    torch.manual_seed(1)
    order = torch.randperm(20)
    places = [order[:6].view(2, 3), order[6:14].view(4, 2)]
    return Eigenbases.of(places, 20), places, torch.randn(30, 20, dtype=F64)


def test_the_moments_are_those_of_each_layers_gradient() -> None:
    bases, places, vectors = layers()
    moments = sum(bases.moments(bases.ordered(v)) for v in vectors)
    for k, place in enumerate(places):
        left, right = (bases.sides[2 * k + side].square(moments) for side in (0, 1))
        matrices = vectors[:, place]
        assert torch.allclose(left, (matrices @ matrices.mT).sum(0))
        assert torch.allclose(right, (matrices.mT @ matrices).sum(0))


def test_rotated_moments_are_diagonal_and_rotations_have_their_inverse() -> None:
    bases, _, vectors = layers()
    moments = sum(bases.moments(bases.ordered(v)) for v in vectors)
    own = bases.first(moments)
    rotated = [bases.rotated(bases.ordered(v), own) for v in vectors]
    for side in bases.sides:
        square = side.square(sum(bases.moments(v) for v in rotated))
        values = square.diagonal()
        assert torch.allclose(square, values.diag(), atol=1e-10) and bool((values.diff() <= 1e-10).all())
    again = bases.as_theta(bases.rotated(rotated[0], own, back=True))
    assert torch.allclose(again, vectors[0])
    outside = sorted(set(range(20)) - {int(k) for place in layers()[1] for k in place.reshape(-1)})
    assert torch.equal(bases.as_theta(rotated[0])[outside], vectors[0][outside])


def test_the_following_basis_comes_nearer_to_the_eigenvectors_and_keeps_what_belongs_to_them() -> None:
    """Of moments that changed; second moments go with their eigenvectors."""
    bases, _, vectors = layers()
    first = sum(bases.moments(bases.ordered(v)) for v in vectors[:15])
    later = sum(bases.moments(bases.ordered(v)) for v in vectors)
    own, best = bases.first(first), bases.first(later)
    for _ in range(200):
        own, _ = bases.following(later, own, torch.zeros(20, dtype=F64))
    for side in bases.sides:
        alike = (side.square(own).mT @ side.square(best)).abs()
        assert torch.allclose(alike, torch.eye(side.order, dtype=F64), atol=1e-6)
    exchanged = best.clone()
    side = bases.sides[0]
    side.square(exchanged).copy_(side.square(best).flip(1))
    squares = torch.arange(20.0, dtype=F64)
    back, moved = bases.following(later, exchanged, squares)
    assert torch.allclose(side.square(back).abs(), side.square(best).abs())
    assert torch.equal(side.layer(moved), side.layer(squares).flip(0)) and torch.equal(moved[6:], squares[6:])


def test_long_sides_are_not_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geodescent.descent.first_order._eigenbases.LONGEST_SIDE", 3)
    bases = Eigenbases.of([torch.arange(12).view(3, 4), torch.arange(12, 14).view(1, 2)], 15)
    assert [(side.begin, side.is_left, side.order) for side in bases.sides] == [(0, True, 3), (12, False, 2)]
    assert bases.size == 9 + 4


def test_rotations_that_take_longer_than_the_gradient_are_not_made() -> None:
    """Of a wide layer with a norm behind it and one position; moments and two rotations are three products a side."""
    bases = Eigenbases.of([torch.arange(12).view(3, 4)], 12)
    assert bases.flops == 6.0 * 12 * (3 + 4)
    x = torch.randn(300, 8, dtype=F64)
    for width, lift in ((30, "gradient"), (300, "sketched")):
        net = nn.Sequential(nn.Linear(8, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        model = nn.Sequential(net, nn.Linear(width, 50)).double()
        assert planned_stages(gd.Problem.of(model, x, torch.randn(300, 50, dtype=F64)))[0].lift.name == lift


# --- the step -----------------------------------------------------------------------------------------------------


def test_the_first_step_has_one_length_in_each_rotated_entry() -> None:
    """It is 1 or −1 times the length where the rotated gradient has entries: 9 singular values, and the norm's."""
    problem = chosen_samples(gd.Problem.of(*fitted()), torch.arange(128))
    control, here = stages_of(gd.Problem.of(*fitted()))[0].control, at(problem)
    assert isinstance(control, Soap)
    trial, state = step(control, here, SoapState(length=1e-5))
    moved = control.bases.rotated(control.bases.ordered((trial.theta - here.theta) / 1e-5), state.bases)
    entries = moved.abs().sort(descending=True).values
    assert torch.allclose(entries[:21], torch.ones(21, dtype=F64), atol=1e-3) and float(entries[21]) < 1e-3
    slope = here.jacobian.rmv(here.residual)
    assert float(torch.dot(trial.theta - here.theta, slope)) < 0.0
    fall = float(torch.dot(trial.theta - here.theta, slope)) / 128
    assert trial.predicted == pytest.approx(here.cost + fall + state.share**2 * here.cost, rel=1e-9)
    assert trial.cost == pytest.approx(problem.cost(trial.theta)) and trial.cost < here.cost
    changed = (here.residual_at(trial.theta) - here.residual).norm() / here.residual.norm()
    assert state.share == pytest.approx(float(changed))
    half, _ = step(control, here, SoapState(length=1e-5), size=0.5)
    assert torch.allclose(half.theta - here.theta, 0.5 * (trial.theta - here.theta), atol=1e-12)


def test_means_are_those_of_adam_in_the_basis() -> None:
    """On one point again and again every gradient is the same: so is its mean, without the bias of the start."""
    control, here = stages_of(gd.Problem.of(*fitted()))[0].control, at(gd.Problem.of(*fitted()))
    assert isinstance(control, Soap)
    state, moves = SoapState(length=1e-7), list[Tensor]()
    for _ in range(25):
        trial, state = step(control, here, replace(state, length=1e-7))
        moves.append((trial.theta - here.theta) / 1e-7)
    assert all(torch.allclose(move, moves[0], atol=2e-2) for move in moves)
    assert state.steps == 25


def test_the_length_follows_the_change_of_the_outputs() -> None:
    problem = gd.Problem.of(*fitted())
    control, here = stages_of(problem)[0].control, at(problem)
    assert isinstance(control, Soap)
    _, short = step(control, here, SoapState(length=1e-6))
    assert short.length == pytest.approx(MOST_CHANGE * 1e-6) and short.share < control.share
    trial, long = step(control, here, SoapState(length=100.0))
    assert long.share <= TOO_FAR * control.share and here.tally["rejections"] > 0
    near = long.length / (float((trial.theta - here.theta).abs().max()) or 1.0)
    assert math.isfinite(near) and trial.cost < here.cost * (1.0 + TOO_FAR * control.share) ** 2
    state = long
    for _ in range(60):
        trial, state = step(control, here, state)
    assert control.share / MOST_CHANGE < state.share < control.share * MOST_CHANGE


def test_between_measurements_the_cost_is_not_known() -> None:
    problem = gd.Problem.of(*fitted())
    control, here = stages_of(problem)[0].control, at(problem)
    assert isinstance(control, Soap)
    _, state = step(control, here, SoapState(length=1e-6))
    near = replace(state, share=control.share, steps=7)
    before = here.tally["forward passes"]
    trial, _ = step(control, here, near)
    assert math.isnan(trial.cost) and here.tally["forward passes"] == before and math.isfinite(trial.predicted)
    for other in (replace(near, share=control.share / 3.0), replace(near, steps=control.every - 1)):
        assert math.isfinite(step(control, here, other)[0].cost)


def test_a_step_that_leaves_the_numbers_is_none() -> None:
    problem = gd.Problem.of(*fitted())
    control = stages_of(problem)[0].control
    here = replace(at(problem), residual=torch.full((problem.n_residuals,), math.nan, dtype=F64))
    levels = start(stages_of(problem), OBSERVER).levels
    assert control.step(here, gd.EulerWalk(), SoapState(), levels) is None


def test_units_of_the_parameters_are_those_of_the_metric() -> None:
    """A step in θ√M, taken in θ."""
    problem = gd.Problem.of(*fitted())
    control, plain = stages_of(problem)[0].control, at(problem)
    assert isinstance(control, Soap)
    for squares in (torch.full((problem.n_params,), 4.0, dtype=F64), torch.rand(problem.n_params, dtype=F64) + 0.5):
        trial, state = step(control, replace(plain, metric=Metric(squares)), SoapState(length=1e-5))
        scaled = control.bases.ordered(plain.jacobian.rmv(plain.residual) * squares.rsqrt())
        assert torch.allclose(state.moments, control.bases.moments(scaled))
        moved = control.bases.ordered((trial.theta - plain.theta) * squares.sqrt()) / 1e-5
        largest = control.bases.rotated(moved, state.bases).abs().sort(descending=True).values
        assert torch.allclose(largest[:21], torch.ones(21, dtype=F64), atol=1e-3)


# --- rounds -------------------------------------------------------------------------------------------------------


def test_a_source_gives_each_sample_once_a_pass() -> None:
    model, x, y = fitted(600)
    x[:, 0, 0] = torch.arange(600.0)
    source = EpochsSource(gd.Problem.of(model, x, y), 128)
    assert [source.n_batches(k) for k in range(4)] == [2, 5, 9, 9]
    batches = list(source.batches(2))
    assert [batch.blocks[0].n_samples for batch in batches] == [128] * 9
    first = [int(k) for batch in batches[:4] for k in batch.blocks[0].map.inputs[:, 0, 0]]
    assert len(set(first)) == 512
    again = [batch.blocks[0].map.inputs for batch in source.batches(2)]
    assert all(torch.equal(a, b.blocks[0].map.inputs) for a, b in zip(again, batches, strict=True))
    assert not torch.equal(again[0], next(source.batches(3)).blocks[0].map.inputs)
    with pytest.raises(gd.InputError, match="one block"):
        EpochsSource(gd.Problem((gd.RowBlock("x", gd.FunctionMap(lambda t: t, torch.ones(3)), torch.zeros(3)),)), 2)


def test_samples_of_weight_zero_are_in_no_batch() -> None:
    model, x, y = fitted(600)
    weights = torch.zeros(600, dtype=F64)
    weights[300:] = 1.0
    problem = gd.Problem.of(model, x, y, weights=weights)
    assert all(bool((batch.blocks[0].weights > 0.0).all()) for batch in stages_of(problem)[0].source.batches(1))


def test_a_batch_is_the_problem_on_its_samples() -> None:
    model, x, y = fitted()
    weights = torch.rand(600, dtype=F64)
    whole, rows = gd.Problem.of(model, x, y, weights=weights), torch.arange(40, 90)
    batch, other = chosen_samples(whole, rows), gd.Problem.of(model, x[rows], y[rows], weights=weights[rows])
    assert batch.cost(batch.theta) == pytest.approx(other.cost(other.theta))
    residual, jacobian = by_gradients(batch).linearise(batch.theta)
    expected, formed = other.linearise(other.theta)
    v, u = torch.randn(other.n_params, dtype=F64), torch.randn(other.n_residuals, dtype=F64)
    assert torch.allclose(residual, expected)
    assert torch.allclose(jacobian.rmv(u), formed.rmv(u)) and torch.allclose(jacobian.mv(v), formed.mv(v))


def test_outputs_that_do_not_depend_on_the_parameters_have_the_gradient_zero() -> None:
    """A model may take another branch on other samples."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.is_constant = nn.Parameter(torch.ones(2, dtype=F64)), False

        def forward(self, x: Tensor) -> Tensor:
            return x if self.is_constant else x * self.weight

    model = Branching()
    problem = gd.Problem.of(model, torch.randn(5, 2, dtype=F64), torch.zeros(5, 2, dtype=F64))
    model.is_constant = True
    _, jacobian = by_gradients(problem).linearise(problem.theta)
    assert torch.equal(jacobian.rmv(torch.ones(10, dtype=F64)), torch.zeros(2, dtype=F64))


def test_a_round_records_the_cost_of_all_samples() -> None:
    problem = gd.Problem.of(*fitted())
    stages, tally = stages_of(problem), Counter[str]()
    state = start(stages, OBSERVER)
    for count in (2, 5, 9):
        before = tally["linearisations"]
        played = play(stages, state, OBSERVER, tally)
        assert not isinstance(played, gd.Result) and played.stepped
        state = played.state
        assert tally["linearisations"] - before == count
        record = state.records[-1]
        assert record.cost == pytest.approx(problem.cost(state.theta)) and math.isfinite(record.gain_ratio)
    assert state.stage.control.steps == 16 and state.stage.index == 0
    assert state.best.cost == min(record.cost for record in state.records) < state.records[0].cost


def test_a_round_that_is_cut_keeps_the_steps_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gd.Problem.of(*fitted())
    stages = stages_of(problem)
    source, state = stages[0].source, start(stages, OBSERVER)
    linearise, calls = Linearised.at, list[int]()

    def cut(*args: Any, **settings: Any) -> Linearised:
        calls.append(1)
        if len(calls) > 2:
            raise OutOfTime
        return linearise(*args, **settings)

    monkeypatch.setattr(Linearised, "at", cut)
    assert isinstance(source, EpochsSource)
    steps = gradient_steps(stages[0], source, replace(state, records=state.records * 2), Counter[str]())
    assert steps.state.stage.control.steps == 2 and not torch.equal(steps.state.theta, state.theta)
    assert steps.trial is not None and math.isfinite(steps.trial.cost)
    with pytest.raises(OutOfTime):
        gradient_steps(stages[0], source, state, Counter[str]())


@pytest.mark.parametrize("dtype", [F64, F32])
def test_a_run_resumed_is_the_uninterrupted_one_bit_by_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    whole, x, y = fitted(dtype=dtype)
    full = gd.fit(whole, x, y, max_steps=6)
    for stop in (1, 3):
        folder = tmp_path / str(stop)
        gd.fit(fitted(dtype=dtype)[0], x, y, max_steps=6, checkpoint=folder, callback=stop_after(stop))
        fresh = fitted(dtype=dtype)[0]
        resumed = gd.fit(fresh, x, y, max_steps=6, checkpoint=folder)
        for name in ("step", "cost", "predicted"):
            assert np.array_equal(resumed.history[name], full.history[name], equal_nan=True), (stop, name)
        assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), whole.parameters(), strict=True))


def test_the_cost_falls_by_far_and_is_what_the_model_has() -> None:
    model, x, y = fitted(2000)
    solution = gd.fit(model, x, y, max_steps=16)
    assert solution.cost < 0.1 * solution.cost0
    assert solution.cost == pytest.approx(0.5 * float((model(x).detach() - y).square().sum(1).mean()), rel=1e-9)


# --- when they end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "over"),
    [
        ([1.0, 0.5], False),
        ([1.0, 0.9e-3], True),  # in the valley
        ([1.0] * LEAST_ROUNDS, False),  # a plateau at the start
        ([1.0] * (LEAST_ROUNDS + 1), True),
        ([1.0] * (LEAST_ROUNDS // 2 + 1) + [0.77] * (LEAST_ROUNDS // 2), False),
        ([1.0] * (LEAST_ROUNDS // 2 + 1) + [0.79] * (LEAST_ROUNDS // 2), True),
    ],
)
def test_they_end_in_the_valley_and_where_they_hardly_lower_the_cost(costs: list[float], over: bool) -> None:
    problem = gd.Problem.of(*fitted())
    state = start(stages_of(problem), OBSERVER)
    records = tuple(replace(state.records[0], step=k, cost=2.0 * cost) for k, cost in enumerate(costs))
    state = replace(state, reference=2.0, records=records, best=replace(state.best, cost=2.0 * min(costs)))
    assert GradientsEnd().is_over(at(problem), state) == over


def test_the_next_stage_begins_at_the_best_point() -> None:
    problem = gd.Problem.of(*fitted())
    stages = stages_of(problem)
    state = start(stages, OBSERVER)
    ends = replace(stages[0], leave=(GradientsEnd(below=1.0),))
    played = play((ends, *stages[1:]), state, OBSERVER, Counter[str]())
    assert not isinstance(played, gd.Result) and played.state.stage.index == 1
    assert played.state.theta is played.state.best.theta and played.state.stage.damping is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"below": -1.0}, "below"), ({"stages": 0}, "stages")],
)
def test_the_rule_refuses_what_is_no_number(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(gd.InputError, match=words):
        GradientsEnd(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"), [({"share": 0.0}, "share"), ({"decay": 1.0}, "decay"), ({"every": 0}, "every")]
)
def test_the_control_refuses_what_is_no_number(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(gd.InputError, match=words):
        Soap(layers()[0], **wrong)
