"""Problems of several blocks: what is left out of them, drawn from them, and judged by them."""

import copy
import math

import pytest
import torch
from support.left_out import mlp, normal, refitted, uniform
from torch import Tensor, nn

import geodescent as gd
from geodescent.generalisation import GAINS, split_off, validation_cost

F64 = torch.float64


def blocks(model: nn.Module, *, penalty: bool) -> tuple[gd.RowBlock, ...]:
    """Ten and eight samples of one function, weighted; and a penalty on all parameters where it is asked for."""
    x, w = uniform(18, 2), torch.linspace(0.5, 2.0, 10, dtype=F64)
    y = torch.sin(3.0 * x[:, :1]) + 0.1 * normal(18, 1, seed=3)
    first = gd.RowBlock("first", gd.SampleMap(model, x[:10]), y[:10], weights=w)
    rest = gd.RowBlock("rest", gd.SampleMap(model, x[10:]), y[10:], weight=0.2)
    theta = rest.map.theta
    size = gd.RowBlock("size", gd.FunctionMap(lambda at: at, theta), torch.zeros_like(theta), weight=1e-3)
    return (first, size, rest) if penalty else (first, rest)


@pytest.mark.parametrize("width", [2, 12])
def test_samples_of_all_blocks_are_left_out_in_turn(width: int) -> None:
    """Against refitting without each, in the rows of the problem itself; K < m and K > m."""
    model = mlp(2, width, 1)
    start = gd.initialise(gd.Problem(blocks(copy.deepcopy(model), penalty=False)))
    assert (start.n_samples, start.n_given, start.layers) == (18, 18, ("0",))
    for candidate in start.candidates:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in moved[0].parameters():
                parameter.mul_(candidate.gain)
        problem = gd.Problem(blocks(moved, penalty=False))
        residual, jacobian = problem.linearise(problem.theta)
        rows = jacobian.dense()
        ridge = candidate.ridge * float(torch.linalg.matrix_norm(rows, 2)) ** 2
        left = torch.cat([refitted(rows, residual[:, None], ridge, [i]) for i in range(18)])
        if candidate.ridge > 1e-9:  # below, the oracle's own rounding shows
            assert candidate.error == pytest.approx(float(left.square().sum()) / (2.0 * problem.n_samples), rel=1e-6)
    assert any(c.ridge > 1e-9 for c in start.candidates)
    first, rest = blocks(model, penalty=False)
    of_means = spread(first.target[:, 0], first.weights) + 0.2 * spread(rest.target[:, 0], torch.ones(8, dtype=F64))
    assert start.cost_of_mean == pytest.approx(of_means, rel=1e-10)


def spread(y: Tensor, weights: Tensor) -> float:
    """The cost of a block whose outputs are its mean."""
    mean = (weights * y).sum() / weights.sum()
    return float((weights * (y - mean).square()).sum() / (2.0 * weights.sum()))


def test_a_penalty_beside_the_data_has_nothing_to_leave_out() -> None:
    """The same table with it and without, and the first layer of the one module that all blocks share is changed."""
    model = mlp(2, 12, 1)
    tables = []
    for penalty in (False, True):
        moved = copy.deepcopy(model)
        tables.append(gd.initialise(gd.Problem(blocks(moved, penalty=penalty))))
        assert torch.equal(moved[0].weight, model[0].weight * tables[-1].gain)
        assert torch.equal(moved[2].weight, model[2].weight)
    assert tables[0] == tables[1]
    assert tables[0].gain in GAINS


def test_without_samples_and_layers_nothing_is_chosen() -> None:
    theta = normal(4)
    problem = gd.Problem.over(gd.FunctionMap(lambda at: at.square(), theta), torch.ones(4, dtype=F64))
    start = gd.initialise(problem)
    assert (start.gain, start.layers, start.n_samples, start.n_given) == (1.0, (), 0, 4)
    assert start.reason == "no block of the problem has samples and layers." and start.reason in str(start)
    assert torch.equal(problem.theta, theta)


