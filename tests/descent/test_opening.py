"""Steps on batches that double, and when they and the steps with sketched factors end."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from support.callbacks import stop_after
from torch import Tensor, nn

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent._deadline import LINEARISATION, OutOfTime, within
from geodescent.descent import (
    Best,
    GainRatio,
    Linearised,
    Observer,
    Round,
    Stages,
    StageState,
    State,
    _batch_steps,
    planned_stages,
    play,
    put_together,
    start,
    taken_apart,
)
from geodescent.descent._batch_steps import FIRST, FIRST_BATCH, _after_step, batch_steps
from geodescent.descent._opening import OPENING_DAMPING, BatchesEnd, EigenvectorsPay, first_batch, opening
from geodescent.descent._planned import MANY_PARAMETERS
from geodescent.descent._stages import VALLEY
from geodescent.descent._state import BatchState
from geodescent.lift import PlannedLift, SketchedLift, factors_flops
from geodescent.linalg import STEP_ITERATIONS
from geodescent.problem import FixedSource, ShuffledSource, chosen_samples

SMALL = Budget(factor_order=50)
"""With it the networks of these tests are too large for a matrix, so that their fits open on batches."""

F64, F32 = torch.float64, torch.float32
OBSERVER = Observer()


@pytest.fixture(autouse=True)
def _large() -> Iterator[None]:
    with spending(SMALL):
        yield


def fitted(n: int = 1000, *, width: int = 40, dtype: torch.dtype = F64) -> tuple[nn.Module, Tensor, Tensor]:
    """A function of five variables that a small network does not learn at once."""
    torch.manual_seed(0)
    x = torch.rand(n, 5, dtype=dtype) * 2 - 1
    y = torch.stack([torch.sin(3 * x[:, 0]) * x[:, 1], torch.cos(2 * x[:, 2] + x[:, 3]) * x[:, 4]], 1)
    model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
    return model.to(dtype), x, y


def noisy(n: int = 1000) -> tuple[nn.Module, Tensor, Tensor]:
    """Nothing to learn: what a step gains on its own samples it loses on others."""
    model, x, _ = fitted(n)
    return model, x, torch.randn(n, 2, dtype=F64)


def stages_of(problem: gd.Problem) -> Stages:
    stages = planned_stages(problem)
    assert isinstance(stages[0].source, ShuffledSource)
    return stages


def rounds(problem: gd.Problem, state: State | None = None, *, most: int = 20) -> list[State]:
    """The states of a run while it is on batches, and the one after it."""
    stages = stages_of(problem)
    states, tally = [start(stages, OBSERVER) if state is None else state], Counter[str]()
    while states[-1].stage.index == 0 and len(states) <= most:
        after = play(stages, states[-1], OBSERVER, tally)
        assert isinstance(after, Round)
        states.append(after.state)
    return states


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


# --- which fits have one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batches"), [(2 * FIRST_BATCH - 1, False), (2 * FIRST_BATCH, True)])
def test_batches_come_first_where_all_samples_are_at_least_two_of_them(n: int, batches: bool) -> None:
    problem = gd.Problem.of(*fitted(n))
    stages = planned_stages(problem)
    assert isinstance(stages[0].source, ShuffledSource) is batches
    assert (first_batch(problem) is not None) is batches
    assert all(isinstance(stage.source, FixedSource) for stage in stages[int(batches) :])
    if batches:
        assert isinstance(stages[0].lift, SketchedLift) and stages[0].solve_dtype == F64
        assert first_batch(problem).n_samples == FIRST_BATCH


def test_samples_of_weight_zero_make_no_batch() -> None:
    """They count neither for whether there are batches, nor in them; the first batch is of others."""
    model, x, y = fitted(600)
    weights = torch.zeros(600, dtype=F64)
    weights[300:555] = 1.0
    few = gd.Problem.of(model, x, y, weights=weights)
    assert not isinstance(planned_stages(few)[0].source, ShuffledSource) and first_batch(few) is None
    weights[555] = 1.0
    enough = gd.Problem.of(model, x, y, weights=weights)
    (ends,) = stages_of(enough)[0].leave
    assert isinstance(ends, BatchesEnd) and ends.n_samples == 256
    assert torch.equal(first_batch(enough).blocks[0].target, y[300:428])
    assert gd.fit(enough, max_steps=3).steps == 3


def test_problems_of_several_blocks_have_no_batches() -> None:
    model, x, y = fitted(600)
    outputs = gd.SampleMap(model, x)
    size = gd.RowBlock(
        "size", gd.FunctionMap(lambda theta: theta, outputs.theta), torch.zeros(len(outputs.theta), dtype=F64)
    )
    problem = gd.Problem((gd.RowBlock("samples", outputs, y), size))
    assert not isinstance(planned_stages(problem)[0].source, ShuffledSource) and first_batch(problem) is None


def test_the_steps_are_in_the_precision_of_the_problem() -> None:
    stages = [stages_of(gd.Problem.of(*fitted(dtype=dtype)))[0] for dtype in (F64, F32)]
    assert [stage.solve_dtype for stage in stages] == [F64, F32]
    assert [s.control.least_damping for s in stages if isinstance(s.control, GainRatio)] == [1e-12, 1e-7]


# --- a round ----------------------------------------------------------------------------------------------------------


def test_a_round_takes_steps_on_batches_and_records_the_cost_of_all() -> None:
    problem = gd.Problem.of(*fitted())
    states = rounds(problem)
    assert len(states) > 3
    for before, after in itertools.pairwise(states):
        record = after.records[-1]
        assert after.step == before.step + 1 == record.step
        assert record.cost == pytest.approx(problem.cost(record_theta(after, before)), rel=1e-12)
        assert after.best.cost == min(r.cost for r in after.records) == pytest.approx(problem.cost(after.best.theta))
        assert record.block_rms["data"] > 0.0 and after.stage.work > before.stage.work
    assert states[-1].best.cost < 0.3 * states[0].cost


def record_theta(after: State, before: State) -> Tensor:
    """Where the round ended: at its last step, or back at the best point with the stage that follows."""
    return after.theta if after.stage.index == before.stage.index else after.best.theta


@pytest.fixture
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds end with the samples: a step on few of a small net takes as long as many passes over all of them."""
    monkeypatch.setattr(_batch_steps, "PASSES_OF_ROUND", (math.inf,))


