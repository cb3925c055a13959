"""Fits of large problems over a DataLoader: steps on batches that grow, and what judges them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.descent import GainRatio, Observer, StageState, State, Stopping, batches_stage, start
from geodescent.descent._batch_steps import FIRST_BATCH, HALF, _with_less_noise, batch_steps
from geodescent.descent._state import BatchState
from geodescent.doors._plan import OVER_BATCHES, WATCHING, Asked, plan_fit, watched
from geodescent.lift import SketchedLift
from geodescent.problem import BatchSource, GrowingSource, StreamedSource

F64 = torch.float64
SMALL = Budget(factor_order=50)
"""With it the networks of these tests are too large for a matrix."""


@pytest.fixture(autouse=True)
def _large() -> Iterator[None]:
    with spending(SMALL):
        yield


def fitted(n: int = 1000, *, noise: float = 0.0) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.rand(n, 3, dtype=F64) * 2 - 1
    y = torch.stack([torch.sin(3 * x[:, 0]) * x[:, 1], torch.cos(2 * x[:, 2])], 1)
    model = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 2)).double()
    return model, x, y + noise * torch.randn(n, 2, dtype=F64)


def loader_of(x: Tensor, y: Tensor, batch: int = 50) -> DataLoader[Any]:
    return DataLoader(TensorDataset(x, y), batch, shuffle=True, generator=torch.Generator().manual_seed(0))


def cost_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return 0.5 * float((model(x).detach() - y).square().sum()) / len(x)


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def stages_of(model: nn.Module, loader: DataLoader[Any]) -> Any:
    return plan_fit(Asked(model, loader, None, None, None, "fit"), None, None, by_validation=False).stages


# --- which fits have them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "n", "growing"), [(50, 1000, True), (1000, 1000, False), (50, 20, False)])
def test_batches_grow_where_no_matrix_can_be_factorised(order: int, n: int, growing: bool) -> None:
    """min(m, K) above the largest order, m being that of all data and not of a batch."""
    model, x, y = fitted(n)
    with spending(Budget(factor_order=order)):
        (stage,) = stages_of(model, loader_of(x, y, 5))
    assert isinstance(stage.source, GrowingSource if growing else BatchSource)
    assert isinstance(stage.lift, SketchedLift) is growing
    assert isinstance(stage.control, GainRatio if growing else gd.Spring)


def test_a_method_of_ones_own_takes_each_batch_alone() -> None:
    model, x, y = fitted()
    method = gd.Method(control=gd.Spring())
    asked = Asked(model, loader_of(x, y), None, None, None, "fit")
    (stage,) = plan_fit(asked, method, None, by_validation=False).stages
    assert isinstance(stage.source, BatchSource)


def test_the_plan_says_so() -> None:
    model, x, y = fitted()
    (stage,) = gd.plan(model, loader_of(x, y)).stages
    assert stage.on == "batches of 128 samples of the DataLoader, of twice as many as soon as that pays"
    assert "matrices are factorised up to the order 50" in stage.why and stage.step.seconds > 0.0


# --- the fit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [30, 400])
def test_the_cost_is_that_of_all_data_and_becomes_small(batch: int) -> None:
    model, x, y = fitted()
    solution = gd.fit(model, loader_of(x, y, batch), target_cost=1e-5, max_steps=80)
    assert solution.result is gd.Result.target_reached
    assert solution.cost == pytest.approx(cost_of(model, x, y), rel=1e-9)
    assert solution.stats["lift"] == "sketched"


def test_two_fits_over_equal_loaders_are_equal() -> None:
    thetas = []
    for _ in range(2):
        model, x, y = fitted()
        gd.fit(model, loader_of(x, y), max_steps=4)
        thetas.append(theta_of(model))
    assert torch.equal(*thetas)


def test_a_fit_that_was_broken_off_goes_on_with_its_batches(tmp_path: Path) -> None:
    """The cost goes on from where it was; the loader is read from its start again."""
    model, x, y = fitted()
    first = gd.fit(model, loader_of(x, y), max_steps=6, checkpoint=tmp_path)
    fresh, x, y = fitted()
    going_on = gd.fit(fresh, loader_of(x, y), max_steps=9, checkpoint=tmp_path)
    assert going_on.steps == 9 and going_on.cost <= first.cost
    assert list(going_on.history["cost"][:7]) == list(first.history["cost"])


# --- where batches cannot grow ----------------------------------------------------------------------------------------


def test_steps_are_halved_where_batches_cannot_grow() -> None:
    state = BatchState(128, (1.0,), (0.1,))
    assert _with_less_noise(state, 256) == BatchState(256)
    assert _with_less_noise(state, 128) == BatchState(128, length=HALF)
    assert _with_less_noise(replace(state, length=0.5), 128).length == 0.25


def state_with(stage: gd.Stage, batch: BatchState) -> State:
    state = start((stage,), Observer())
    return replace(state, stage=StageState(batch=batch))


def test_a_halved_step_is_half_of_the_whole_one() -> None:
    """By the same solve, where the damping is so large that no step is shortened."""
    model, x, y = fitted(256)
    moved = []
    for length in (1.0, 0.5):
        source = GrowingSource(BatchSource.of(model, DataLoader(TensorDataset(x, y), 256)))
        stage = replace(batches_stage(source), control=GainRatio(initial_damping=1e3))
        state = state_with(stage, BatchState(256, length=length))
        steps = batch_steps(stage, source, state, Counter[str]())
        assert steps.state.stage.batch.length == length
        moved.append(steps.state.theta - state.theta)
    assert torch.allclose(moved[1], 0.5 * moved[0], rtol=1e-9, atol=0.0)


def test_under_noise_halved_steps_end_lower_than_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that memory keeps at 128 samples, of 4,000 with noise."""
    costs = []
    for half in (HALF, 1.0):
        monkeypatch.setattr("geodescent.descent._batch_steps.HALF", half)
        monkeypatch.setattr("geodescent.problem.loaders._growing.fits", lambda n_bytes, device: False)
        model, x, y = fitted(4000, noise=0.5)
        solution = gd.fit(model, loader_of(x, y), max_steps=25)
        costs.append(float(solution.history["cost"][-1]))
    assert costs[0] < 0.95 * costs[1]


