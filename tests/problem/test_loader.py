"""Fits over a DataLoader: batches with momentum, and all batches as one exact problem."""

import copy
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

import geodescent as gd
from geodescent._record import StepRecord
from geodescent.descent import CostLevels, Damping, Linearised, Method, SpringState
from geodescent.lift import Lift
from geodescent.problem import BatchSource, StreamedSource

F64 = torch.float64


def network(seed: int = 0, *, dtype: torch.dtype = F64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1)).to(dtype)


def data(n: int = 600, *, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    x = torch.linspace(-1, 1, n, dtype=dtype)[:, None]
    return x, torch.sin(3 * x)


def loader(n: int = 600, batch: int = 100, *, shuffle: bool = True, dtype: torch.dtype = F64) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(*data(n, dtype=dtype)), batch_size=batch, shuffle=shuffle, generator=generator)


def cost_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return 0.5 * float((model(x).detach() - y).square().sum()) / len(x)


def linearised(problem: gd.Problem, lift: Lift) -> Linearised:
    return Linearised.at(problem, problem.theta, lift=lift, dtype=F64)


# --- SPRING ---------------------------------------------------------------------------------------------------------


def test_batches_reach_a_small_cost_and_the_cost_is_that_of_all_data() -> None:
    model = network()
    solution = gd.fit(model, loader(), target_cost=1e-7, max_steps=600)
    assert solution.result is gd.Result.target_reached
    assert solution.cost <= 1e-7
    assert solution.cost == pytest.approx(cost_of(model, *data()), rel=1e-9, abs=0.0)


def test_the_cost_at_the_start_is_that_of_all_data() -> None:
    model = network()
    expected = cost_of(model, *data())
    assert gd.fit(model, loader(), max_steps=1).cost0 == pytest.approx(expected, rel=1e-12)


def test_a_run_that_ends_within_a_pass_keeps_its_last_point() -> None:
    model = network()
    solution = gd.fit(model, loader(), max_steps=3)
    assert solution.cost < 0.1 * solution.cost0
    assert solution.cost == pytest.approx(cost_of(model, *data()), rel=1e-9, abs=0.0)


def test_one_step_minimises_the_proximal_objective() -> None:
    """`φ = argmin ‖r + Dφ‖² + μ‖φ − βφ₀‖²`, by the Gram and by the normal route."""
    problem = gd.Problem.of(network(), *data(20))
    phi0 = torch.randn(problem.n_params, dtype=F64) * 1e-2
    control, momenta = gd.Spring(momentum=0.7), []
    for lift in (gd.GramLift(), gd.NormalLift()):
        here = linearised(problem, lift)
        state = SpringState(Damping(1e-2, here.total_square), phi0, steps=2)
        step = control.step(here, gd.EulerWalk(), state, CostLevels(here.cost, here.cost))
        assert step is not None and here.tally["rejections"] == 0
        trial, state = step
        assert state.momentum is not None and state.steps == 3 and trial.damping == 1e-2
        momenta.append(state.momentum)
        dense = here.jacobian.dense()
        root = math.sqrt(trial.damping)
        rows = torch.cat([dense, root * torch.eye(problem.n_params, dtype=F64)])
        wanted = torch.cat([-here.residual, root * 0.7 * phi0])
        oracle = torch.linalg.lstsq(rows, wanted[:, None], driver="gelsd").solution[:, 0]
        assert_close(state.momentum, oracle, 1e-9)
        moved = (trial.theta - here.theta) * math.sqrt(1 - 0.7**6)
        assert_close(moved, oracle, 1e-9)
    assert_close(momenta[0], momenta[1], 1e-9)


def test_without_momentum_the_step_is_the_damped_gauss_newton_step() -> None:
    problem = gd.Problem.of(network(), *data(20))
    here, control = linearised(problem, gd.NormalLift()), gd.Spring()
    step = control.step(here, gd.EulerWalk(), control.begin(here), CostLevels(here.cost, here.cost))
    assert step is not None
    lifted = here.prepared.lift(-here.residual, damping=step[0].damping)
    assert_close(step[0].theta - here.theta, lifted.velocity, 1e-10)


# --- all batches as one ---------------------------------------------------------------------------------------------