class Pair(nn.Module):
    """Returns its outputs twice."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.model(x)
        return y, 2.0 * y


def test_outputs_are_picked_by_select() -> None:
    x = torch.linspace(-1, 1, 60, dtype=F64)[:, None]
    plain, paired = mlp(1, 20, 1), Pair(mlp(1, 20, 1))
    expected = gd.initialise(plain, x, torch.sinc(10 * x))
    start = gd.initialise(paired, x, torch.sinc(10 * x), select=lambda returned: returned[0])
    assert start.candidates == expected.candidates and start.layers == ("model.0",)
    assert torch.equal(paired.model[0].weight, plain[0].weight)


def test_parts_of_all_blocks_are_looked_at() -> None:
    """Of each as large a share: five of ten and four of eight, three of ten and two of eight."""
    for asked, looked_at in ((9, 9), (4, 5)):
        start = gd.initialise(gd.Problem(blocks(mlp(2, 12, 1), penalty=True)), max_samples=asked)
        assert (start.n_samples, start.n_given) == (looked_at, 18)


def test_the_start_is_chosen_at_the_theta_of_the_problem() -> None:
    """That of its first block, whatever the other maps stand at."""
    torch.manual_seed(1)
    model, x = mlp(3, 12, 1), torch.randn(20, 3, dtype=F64)
    data = gd.SampleMap(model, x)
    theta, y = data.theta.clone(), torch.sin(x.sum(1, keepdim=True))
    theta[:48] /= 8.0
    size = gd.RowBlock("size", gd.FunctionMap(lambda t: t[:5], theta), torch.zeros(5, dtype=F64))
    together = gd.initialise(gd.Problem((size, gd.RowBlock("data", data, y))))
    data.write(theta)
    alone = gd.initialise(model, x, y)
    assert together.gain == alone.gain > 1.0
    assert together.candidates == alone.candidates


# --- validation -----------------------------------------------------------------------------------------------------


def test_a_fifth_of_the_samples_is_split_off() -> None:
    """By a fixed seed: the two are the whole, weights go with their samples, and the judge knows none."""
    x, y = torch.arange(50.0, dtype=F64)[:, None], torch.arange(50.0, dtype=F64)[:, None] ** 2
    weights = torch.arange(1.0, 51.0, dtype=F64)
    whole = gd.Problem(
        (gd.RowBlock("data", gd.SampleMap(nn.Linear(1, 1).double(), x), y, weights=weights, weight=2.0),)
    )
    (kept,), (drawn,) = (problem.blocks for problem in split_off(whole, otherwise=""))
    assert (kept.n_samples, drawn.n_samples) == (40, 10)
    assert sorted([*inputs_of(kept), *inputs_of(drawn)]) == list(range(50))
    for block in (kept, drawn):
        assert [value**2 for value in inputs_of(block)] == block.target[:, 0].tolist()
    assert kept.weights is not None and [w - 1.0 for w in kept.weights.tolist()] == inputs_of(kept)
    assert (kept.weight, drawn.weight, drawn.weights) == (2.0, 2.0, None)
    assert inputs_of(split_off(whole, otherwise="")[1].blocks[0]) == inputs_of(drawn)


def inputs_of(block: gd.RowBlock) -> list[float]:
    assert isinstance(block.map, gd.Sampled)
    return block.map.inputs[:, 0].tolist()


def test_the_validation_cost_is_of_the_other_problem() -> None:
    model = mlp(2, 3, 1)
    problem, judge = gd.Problem(blocks(model, penalty=False)), gd.Problem(blocks(model, penalty=True))
    theta = problem.theta + 0.1
    assert validation_cost(problem, None)(theta) is None
    assert validation_cost(problem, judge)(theta) == judge.cost(theta) > problem.cost(theta)
    x, y = uniform(7, 2, seed=5), normal(7, 1, seed=6)
    single = gd.Problem(blocks(model, penalty=False)[:1])
    by_pair = validation_cost(single, (x, y))(theta)
    single.write(theta)
    assert by_pair == pytest.approx(float((model(x) - y).detach().square().mean()) / 2.0, rel=1e-12)
    assert not math.isclose(by_pair, single.cost(theta))