@pytest.mark.usefixtures("long_rounds")
def test_a_step_is_taken_on_a_batch_and_remembers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batch_steps, "SURE", math.inf)  # no batch doubles
    problem = gd.Problem.of(*fitted(300))
    stages = stages_of(problem)
    state = start(stages, OBSERVER)
    steps = batch_steps(stages[0], ShuffledSource(problem), state, tally := Counter[str]())
    assert steps.trial is not None and tally["linearisations"] == 2  # of 128 samples; 44 are left over
    assert steps.here.problem.n_samples == FIRST_BATCH
    batch = ShuffledSource(problem).drawing(0)
    first, second = batch.batch(FIRST_BATCH), batch.batch(FIRST_BATCH)
    held = steps.state.stage.batch
    assert held.size == FIRST_BATCH and len(held.costs) == len(held.falls) == 2
    assert held.costs[0] == pytest.approx(first.cost(state.theta))
    assert held.costs[1] == pytest.approx(second.cost(steps.here.theta)) == steps.here.cost
    assert held.falls[1] == pytest.approx(math.log(held.costs[1] / second.cost(steps.state.theta)))
    assert steps.state.cost == pytest.approx(second.cost(steps.state.theta))
    assert steps.state.stage.work == tally["iterations"] + 2 * 3.0
    assert steps.state.records == state.records  # the record is the round's