def test_the_streamed_jacobian_is_the_jacobian() -> None:
    model, (x, y) = network(), data(70)
    whole = StreamedSource.of(model, loader(70, 16, shuffle=False)).whole
    here, there = linearised(whole, gd.NormalLift()), linearised(gd.Problem.of(model, x, y), gd.NormalLift())
    v, u = torch.randn(whole.n_params, dtype=F64), torch.randn(70, dtype=F64)
    assert_close(here.residual, there.residual, 1e-14)
    assert_close(here.jacobian.mv(v), there.jacobian.mv(v), 1e-13)
    assert_close(here.jacobian.rmv(u), there.jacobian.rmv(u), 1e-13)
    assert_close(here.jacobian.normal(), there.jacobian.normal(), 1e-13)
    assert_close(here.jacobian.row_squares(), there.jacobian.row_squares(), 1e-13)
    assert_close(here.jacobian.dense(), there.jacobian.dense(), 1e-13)
    assert_close(here.second_derivative(v), there.second_derivative(v), 1e-13)


def test_rows_of_the_streamed_jacobian_are_weighted_once() -> None:
    """Weights of samples and of the block, over batches of 16, 16, 16, 16 and 6."""
    model, (x, y) = network(), data(70)
    weights = torch.linspace(0.0, 2.0, 70, dtype=F64)
    (streamed,) = StreamedSource.of(model, loader(70, 16, shuffle=False)).whole.blocks
    maps = streamed.map, gd.SampleMap(model, x)
    ours, theirs = (gd.Problem((gd.RowBlock("data", outputs, y, weights, 3.0),)) for outputs in maps)
    (residual, jacobian), (expected, held) = (problem.linearise(problem.theta) for problem in (ours, theirs))
    scale, u = torch.rand(70, dtype=F64), torch.randn(70, dtype=F64)
    assert_close(residual, expected, 1e-14)
    assert_close(jacobian.rmv(u), held.rmv(u), 1e-13)
    assert_close(jacobian.scaled(rows=scale).dense(), scale[:, None] * held.dense(), 1e-13)
    assert_close(jacobian.to(torch.float32).normal(), held.to(torch.float32).normal(), 1e-5)


@pytest.mark.slow
def test_the_normal_lift_over_a_loader_is_the_full_batch() -> None:
    """Same steps, to rounding, while the problem is well conditioned."""
    x, y = data(200)
    method = Method(lift=gd.NormalLift(), control=gd.GainRatio())
    streamed, whole = network(), network()
    over = gd.fit(streamed, loader(200, 32), method=method, max_steps=6)
    full = gd.fit(whole, x, y, method=method, max_steps=6)
    assert over.history["cost"] == pytest.approx(full.history["cost"], rel=1e-6)
    assert_close(streamed[0].weight.detach(), whole[0].weight.detach(), 1e-5)


@pytest.mark.slow
def test_over_a_loader_the_normal_lift_goes_down_to_the_floor() -> None:
    """Through D itself at last, formed from the batches."""
    method = Method(lift=gd.NormalLift())
    solution = gd.fit(network(), loader(120, 60), method=method, target_cost=1e-17, max_steps=200)
    assert solution.result is gd.Result.target_reached


def batched(rows: list[int]) -> list[list[int]]:
    return [rows[i : i + 8] for i in range(0, len(rows), 8)]


LOADERS = {
    "sampler": (lambda d: DataLoader(d, 8, sampler=SubsetRandomSampler(range(50))), 50),
    "batches": (lambda d: DataLoader(d, batch_sampler=BatchSampler(RandomSampler(d), 8, drop_last=False)), 70),
    "whole batches only": (lambda d: DataLoader(d, 8, shuffle=True, drop_last=True), 64),
    "no batches": (lambda d: DataLoader(d, batch_size=None, sampler=batched(torch.randperm(70).tolist())), 70),
}


@pytest.mark.parametrize("name", LOADERS)
def test_every_pass_meets_the_rows_that_the_loader_gives_in_one_order(name: str) -> None:
    make, n = LOADERS[name]
    x, y = data(70)
    identity = nn.Linear(1, 1).double()
    nn.init.ones_(identity.weight), nn.init.zeros_(identity.bias)
    whole = StreamedSource.of(identity, make(TensorDataset(x, y))).whole
    (block,) = whole.blocks
    first, second = (whole.outputs(whole.theta)[:, None] for _ in range(2))
    assert len(block.target) == n
    assert torch.equal(first, second)
    assert torch.equal(block.target, torch.sin(3 * first))
    assert name != "sampler" or set(first[:, 0].tolist()) == set(x[:50, 0].tolist())


