"""The metric of the parameters, by what a parameter is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.descent import Linearised
from geodescent.metric import EUCLIDEAN, Metric
from geodescent.outputs import ClosureMap

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def squares_of(problem: gd.Problem, theta: Tensor | None = None) -> Tensor:
    """`Σ_i B_ij²` by autograd."""
    dense = problem.linearise(problem.theta if theta is None else theta)[1].dense()
    return dense.square().sum(0)


def at(problem: gd.Problem, metric: Metric, theta: Tensor | None = None) -> Metric:
    return metric.following(problem.linearise(problem.theta if theta is None else theta)[1])


# --- parameters outside of layers -----------------------------------------------------------------------------------


T = torch.linspace(0.0, 2.0, 7, dtype=F64)


def decay(theta: Tensor) -> Tensor:
    return theta[0] * torch.exp(-theta[1] * T) + theta[2]


def formula(*start: float) -> gd.Problem:
    return gd.Problem.over(gd.FunctionMap(decay, torch.tensor(start, dtype=F64)), normal(7))


def test_a_formula_s_parameters_are_measured_by_their_columns() -> None:
    problem = formula(2e3, 0.5, 1e-6)
    metric = at(problem, Metric.of(problem))
    assert metric.squares is not None and metric.is_by_columns
    assert torch.allclose(metric.squares, squares_of(problem), rtol=1e-12)
    scaled = problem.linearise(problem.theta)[1].scaled(columns=metric.column_scale).dense()
    assert torch.allclose(scaled.norm(dim=0), torch.ones(3, dtype=F64))
    v = normal(3)
    assert metric.length(v) == pytest.approx(float((v * squares_of(problem).sqrt()).norm()), rel=1e-12)


def test_the_largest_square_on_the_path_counts() -> None:
    """Per entry: the column of the rate grows from the first point to the second, that of the size shrinks."""
    problem = formula(1.0, 0.1, 0.0)
    second = torch.tensor([30.0, 3.0, 0.0], dtype=F64)
    metric = at(problem, at(problem, Metric.of(problem)), second)
    expected = squares_of(problem).maximum(squares_of(problem, second))
    assert metric.squares is not None and torch.allclose(metric.squares, expected)
    assert not torch.allclose(metric.squares, squares_of(problem, second))


def test_a_column_of_zeros_has_no_unit_yet() -> None:
    """It counts as 1, and not as a lower bound of what it is later."""
    problem = formula(0.0, 1.0, 0.0)
    first = at(problem, Metric.of(problem))
    assert first.squares is not None and first.squares[1] == 1.0
    small = torch.tensor([1e-7, 1.0, 0.0], dtype=F64)
    later = at(problem, first, small)
    assert later.squares is not None and float(later.squares[1]) == pytest.approx(float(squares_of(problem, small)[1]))


def test_what_is_not_finite_changes_nothing() -> None:
    problem = formula(1.0, 1.0, 0.0)
    metric = at(problem, Metric.of(problem))
    after = at(problem, metric, torch.tensor([1.0, -1e6, 0.0], dtype=F64))
    assert metric.squares is not None and after.squares is not None
    assert torch.isfinite(after.squares).all() and after.squares[1] == metric.squares[1]


def test_a_tensor_of_a_formula_has_one_unit() -> None:
    """The mean of its columns; scalars and vectors have one for each entry."""
    start = {"matrix": normal(2, 3), "vector": normal(2), "scalar": torch.tensor(0.3, dtype=F64)}
    x = normal(5, 3)

    def outputs(p: dict[str, Tensor]) -> Tensor:
        return (0.01 * x @ p["matrix"].T + p["vector"] * torch.tensor([1.0, 50.0], dtype=F64)).sin() * p["scalar"]

    problem = gd.Problem.over(gd.FunctionMap(outputs, start), normal(5, 2))
    metric, expected = at(problem, Metric.of(problem)), squares_of(problem)
    expected[:6] = expected[:6].mean()
    assert metric.squares is not None and torch.allclose(metric.squares, expected, rtol=1e-10)


def test_a_d_by_products_has_estimated_units() -> None:
    """Too large to be formed: by random signs, within a factor of two of every column."""
    m, k = 600, 40
    matrix = normal(m, k) * torch.logspace(-6, 6, k, dtype=F64)
    jacobian = gd.MatrixJacobian((lambda v: matrix @ v, lambda u: matrix.T @ u), shape=(m, k))
    problem = gd.Problem.over(gd.FunctionMap(lambda t: matrix @ t, torch.zeros(k, dtype=F64)), normal(m))
    with spending(Budget(rows_numbers=1000)):
        metric = Metric.of(problem).following(jacobian)
    assert metric.squares is not None
    ratio = metric.squares / matrix.square().sum(0)
    assert float(ratio.min()) > 0.5 and float(ratio.max()) < 2.0


class Physical(nn.Module):
    """A network inside a formula with constants of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
        self.rate = nn.Parameter(torch.tensor(3e-8))
        self.gains = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.gains) * torch.exp(-self.rate * 1e8 * x[:, :1].abs())