def test_a_round_takes_its_share_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, four, and then eight, where a pass takes as long as half a pair of products and calls cost nothing."""
    monkeypatch.setattr(_batch_steps, "CALLS_OF_LAYER", 0.0)
    monkeypatch.setattr(_batch_steps, "SURE", math.inf)  # no batch doubles
    problem = gd.Problem.of(*fitted(20000, width=10))
    stages = stages_of(problem)
    state = start(stages, OBSERVER)
    for step, passes in enumerate((2.0, 4.0, 8.0, 8.0)):
        records = (*state.records, *[replace(state.records[0], step=i + 1) for i in range(step)])
        tally = Counter[str]()
        batch_steps(stages[0], ShuffledSource(problem), replace(state, records=records), tally)
        count = tally["linearisations"]
        spent = 2.0 * FIRST_BATCH / 20000 * (tally["iterations"] + 3.0 * count)
        assert passes <= spent < passes * (1.0 + 3.0 / count), (step, count, spent)


def test_what_a_step_takes_however_few_its_samples_counts_too() -> None:
    """Of 128 of 20,000 samples of a small net one step takes as long as the passes of a round."""
    problem = gd.Problem.of(*fitted(20000))
    stages = stages_of(problem)
    tally = Counter[str]()
    batch_steps(stages[0], ShuffledSource(problem), start(stages, OBSERVER), tally)
    assert tally["linearisations"] == 1


def test_a_batch_without_a_step_leads_to_the_next_stage() -> None:
    """At a point where every batch is met exactly."""
    model, x, _ = fitted(600)
    problem = gd.Problem.of(model, x, model(x).detach())
    stages = stages_of(problem)
    after = play(stages, start(stages, OBSERVER), OBSERVER, Counter[str]())
    assert isinstance(after, Round) and not after.stepped and after.state.stage.index == 1
    assert after.state.step == 0


# --- batches double ---------------------------------------------------------------------------------------------------


def test_batches_double_and_the_stage_ends_at_half_of_all_samples() -> None:
    """On noise at once: what a step gains is of its own samples alone."""
    problem = gd.Problem.of(*noisy(1000))
    states = rounds(problem, most=60)
    sizes = [state.stage.batch.size for state in states[1:]]
    assert sizes == sorted(sizes) and set(sizes) <= {128, 256, 512, 1024}
    assert sizes[-1] == 512 or states[-1].best.cost <= VALLEY * states[-1].reference
    assert states[-1].stage.index == 1 and states[-1].stage.control is None


def jacobian_of(n: int = 128, width: int = 40):
    problem = gd.Problem.of(*fitted(n, width=width))
    return problem.linearise(problem.theta)[1]


def doubled(costs: list[float], falls: list[float], jacobian: Any, scatter: float = 0.0) -> bool:
    """Whether the size doubles after the last of these steps, with this cost before and this fall.

    Args:
        scatter: of the costs of the samples, relative.
    """
    n = jacobian.blocks[0].n_samples
    signs = torch.ones(n, dtype=torch.float64)
    signs[::2] = -1.0
    residual = (1.0 + scatter * math.sqrt((n - 1) / n) * signs).sqrt()  # whose squares deviate by `scatter`
    here = SimpleNamespace(
        cost=costs[-1], jacobian=jacobian, residual=residual, problem=SimpleNamespace(blocks=jacobian.blocks)
    )
    state = BatchState(128, tuple(costs[:-1]), tuple(falls[:-1]))
    after = _after_step(state, cast(Any, here), costs[-1] * math.exp(-falls[-1]))
    assert after.size in (128, 256)
    if after.size == 128:
        assert after.costs == tuple(costs[-16:]) and after.falls == pytest.approx(tuple(falls[-16:]))
    else:
        assert after.costs == after.falls == ()
    return after.size == 256


def price_of_double(jacobian: Any) -> float:
    outer = len(jacobian.columns)
    calls, rows = 1.5e7 * outer, jacobian.product_flops() - 2e6 * outer
    return (2.0 * rows + calls) / (rows + calls)


@pytest.mark.parametrize("n", [2, 8, 16])
def test_the_size_doubles_where_the_fall_on_own_samples_is_so_much_larger_than_on_new_ones(n: int) -> None:
    """f > (4τ − 3) g; τ is the price of twice the rows."""
    jacobian = jacobian_of()
    times = 4.0 * price_of_double(jacobian) - 3.0
    assert 1.0 < times < 5.0
    g = 0.02
    costs = [math.exp(-g * step) for step in range(n)]
    half = n // 2
    earlier, later = sum(costs[:half]) / half, sum(costs[half:]) / half
    assert math.log(earlier / later) / half == pytest.approx(g)
    assert not doubled(costs, [0.99 * times * g] * n, jacobian)
    assert doubled(costs, [1.01 * times * g] * n, jacobian)
    assert doubled([1.0] * n, [0.01] * n, jacobian)  # nothing gained on new samples


def test_one_step_tells_nothing_and_the_last_sixteen_tell_all() -> None:
    jacobian, g = jacobian_of(), 0.02
    times = 4.0 * price_of_double(jacobian) - 3.0
    costs = [math.exp(-g * step) for step in range(16)]
    assert not doubled([1.0], [9.0], jacobian)
    assert not doubled([9.0, *costs], [9.0, *[0.5 * times * g] * 16], jacobian)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_difference_that_the_scatter_of_samples_explains_doubles_nothing(n: int) -> None:
    """ln C of a batch of 128 samples has the scatter of their costs, over √128: so have the means of both halves."""
    jacobian, scatter = jacobian_of(), 1.0
    times = 4.0 * price_of_double(jacobian) - 3.0
    of_mean = scatter / math.sqrt(128)
    error = of_mean * math.sqrt(1.0 / (n // 2) + 1.0 / (n - n // 2)) * 2.0 / n
    assert not doubled([1.0] * n, [0.99 * times * error] * n, jacobian, scatter)
    assert doubled([1.0] * n, [1.01 * times * error] * n, jacobian, scatter)


def test_twice_a_large_batch_costs_twice_as_much() -> None:
    """τ goes from 1, where calls of kernels are all, to 2, and the factor on g with it from 1 to 5."""
    small, large = jacobian_of(4, 5), jacobian_of(4096, 300)
    costs = [math.exp(-0.2 * step) for step in range(8)]
    assert [doubled(costs, [0.2 * times] * 8, small) for times in (0.99, 1.02)] == [False, True]
    assert [doubled(costs, [0.2 * times] * 8, large) for times in (4.5, 5.0)] == [False, True]


# --- how stages end ---------------------------------------------------------------------------------------------------


def here_of(problem: gd.Problem, n: int | None = None) -> Linearised:
    problem = problem if n is None else chosen_samples(problem, torch.arange(n))
    return Linearised.at(problem, problem.theta, lift=SketchedLift(), dtype=F64)


def state_of(problem: gd.Problem, *, best: float = 1.0, **stage: Any) -> State:
    state = replace(start((gd.Method().stage(FixedSource(problem), problem),), OBSERVER), reference=1.0)
    return replace(state, best=Best(state.theta, best, best), stage=StageState(**stage))


@pytest.mark.parametrize(("size", "over"), [(None, False), (128, False), (499, False), (500, False), (501, True)])
def test_batches_end_where_the_next_one_has_more_than_half_of_all_samples(size: int | None, over: bool) -> None:
    problem = gd.Problem.of(*fitted(1000))
    state = state_of(problem, batch=None if size is None else BatchState(size))
    assert BatchesEnd(1000).is_over(here_of(problem, 128), state) is over


@pytest.mark.parametrize(("best", "over"), [(1.1e-3, False), (1e-3, True)])
def test_batches_end_in_the_valley_where_exact_steps_follow(best: float, over: bool) -> None:
    problem = gd.Problem.of(*fitted(1000))
    state = state_of(problem, best=best, batch=FIRST)
    assert BatchesEnd(1000, 1e-3).is_over(here_of(problem, 128), state) is over
    assert not BatchesEnd(1000).is_over(here_of(problem, 128), state)


@pytest.mark.parametrize(("seconds", "over"), [(1e3, True), (31.0, True), (29.0, False)])
def test_batches_go_on_where_a_step_on_all_takes_too_much_of_the_time(seconds: float, over: bool) -> None:
    """Eight linearisations of ten times as many samples: of 0.075 s each that is 6 s, a fifth of 30 s."""
    problem = gd.Problem.of(*fitted(1280))
    here, state = here_of(problem, 128), state_of(problem, batch=BatchState(1024))
    with within(seconds) as deadline:
        deadline.seconds[LINEARISATION] = 0.075
        assert BatchesEnd(1280).is_over(here, state) is over


def test_where_they_go_on_batches_are_of_all_samples_at_last() -> None:
    problem = gd.Problem.of(*fitted(300))
    stages = stages_of(problem)
    state = start(stages, OBSERVER)
    state = replace(state, stage=replace(state.stage, batch=BatchState(512)))
    steps = batch_steps(stages[0], ShuffledSource(problem), state, tally := Counter[str]())
    assert tally["linearisations"] == 1 and steps.here.problem.n_samples == 300


def conv_problem(n: int, width: int) -> gd.Problem:
    """Of a convolution, and a layer of so many units."""
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten())
    model = nn.Sequential(convolution, nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 2)).double()
    return gd.Problem.of(model, torch.randn(n, 1, 6, 6, dtype=F64), torch.randn(n, 2, dtype=F64))


@pytest.mark.parametrize("sized", [{"n": 300}, {"n": 4, "width": 400}], ids=["cheap", "dear"])
def test_eigenvectors_do_not_pay_where_columns_are_known(sized: dict[str, int]) -> None:
    problem = gd.Problem.of(*fitted(**sized))
    assert not EigenvectorsPay().is_over(here_of(problem), state_of(problem, iterations=10_000))


def test_by_passes_eigenvectors_pay_where_they_cost_little_or_no_more_than_a_step_took() -> None:
    cheap, dear = conv_problem(300, 4), conv_problem(8, 600)
    few, many = (here_of(problem).jacobian for problem in (cheap, dear))
    assert 6.0 * factors_flops(few) / few.product_flops() < STEP_ITERATIONS
    assert EigenvectorsPay().is_over(here_of(cheap), state_of(cheap, iterations=0))
    price = 6.0 * factors_flops(many) / many.product_flops()
    assert price > STEP_ITERATIONS
    assert not EigenvectorsPay().is_over(here_of(dear), state_of(dear, iterations=math.floor(price)))
    assert EigenvectorsPay().is_over(here_of(dear), state_of(dear, iterations=math.ceil(price)))


def test_the_rules_refuse_what_is_no_number() -> None:
    for wrong in (
        lambda: BatchesEnd(0),
        lambda: BatchesEnd(9, -1.0),
        lambda: EigenvectorsPay(0),
        lambda: BatchesEnd(9, stages=0),
    ):
        with pytest.raises(gd.InputError):
            wrong()


def test_a_large_problem_goes_on_with_sketched_factors_on_all_samples() -> None:
    problem = gd.Problem.of(*fitted(1000))
    source = FixedSource(problem)
    batches, whole = opening(source)
    assert isinstance(batches.source, ShuffledSource) and whole.source is source
    assert [type(rule) for stage in (batches, whole) for rule in stage.leave] == [BatchesEnd, EigenvectorsPay]
    assert batches.leave[0].below == 0.0
    assert [stage.lift for stage in (batches, whole)] == [SketchedLift(p, products=F32) for p in (1.0, 5.0)]
    few = gd.Problem.of(*fitted(100))
    assert [type(s.leave[0]) for s in opening(FixedSource(few))] == [EigenvectorsPay]
    with spending(Budget(factor_order=3000)):
        assert not isinstance(planned_stages(problem)[0].source, ShuffledSource)


@pytest.mark.parametrize(("n", "lifts"), [(256, ["sketched", "sketched"]), (255, ["sketched"])])
def test_nets_by_recorded_calls_open_so_where_an_exact_step_takes_longer(n: int, lifts: list[str]) -> None:
    """Their columns would take a pass for each output; with one output, or a chain of layers, they take none."""

    def planned(x: Tensor, outputs: int, *layers: nn.Module) -> list[str]:
        net = nn.Sequential(*layers, nn.Linear(12, outputs)).double()
        problem = gd.Problem.of(net, x, torch.randn(len(x), outputs, dtype=F64))
        with spending(Budget(factor_order=3000)):
            return [stage.lift.name for stage in planned_stages(problem)]

    few = planned(torch.randn(n, 6, dtype=F64), 50, nn.Linear(6, 12), nn.Tanh())
    series, conv = torch.randn(n, 1, 6, dtype=F64), (nn.Conv1d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten())
    assert "sketched" not in few
    assert planned(series, 50, *conv) == [*lifts, *few]  # a matrix of order 658
    normed = planned(series, 50, conv[0], nn.GroupNorm(1, 2), *conv[1:])
    assert normed == (["gradient", *lifts[1:], *few] if len(lifts) > 1 else [*lifts, *few])
    assert "sketched" not in planned(series, 1, *conv)
    assert "sketched" not in planned(series, 3, *conv)  # of order 47


@pytest.mark.parametrize(("n", "width", "batches"), [(256, 9997, True), (256, 9995, False), (255, 9997, False)])
def test_networks_of_many_parameters_open_on_batches_however_few_their_rows(n: int, width: int, batches: bool) -> None:
    """A matrix of so few rows can be factorised, but a step with it takes as long as tens of gradients."""
    net = nn.Sequential(nn.Linear(width, 1), nn.Tanh(), nn.Linear(1, 1)).double()
    problem = gd.Problem.of(net, torch.zeros(n, width, dtype=F64), torch.zeros(n, 1, dtype=F64))
    assert (problem.n_params >= MANY_PARAMETERS) is (width == 9997)
    with spending(Budget(factor_order=3000)):
        stages = planned_stages(problem)
    assert isinstance(stages[0].source, ShuffledSource) is batches
    assert [stage.lift.name for stage in stages].count("sketched") == int(batches)
    assert isinstance(stages[-1].lift, PlannedLift)


@pytest.mark.parametrize("outputs", [1, 40])
def test_the_first_damping_is_a_share_of_the_trace_of_the_first_batch(outputs: int) -> None:
    """Not of its mean over the rows, which is next to nothing where samples have many rows that say the same."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, outputs)).double()
    problem = gd.Problem.of(net, torch.randn(600, 5, dtype=F64), torch.randn(600, outputs, dtype=F64))
    batches, whole = opening(FixedSource(problem))
    here = here_of(problem, FIRST_BATCH)
    begun = batches.control.begin(here)
    assert begun.damping.value == pytest.approx(OPENING_DAMPING * here.total_square)
    assert whole.control == batches.control