def test_a_gram_lift_over_batches_steps_on_each_batch() -> None:
    source = BatchSource.of(network(), loader(100, 32, shuffle=False))
    sizes = [source.at(step).n_residuals for step in range(5)]
    assert sizes == [32, 32, 32, 4, 32]


def test_a_cost_of_everything_once_a_pass() -> None:
    source = BatchSource.of(network(), loader(100, 25, shuffle=False))
    theta = source.first.theta
    source.cost(theta)
    assert [source.cost_of_all(step, theta, 1.0) is None for step in range(1, 5)] == [True, True, True, False]
    assert source.cost(theta) == pytest.approx(cost_of(network(), *data(100)), rel=1e-12)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((data()[0],), "y is missing"),
        ((loader(), data()[1]), "brings its own targets"),
        ((DataLoader(TensorDataset(data()[0]), batch_size=10),), "must yield pairs"),
    ],
)
def test_what_is_not_a_pair_is_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        gd.fit(network(), *arguments)


class Shrinking(IterableDataset):
    """One sample fewer at each pass."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.n -= 1
        return iter(list(zip(*data(self.n + 1), strict=True)))


def test_a_loader_that_gives_other_samples_later_is_refused() -> None:
    source = StreamedSource.of(network(), DataLoader(Shrinking(20), batch_size=6))
    with pytest.raises(gd.InputError, match="yielded 18 samples, and 19 when it was first read"):
        source.cost(source.whole.theta)


@pytest.mark.parametrize("source", [BatchSource, StreamedSource])
def test_a_loader_without_batches_is_refused(source: type[BatchSource] | type[StreamedSource]) -> None:
    with pytest.raises(gd.InputError, match=r"yields no batch: it needs at least one pair \(X, y\)"):
        source.of(network(), DataLoader(TensorDataset(*data(5)), batch_size=8, drop_last=True))


def test_a_loader_that_can_be_read_once_is_refused() -> None:
    source = BatchSource.of(network(), DataLoader(Shrinking(3), batch_size=8))
    assert [source.at(step).n_residuals for step in range(2)] == [2, 1]
    with pytest.raises(gd.InputError, match="gave nothing on its second pass"):
        source.at(2)


def test_counts_name_the_batches() -> None:
    counts = Counter(gd.fit(network(), loader(), max_steps=7).stats)  # type: ignore[arg-type]
    assert counts["linearisations"] == 7


def test_nan_in_a_later_batch_is_refused() -> None:
    x, y = data()
    y[450] = math.nan
    batches = DataLoader(TensorDataset(x, y), batch_size=100)
    for method in (None, Method(lift=gd.NormalLift())):
        with pytest.raises(gd.InputError, match=r"y.* holds 1 NaN"):
            gd.fit(network(), batches, method=method)


def test_the_cost_of_batches_at_the_least_validation_cost_is_that_of_all(tmp_path: Path) -> None:
    """Also where the run ends with a pass, and after one that was broken off between passes."""
    x, y = data()
    for steps in (6, 7, 12):
        model = network()
        solution = gd.fit(model, loader(), stop="validation", validation=data(97), max_steps=steps)
        assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-9, abs=0.0)

    def stop(record: StepRecord) -> None:
        if record.step == 8:
            raise RuntimeError

    arguments = {"stop": "validation", "validation": data(97), "checkpoint": tmp_path}
    with pytest.raises(RuntimeError):
        gd.fit(network(), loader(), callback=stop, **arguments)  # type: ignore[call-overload]
    assert gd.fit(network(), loader(), max_steps=12, **arguments).steps == 12  # type: ignore[call-overload]


def test_what_is_planned_for_a_streamed_problem_is_what_a_stream_can_do() -> None:
    """With K > m too: of the two matrices DᵀD alone is a sum over batches."""
    torch.manual_seed(0)
    x = torch.randn(8, 3, dtype=torch.float64)
    y = torch.sin(x.sum(1, keepdim=True))
    model = nn.Sequential(nn.Linear(3, 30), nn.Tanh(), nn.Linear(30, 1)).double()
    start = copy.deepcopy(model.state_dict())
    whole = gd.StreamedSource.of(model, DataLoader(TensorDataset(x, y), batch_size=3)).whole
    assert whole.n_params > whole.n_residuals
    assert gd.flow(whole, until=0.5).max_relative_deviation < 1e-7
    model.load_state_dict(start)
    solution = gd.fit(whole)
    assert solution.result is gd.Result.rounding_floor and solution.stats["lift"] == "normal"
