"""Fits over a DataLoader: batches with momentum, and all batches as one exact problem."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, TensorDataset

import geodescent as gd
from geodescent._record import StepRecord
from geodescent.descent import Linearised, Method, Standing
from geodescent.problem import BatchSource, Problem, StreamedSource, part_of

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


def linearised(problem: gd.Problem, lift: object, theta: Tensor | None = None) -> Linearised:
    return Linearised.at(problem, problem.theta if theta is None else theta, lift=lift, dtype=F64)  # type: ignore[arg-type]


# --- SPRING ---------------------------------------------------------------------------------------------------------


def test_batches_reach_a_small_cost_and_the_cost_is_that_of_all_data() -> None:
    model = network()
    solution = gd.fit(model, loader(), target_cost=1e-7, max_steps=600)
    assert solution.result is gd.Result.target_reached
    assert solution.cost <= 1e-7
    assert solution.cost == pytest.approx(cost_of(model, *data()), rel=1e-9)


def test_the_cost_at_the_start_is_that_of_all_data() -> None:
    model = network()
    expected = cost_of(model, *data())
    assert gd.fit(model, loader(), max_steps=1).cost0 == pytest.approx(expected, rel=1e-12)


def test_a_run_that_ends_within_a_pass_keeps_its_last_point() -> None:
    model = network()
    solution = gd.fit(model, loader(), max_steps=3)
    assert solution.cost < 0.1 * solution.cost0
    assert solution.cost == pytest.approx(cost_of(model, *data()), rel=1e-9)


def test_one_step_minimises_the_proximal_objective() -> None:
    """`φ = argmin ‖r + Dφ‖² + μ‖φ − βφ₀‖²`, by the Gram and by the normal route."""
    problem = gd.Problem.of(network(), *data(20))
    phi0 = torch.randn(problem.n_params, dtype=F64) * 1e-2
    control, found = gd.Spring(momentum=0.7), []
    for lift in (gd.GramLift(), gd.NormalLift()):
        here = linearised(problem, lift)
        trial = control._trial(here, gd.EulerWalk(), 1e-2, phi0, 3)
        assert trial.momentum is not None
        found.append(trial.momentum)
        dense = here.jacobian.dense()
        root = math.sqrt(trial.damping)
        rows = torch.cat([dense, root * torch.eye(problem.n_params, dtype=F64)])
        wanted = torch.cat([-here.residual, root * 0.7 * phi0])
        oracle = torch.linalg.lstsq(rows, wanted[:, None], driver="gelsd").solution[:, 0]
        assert_close(trial.momentum, oracle, 1e-9)
        moved = (trial.theta - here.theta) * math.sqrt(1 - 0.7**6)
        assert_close(moved, oracle, 1e-9)
    assert_close(found[0], found[1], 1e-9)


def test_without_momentum_the_step_is_the_damped_gauss_newton_step() -> None:
    problem = gd.Problem.of(network(), *data(20))
    here = linearised(problem, gd.NormalLift())
    trial = gd.Spring().step(here, gd.EulerWalk(), Standing(1e-3, here.cost, here.cost))
    assert trial is not None
    lifted = here.prepared.lift(-here.residual, damping=trial.damping)
    assert_close(trial.theta - here.theta, lifted.velocity, 1e-10)


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


def test_the_normal_lift_over_a_loader_is_the_full_batch() -> None:
    """Same steps, to rounding, while the problem is well conditioned."""
    x, y = data(200)
    method = Method(lift=gd.NormalLift(), control=gd.GainRatio())
    streamed, whole = network(), network()
    over = gd.fit(streamed, loader(200, 32), method=method, max_steps=6)
    full = gd.fit(whole, x, y, method=method, max_steps=6)
    assert over.history["cost"] == pytest.approx(full.history["cost"], rel=1e-6)
    assert_close(streamed[0].weight.detach(), whole[0].weight.detach(), 1e-5)


def test_over_a_loader_the_normal_lift_goes_down_to_the_floor() -> None:
    """Through D itself at last, formed from the batches."""
    solution = gd.fit(network(), loader(), method=Method(lift=gd.NormalLift()), max_steps=200)
    assert solution.cost < 1e-16


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
    whole = StreamedSource.of(network(), make(TensorDataset(x, y))).whole
    (block,) = whole.blocks
    residuals = [whole.residual(whole.outputs(whole.theta)) for _ in range(2)]
    assert len(block.target) == n
    assert torch.equal(*residuals)
    given = torch.cat([inputs for inputs in block.map._inputs()])  # type: ignore[attr-defined]
    assert torch.equal(block.target, torch.sin(3 * given))
    assert name != "sampler" or set(given[:, 0].tolist()) == set(x[:50, 0].tolist())


def test_a_gram_lift_over_batches_steps_on_each_batch() -> None:
    source = BatchSource.of(network(), loader(100, 32, shuffle=False))
    sizes = [source.at(step).n_residuals for step in range(5)]
    assert sizes == [32, 32, 32, 4, 32]


def test_a_cost_of_everything_once_a_pass() -> None:
    source = BatchSource.of(network(), loader(100, 25, shuffle=False))
    theta = source.first.theta
    source.cost(theta)
    assert [source.judged(step, theta, 1.0) is None for step in range(1, 5)] == [True, True, True, False]
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


def test_the_cost_of_batches_at_the_least_held_out_cost_is_that_of_all(tmp_path: Path) -> None:
    """Also where the run ends with a pass, and after one that was broken off between passes."""
    x, y = data()
    for steps in (6, 7, 12):
        model = network()
        solution = gd.fit(model, loader(), stop="held_out", validation=data(97), max_steps=steps)
        assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-9)

    def stop(record: StepRecord) -> None:
        if record.step == 8:
            raise RuntimeError

    arguments = {"stop": "held_out", "validation": data(97), "checkpoint": tmp_path}
    with pytest.raises(RuntimeError):
        gd.fit(network(), loader(), callback=stop, **arguments)  # type: ignore[call-overload]
    assert gd.fit(network(), loader(), max_steps=12, **arguments).steps == 12  # type: ignore[call-overload]


# --- opening on a part ----------------------------------------------------------------------------------------------


def many(*, noise: float) -> tuple[nn.Module, Tensor, Tensor]:
    """4,000 samples and 25 parameters: 500 samples are a part to open on."""
    torch.manual_seed(0)
    x = torch.rand(4000, 1, dtype=F64) * 2.0 - 1.0
    y = torch.sin(3.0 * x) + noise * torch.randn_like(x)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double(), x, y


@pytest.fixture
def rows_of_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the rows of each step's problem."""
    rows, at = list[int](), Linearised.at

    def seen(problem: Problem, *arguments: object, **options: object) -> Linearised:
        rows.append(problem.n_residuals)
        return at(problem, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Linearised, "at", seen)
    return rows