# --- saved and resumed ------------------------------------------------------------------------------------------------


def test_the_state_on_batches_is_saved_and_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batch_steps, "SURE", math.inf)  # no batch doubles
    state = rounds(gd.Problem.of(*fitted()), most=2)[-1]
    assert len(state.stage.batch.costs) > 1
    numbers, points = taken_apart(state)
    again = put_together(numbers, points, state.records, type(state.stage.control))
    assert again.stage.batch == state.stage.batch and again.stage.work == state.stage.work
    assert again.stage.control.damping == state.stage.control.damping
    begun = start(stages_of(gd.Problem.of(*fitted())), OBSERVER)
    assert put_together(*taken_apart(begun), begun.records, None).stage.batch is None


@pytest.mark.parametrize("dtype", [F64, F32])
def test_a_run_resumed_in_the_opening_is_the_uninterrupted_one_bit_by_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    whole, x, y = fitted(dtype=dtype)
    full = gd.fit(whole, x, y, max_steps=8)
    for stop in (1, 2, 5):
        folder = tmp_path / str(stop)
        gd.fit(fitted(dtype=dtype)[0], x, y, max_steps=8, checkpoint=folder, callback=stop_after(stop))
        fresh = fitted(dtype=dtype)[0]
        resumed = gd.fit(fresh, x, y, max_steps=8, checkpoint=folder)
        for name in ("step", "cost", "predicted", "damping"):
            assert np.array_equal(resumed.history[name], full.history[name], equal_nan=True), (stop, name)
        assert torch.equal(theta_of(fresh), theta_of(whole))