# --- validation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_arrays", [False, True])
def test_validation_data_may_come_from_a_loader(over_arrays: bool) -> None:
    """Its cost is that of all its batches, of unequal sizes, and the point where it is least is kept."""
    _, x, y = fitted(700, noise=0.3)
    xt, yt = x[600:], y[600:]
    costs = []
    for validation in ((xt, yt), DataLoader(TensorDataset(xt, yt), batch_size=33)):
        fresh, _, _ = fitted(700)
        data = (x[:600], y[:600]) if over_arrays else (loader_of(x[:600], y[:600]),)
        solution = gd.fit(fresh, *data, validation=validation, max_steps=12)
        costs.append(list(solution.history["validation_cost"]))
        assert cost_of(fresh, xt, yt) == pytest.approx(min(costs[-1]), rel=1e-9)
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)


def test_a_loader_for_validation_is_refused_where_it_is_empty_or_of_other_inputs() -> None:
    model, x, y = fitted(300)
    empty = DataLoader(TensorDataset(x[:5], y[:5]), batch_size=8, drop_last=True)
    with pytest.raises(gd.InputError, match="the DataLoader yields no batch"):
        gd.fit(model, x, y, validation=empty)
    with pytest.raises(gd.InputError, match="could not be called on the validation X"):
        gd.fit(model, x, y, validation=DataLoader(TensorDataset(x[:, :2], y), batch_size=8))


def test_a_fit_on_batches_that_grow_is_ended_by_validation_and_one_on_single_batches_is_not() -> None:
    """Whether the costs of its steps are those of all data."""
    model, x, y = fitted(300)
    batches = BatchSource.of(model, loader_of(x, y))
    validation = (x, y)
    for source, patience in (
        (batches, OVER_BATCHES),
        (GrowingSource(batches), WATCHING),
        (StreamedSource.of(model, loader_of(x, y)), WATCHING),
    ):
        stopping = watched(Stopping(), None, validation, source)
        assert stopping.by_validation and stopping.patience is patience
        assert watched(Stopping(), "cost", validation, source) == Stopping()


def test_the_first_batch_is_of_as_many_samples_as_elsewhere() -> None:
    model, x, y = fitted()
    (stage,) = stages_of(model, loader_of(x, y, 7))
    steps = batch_steps(stage, stage.source, start((stage,), Observer()), Counter[str]())
    assert steps.here.jacobian.blocks[0].n_samples == FIRST_BATCH