def test_beside_layers_scalars_have_units_of_their_own() -> None:
    """Counted in the mean square of the layers' columns; vectors beside layers keep 1, as the layers do."""
    problem = gd.Problem.of(Physical().double(), normal(30, 2), normal(30, 1))
    metric, squares = at(problem, Metric.of(problem)), squares_of(problem)
    names = [name for name, p in problem.blocks[0].map.parameters().items() for _ in range(p.numel())]  # type: ignore[attr-defined]
    of_layers = torch.tensor([name.startswith("net") for name in names])
    others = torch.tensor([name.startswith(("net", "gains")) for name in names])
    assert metric.squares is not None and (metric.squares[others] == 1.0).all()
    mean = float(squares[of_layers].sum()) / int(others.sum())
    assert float(metric.squares[~others]) == pytest.approx(float(squares[~others]) / mean, rel=1e-9)
    assert not metric.is_by_columns


# --- layers ---------------------------------------------------------------------------------------------------------


def tanh_net(d: int, q: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, 5), nn.Tanh(), nn.Linear(5, q)).double()


def test_a_network_on_data_of_order_one_has_the_euclidean_metric() -> None:
    assert Metric.of(gd.Problem.of(tanh_net(3), normal(20, 3), normal(20, 1))) == EUCLIDEAN


def test_a_network_has_the_units_of_its_columns_and_targets() -> None:
    """`u(a_d)²` for the weights of column d, `u(y)⁻²` for the last layer with its bias, 1 elsewhere."""
    units = torch.tensor([1e6, 1.0, 1e-3], dtype=F64)
    problem = gd.Problem.of(tanh_net(3), normal(20, 3) * units, 1e4 * normal(20, 1) + 3e7)
    metric = Metric.of(problem)
    assert metric.squares is not None
    first, bias, last = metric.squares[:15].view(5, 3), metric.squares[15:20], metric.squares[20:]
    assert torch.allclose(first, units.square().expand(5, 3)) and (bias == 1.0).all()
    assert torch.allclose(last, torch.full((6,), 1e-8, dtype=F64))
    assert metric.following(problem.linearise(problem.theta)[1]) is metric


def test_channels_of_a_convolution_have_units_in_groups() -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 4, 1)).double()
    x = normal(9, 4, 6) * torch.tensor([1e3, 1.0, 1e-2, 1e5], dtype=F64)[:, None]
    metric = Metric.of(gd.Problem.of(model, x, normal(9, 1)))
    assert metric.squares is not None
    weight = metric.squares[: 6 * 2 * 3].view(6, 2, 3)
    expected = torch.tensor([[1e6, 1.0]] * 3 + [[1e-4, 1e10]] * 3, dtype=F64)
    assert torch.allclose(weight, expected[:, :, None].expand(6, 2, 3))


def test_a_linear_model_has_both_units() -> None:
    metric = Metric.of(gd.Problem.of(nn.Linear(2, 1).double(), normal(20, 2) * 1e3, 1e5 * normal(20, 1)))
    assert metric.squares is not None
    assert metric.squares.tolist() == pytest.approx([1e-4, 1e-4, 1e-10])


def test_an_embedding_has_no_units() -> None:
    words = torch.randint(7, (9, 2), generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 1)).double()
    assert Metric.of(gd.Problem.of(model, words, normal(9, 1))) == EUCLIDEAN


def test_blocks_of_one_network_share_their_units() -> None:
    """The larger data set decides; a penalty on θ changes nothing."""
    model = tanh_net(2)
    few, many = normal(5, 2), 1e3 * normal(50, 2)
    blocks = [gd.RowBlock(f"b{len(x)}", gd.SampleMap(model, x), normal(len(x), 1)) for x in (few, many)]
    penalty = gd.FunctionMap(lambda t: 1e9 * t, blocks[0].map.theta)
    blocks.append(gd.RowBlock("size", penalty, torch.zeros(21, dtype=F64)))
    metric = Metric.of(gd.Problem(tuple(blocks)))
    assert metric.squares is not None and metric.squares[:10].tolist() == pytest.approx([1e6] * 10)
    assert (metric.squares[10:] == 1.0).all() and metric.groups is None


