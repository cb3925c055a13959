"""A descent over many samples opens on a part of them."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

import geodescent as gd
from geodescent._types import Outputs, Theta
from geodescent.outputs import Inputs
from geodescent.problem import part_of

F64 = torch.float64


@dataclass
class Watched:
    """A map of samples that keeps how many rows were linearised, and where."""

    map: gd.SampleMap
    points: list[tuple[int, Theta]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape, self.dtype, self.device = self.map.shape, self.map.dtype, self.map.device
        self.inputs, self.target_shape = self.map.inputs, self.map.target_shape

    @property
    def theta(self) -> Theta:
        return self.map.theta

    @property
    def model(self) -> nn.Module:
        return self.map.model

    def parameters(self) -> dict[str, Tensor]:
        return self.map.parameters()

    def watched(self, theta: Theta) -> Outputs:
        return self.map.watched(theta)

    def __call__(self, theta: Theta) -> Outputs:
        return self.map(theta)

    def linearise(self, theta: Theta) -> tuple[Outputs, gd.Jacobian]:
        self.points.append((self.shape[0], theta))
        return self.map.linearise(theta)

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        return self.map.second_derivative(theta, direction)

    def write(self, theta: Theta) -> None:
        self.map.write(theta)

    def at(self, samples: list[int] | Tensor) -> "Watched":
        return Watched(self.map.at(samples), self.points)

    def on(self, inputs: Inputs) -> "Watched":
        return Watched(self.map.on(inputs), self.points)

    @property
    def rows(self) -> list[int]:
        return [n for n, _ in self.points]


def watched(model: nn.Module, x: Tensor, y: Tensor) -> tuple[gd.Problem, Watched]:
    outputs = Watched(gd.SampleMap(model, x))
    return gd.Problem.over(outputs, y), outputs


def many(*, noise: float) -> tuple[nn.Module, Tensor, Tensor]:
    """4,000 samples and 25 parameters: 500 samples are a part to open on."""
    torch.manual_seed(0)
    x = torch.rand(4000, 1, dtype=F64) * 2.0 - 1.0
    y = torch.sin(3.0 * x) + noise * torch.randn_like(x)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double(), x, y


def cost_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return 0.5 * float((model(x).detach() - y).square().sum()) / len(x)


def test_a_part_is_taken_of_many_samples_only() -> None:
    model, x, y = many(noise=0.0)
    part = part_of(gd.Problem.of(model, x, y))
    assert part is not None and part.n_residuals == 500
    assert part_of(gd.Problem.of(model, x[:1999], y[:1999])) is None


def test_a_part_has_eight_rows_a_parameter() -> None:
    """100 parameters and two outputs: 8 · 100 / 2 = 400 samples are fewer than the least; 1,000 parameters ask more."""
    x = torch.randn(20_000, 49, dtype=F64)
    few, more = nn.Linear(49, 2).double(), nn.Sequential(nn.Linear(49, 19), nn.Linear(19, 2)).double()
    y, n_params = torch.zeros(20_000, 2, dtype=F64), sum(p.numel() for p in more.parameters())
    small, large = part_of(gd.Problem.of(few, x, y)), part_of(gd.Problem.of(more, x, y))
    assert small is not None and small.blocks[0].n_samples == 500
    assert large is not None and large.blocks[0].n_samples == 4 * n_params == 3960


def test_the_rows_of_a_part_are_rows_of_the_whole() -> None:
    """Inputs, targets and weights of the same samples, in their order; the block's weight is kept."""
    model, x, y = many(noise=0.3)
    weights = torch.linspace(0.5, 1.5, 4000, dtype=F64)
    block = gd.RowBlock("rows", gd.SampleMap(model, x), y, weights, 2.0)
    part = part_of(gd.Problem((block,)))
    assert part is not None
    (drawn,) = part.blocks
    places = torch.tensor([int((y[:, 0] == value).nonzero()) for value in drawn.target[:, 0]])
    assert bool((places.diff() > 0).all()) and int(places[-1]) > 3000  # from all over the samples
    assert isinstance(drawn.map, gd.SampleMap) and torch.equal(drawn.map.inputs, x[places])
    assert drawn.weights is not None and torch.equal(drawn.weights, weights[places])
    assert (drawn.name, drawn.weight) == ("rows", 2.0)
    again = part_of(gd.Problem((block,)))
    assert again is not None and torch.equal(again.target, part.target)