def test_two_runs_on_the_same_data_are_equal() -> None:
    first, second = fitted()[0], fitted()[0]
    _, x, y = fitted()
    ours, theirs = (gd.fit(model, x, y, max_steps=7) for model in (first, second))
    assert list(ours.history["cost"]) == list(theirs.history["cost"])
    assert torch.equal(theta_of(first), theta_of(second))


# --- in the doors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [F64, F32])
def test_a_fit_that_opens_on_batches_ends_where_it_says(dtype: torch.dtype, weighted: bool) -> None:
    model, x, y = fitted(700, dtype=dtype)
    weights = torch.rand(700, dtype=dtype) if weighted else None
    solution = gd.fit(model, x, y, weights=weights, max_steps=30)
    squares = (model(x).detach() - y).square().sum(1).double()
    cost = 0.5 * float(
        squares.mean() if weights is None else (weights.double() * squares).sum() / weights.double().sum()
    )
    assert solution.cost == pytest.approx(cost, rel=1e-4 if dtype == F32 else 1e-9)
    assert solution.cost == min(solution.history["cost"]) < 0.05 * solution.cost0


@pytest.mark.parametrize("seconds", [0.05, 0.5])
def test_a_run_that_is_cut_keeps_a_point_of_finite_cost(seconds: float) -> None:
    model, x, y = fitted(4000, width=100)
    problem = gd.Problem.of(model, x, y)
    begin, cost0 = time.perf_counter(), problem.cost(problem.theta)
    solution = gd.fit(problem, max_seconds=seconds)
    assert solution.result is gd.Result.max_seconds and time.perf_counter() - begin < seconds + 5.0
    assert math.isfinite(solution.cost) and solution.cost <= cost0
    assert solution.cost == pytest.approx(problem.cost(problem.theta), rel=1e-9)