def test_closures_and_streams_have_the_units_of_their_data() -> None:
    model, x, y = tanh_net(2), 1e3 * normal(12, 2), 1e-2 * normal(12, 1)
    expected = Metric.of(gd.Problem.of(model, x, y)).squares
    closure = ClosureMap.of(model, lambda: (model(x), y))
    streamed = gd.StreamedSource.of(model, DataLoader(TensorDataset(x, y), 6)).whole
    for metric in (Metric.of(gd.Problem.over(closure, closure.target)), Metric.of(streamed)):
        assert expected is not None and metric.squares is not None and torch.equal(metric.squares, expected)


def test_a_closure_s_frozen_layers_are_no_part_of_the_path_to_the_inputs() -> None:
    """The last layer alone moves: its inputs depend on no parameter of θ, though the layers before require grad."""
    model, x, y = tanh_net(2), normal(12, 2), normal(12, 1)
    model[0].requires_grad_(False)
    with torch.no_grad():
        model[0].weight *= 1e-4
        model[0].bias.zero_()
    alone = Metric.of(gd.Problem.of(model, x, y)).squares
    model[0].requires_grad_(True)
    assert alone is not None and float(alone[0]) < 1e-4
    optimizer = gd.GeoDescent(model, model[2].parameters())
    optimizer.step(lambda: (model(x), y))
    assert torch.equal(torch.cat([optimizer.state[p]["metric"].reshape(-1) for p in model[2].parameters()]), alone)
    assert all(p.requires_grad for p in model.parameters())


# --- in the descent -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lift", [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()], ids=lambda lift: lift.name)
def test_a_step_in_the_metric_is_a_step_in_other_units(lift: gd.Lift) -> None:
    """`θ = φ/√M`: the step for θ in the metric is that for φ in the Euclidean one, over √M."""
    problem, squares = formula(2e3, 0.5, 1e-6), torch.tensor([1e-4, 1e6, 3.0], dtype=F64)
    here = Linearised.at(problem, problem.theta, lift=lift, dtype=F64, metric=Metric(squares))
    outputs = gd.FunctionMap(lambda phi: decay(phi / squares.sqrt()), problem.theta * squares.sqrt())
    other = gd.Problem.over(outputs, problem.blocks[0].target)
    there = Linearised.at(other, other.theta, lift=lift, dtype=F64)
    assert here.total_square == pytest.approx(there.total_square, rel=1e-12)
    damping = 1e-2 * here.total_square
    mine, theirs = (p.lift(p.damped(damping), -p.residual).velocity for p in (here, there))
    assert torch.allclose(mine * squares.sqrt(), theirs, rtol=1e-8)
    assert here.length(mine) == pytest.approx(there.length(theirs), rel=1e-8)


def test_a_linearisation_keeps_what_the_metric_has_become() -> None:
    problem = formula(2.0, 0.5, 0.0)
    here = Linearised.at(problem, problem.theta, lift=gd.NormalLift(), dtype=F64, metric=Metric.of(problem))
    assert here.metric.squares is not None
    assert torch.allclose(here.metric.squares, squares_of(problem))
    assert replace(here.metric, diagonal=None).squares is None


@pytest.mark.parametrize("k", [64, 65])
def test_many_parameters_are_those_of_a_network(k: int) -> None:
    """Up to 64 each has its own unit; of more the unit is 1, within a factor of a thousand of the median."""
    columns = torch.ones(k, dtype=F64)
    columns[1], columns[2], columns[3] = 100.0, 1e7, 1e-7
    matrix = columns * torch.nn.functional.normalize(normal(80, k), dim=0)
    problem = gd.Problem.over(gd.FunctionMap(lambda t: matrix @ t, torch.ones(k, dtype=F64)), normal(80))
    squares = at(problem, Metric.of(problem)).squares
    assert squares is not None
    expected = columns.square() if k == 64 else torch.tensor([1.0, 1.0, 1e12, 1e-12] + [1.0] * 61, dtype=F64)
    assert torch.allclose(squares, expected, rtol=1e-6)