def test_no_part_is_taken_of_several_blocks_or_of_a_map_without_samples() -> None:
    model, x, y = many(noise=0.0)
    block, theta = gd.RowBlock("data", gd.SampleMap(model, x), y), parameters_to_vector(model.parameters()).detach()
    penalty = gd.RowBlock("size", gd.FunctionMap(lambda t: t, theta), torch.zeros_like(theta))
    assert part_of(gd.Problem((block,))) is not None
    assert part_of(gd.Problem((block, penalty))) is None
    long = torch.zeros(4000, dtype=F64)
    assert part_of(gd.Problem.over(gd.FunctionMap(lambda t: long + t[0], theta), long)) is None


def test_a_descent_over_many_samples_opens_on_a_part_of_them_and_tells_the_cost_of_all() -> None:
    model, x, y = many(noise=0.0)
    problem, outputs = watched(model, x, y)
    costs = list[float]()

    def seen(record: gd.StepRecord) -> None:
        costs.append(record.cost)

    solution = gd.fit(problem, target_cost=1e-8, callback=seen)
    assert solution.result.name == "target_reached"
    assert outputs.rows[:3] == [500, 500, 500]
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-6, abs=0.0)
    assert min(costs) == pytest.approx(solution.cost, rel=1e-9, abs=0.0)


@pytest.mark.slow
def test_under_noise_the_part_is_left_soon_and_for_good() -> None:
    model, x, y = many(noise=0.3)
    problem, outputs = watched(model, x, y)
    solution = gd.fit(problem, max_steps=100)
    rows = outputs.rows
    opened = rows.index(4000)
    assert set(rows[:opened]) == {500}
    assert set(rows[opened:]) == {4000}
    assert opened < 60
    assert solution.cost < float((y - torch.sin(3.0 * x)).square().mean()) / 2.0  # the noise itself


def test_steps_on_all_samples_begin_at_their_best_point() -> None:
    model, x, y = many(noise=0.3)
    problem, outputs = watched(model, x, y)
    solution = gd.fit(problem, max_steps=60)
    costs = [problem.cost(theta) for rows, theta in outputs.points if rows == 500]
    first = next(theta for rows, theta in outputs.points if rows == 4000)
    assert problem.cost(first) == pytest.approx(min(costs), rel=1e-12)
    assert min(costs) < costs[-1]  # the last point on the part was a worse one
    assert solution.cost <= min(costs)


def test_a_part_that_gives_no_step_is_left_at_once() -> None:
    """A linear model is at the part's minimum after one step: nothing is tried again there."""
    torch.manual_seed(0)
    x, y = torch.randn(4000, 60, dtype=F64), torch.randn(4000, 1, dtype=F64)
    problem, outputs = watched(nn.Linear(60, 1).double(), x, y)
    solution = gd.fit(problem)
    assert 1 <= outputs.rows.count(500) <= 4
    columns = torch.cat([x, torch.ones_like(y)], 1)
    left = columns @ torch.linalg.lstsq(columns, y).solution - y
    assert solution.cost == pytest.approx(float(left.square().sum()) / 8000.0, rel=1e-9)


def test_samples_of_weight_zero_are_no_part() -> None:
    model, x, y = many(noise=0.0)
    weights = torch.zeros(4000, dtype=F64)
    weights[:1000] = 1.0
    assert part_of(gd.Problem.of(model, x, y, weights=weights)) is None
    weights[:3000] = 1.0
    part = part_of(gd.Problem.of(model, x, y, weights=weights))
    assert part is not None and part.n_samples == 500.0


def test_a_run_resumed_on_the_part_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, x, y = many(noise=0.0)
    full = gd.fit(whole, x, y, max_steps=8)
    broken, _, _ = many(noise=0.0)
    problem, outputs = watched(broken, x, y)
    gd.fit(problem, max_steps=4, checkpoint=tmp_path)
    resumed = gd.fit(problem, max_steps=8, checkpoint=tmp_path)
    assert set(outputs.rows) == {500}
    assert resumed.history["cost"] == pytest.approx(full.history["cost"], rel=1e-5)
    theta, expected = (parameters_to_vector(m.parameters()).detach() for m in (broken, whole))
    assert_close(theta, expected, 1e-6)