def test_a_part_is_taken_of_many_samples_only() -> None:
    model, x, y = many(noise=0.0)
    part = part_of(Problem.of(model, x, y))
    assert part is not None and part.n_residuals == 500
    assert part_of(Problem.of(model, x[:1999], y[:1999])) is None


def test_a_descent_over_many_samples_opens_on_a_part_of_them_and_tells_the_cost_of_all(
    rows_of_steps: list[int],
) -> None:
    model, x, y = many(noise=0.0)
    costs = list[float]()

    def seen(record: StepRecord) -> None:
        costs.append(record.cost)

    solution = gd.fit(model, x, y, target_cost=1e-8, callback=seen)
    assert solution.result.name == "target_reached"
    assert rows_of_steps[:3] == [500, 500, 500]
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-6)
    assert min(costs) == pytest.approx(solution.cost, rel=1e-9)


def test_under_noise_the_part_is_left_soon_and_for_good(rows_of_steps: list[int]) -> None:
    model, x, y = many(noise=0.3)
    solution = gd.fit(model, x, y, max_steps=100)
    opened = rows_of_steps.index(4000)
    assert set(rows_of_steps[:opened]) == {500}
    assert set(rows_of_steps[opened:]) == {4000}
    assert opened < 60
    assert solution.cost < float((y - torch.sin(3.0 * x)).square().mean()) / 2.0  # the noise itself


def test_steps_on_all_samples_begin_at_their_best_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points, at = list[tuple[int, Tensor]](), Linearised.at

    def seen(problem: Problem, theta: Tensor, **options: object) -> Linearised:
        points.append((problem.n_residuals, theta))
        return at(problem, theta, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Linearised, "at", seen)
    model, x, y = many(noise=0.3)
    solution = gd.fit(model, x, y, max_steps=60)
    whole = Problem.of(model, x, y)
    costs = [whole.cost(whole.outputs(theta)) for rows, theta in points if rows == 500]
    first = next(theta for rows, theta in points if rows == 4000)
    assert whole.cost(whole.outputs(first)) == pytest.approx(min(costs), rel=1e-12)
    assert min(costs) < costs[-1]  # the last point on the part was a worse one
    assert solution.cost <= min(costs)


def test_a_part_that_gives_no_step_is_left_at_once(rows_of_steps: list[int]) -> None:
    """A linear model is at the part's minimum after one step: nothing is tried again there."""
    torch.manual_seed(0)
    x, y = torch.randn(4000, 60, dtype=F64), torch.randn(4000, 1, dtype=F64)
    solution = gd.fit(nn.Linear(60, 1).double(), x, y)
    assert rows_of_steps.count(500) <= 4
    columns = torch.cat([x, torch.ones_like(y)], 1)
    left = columns @ torch.linalg.lstsq(columns, y).solution - y
    assert solution.cost == pytest.approx(float(left.square().sum()) / 8000.0, rel=1e-9)


def test_samples_of_weight_zero_are_no_part() -> None:
    model, x, y = many(noise=0.0)
    weights = torch.zeros(4000, dtype=F64)
    weights[:1000] = 1.0
    assert part_of(Problem.of(model, x, y, weights=weights)) is None
    weights[:3000] = 1.0
    part = part_of(Problem.of(model, x, y, weights=weights))
    assert part is not None and part.n_samples == 500.0


def test_a_run_resumed_on_the_part_is_the_uninterrupted_one(tmp_path: Path, rows_of_steps: list[int]) -> None:
    whole, x, y = many(noise=0.0)
    full = gd.fit(whole, x, y, max_steps=8)
    broken, _, _ = many(noise=0.0)
    gd.fit(broken, x, y, max_steps=4, checkpoint=tmp_path)
    resumed = gd.fit(broken, x, y, max_steps=8, checkpoint=tmp_path)
    assert set(rows_of_steps) == {500}
    assert resumed.history["cost"] == pytest.approx(full.history["cost"], rel=1e-5)
    theta, expected = (parameters_to_vector(m.parameters()).detach() for m in (broken, whole))
    assert_close(theta, expected, 1e-6)