@pytest.mark.usefixtures("long_rounds")
def test_a_round_that_is_cut_keeps_the_steps_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third linearisation finds no time; without any step the cut is passed on."""
    monkeypatch.setattr(_batch_steps, "SURE", math.inf)  # no batch doubles
    problem = gd.Problem.of(*fitted())
    stages = stages_of(problem)
    state, at, calls = start(stages, OBSERVER), Linearised.at, list[int]()

    def cut(*args: Any, **settings: Any) -> Linearised:
        calls.append(1)
        if len(calls) > 2:
            raise OutOfTime
        return at(*args, **settings)

    monkeypatch.setattr(Linearised, "at", cut)
    steps = batch_steps(stages[0], ShuffledSource(problem), state, Counter[str]())
    assert len(steps.state.stage.batch.costs) == 2 and not torch.equal(steps.state.theta, state.theta)
    with pytest.raises(OutOfTime):
        batch_steps(stages[0], ShuffledSource(problem), state, Counter[str]())


@pytest.mark.usefixtures("long_rounds")
def test_the_seconds_of_a_round_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least one step is taken, and no further one where the time is over."""
    problem = gd.Problem.of(*fitted())
    stages = stages_of(problem)
    monkeypatch.setattr("geodescent.descent._batch_steps.seconds_left", lambda: 0.0)
    tally = Counter[str]()
    assert batch_steps(stages[0], ShuffledSource(problem), start(stages, OBSERVER), tally).trial is not None
    assert tally["linearisations"] == 1


def test_the_control_goes_on_with_its_damping_from_batch_to_batch() -> None:
    problem = gd.Problem.of(*fitted(300))
    stages = stages_of(problem)
    assert isinstance(stages[0].control, GainRatio)
    steps = batch_steps(stages[0], ShuffledSource(problem), start(stages, OBSERVER), Counter[str]())
    held = steps.state.stage.control.damping
    assert held.value == steps.trial.next_damping
    assert held.total_square == pytest.approx(steps.here.total_square)


def test_a_stage_on_batches_alone_ends_where_no_step_is_found() -> None:
    """A run of one's own with no stage to go on to."""
    model, x, _ = fitted(300)
    problem = gd.Problem.of(model, x, model(x).detach())
    stage = gd.Stage(ShuffledSource(problem), SketchedLift(), gd.EulerWalk(), GainRatio())
    played = play((stage,), start((stage,), OBSERVER), OBSERVER, Counter[str]())
    assert isinstance(played, gd.Result)
