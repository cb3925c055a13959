"""The table of residuals by block, and coefficients with standard errors, each computed again by another path."""

import math

import pytest
import torch
from support.models import normal
from torch import Tensor

import geodescent as gd
from geodescent.problem import BlockResidual, ResidualTable, estimates, residual_table

F64 = torch.float64


def linear(name: str, matrix: Tensor, target: Tensor, theta: Tensor, **settings: object) -> gd.RowBlock:
    return gd.RowBlock(name, gd.FunctionMap(lambda t: matrix @ t, theta), target, **settings)


def inverse(theta: Tensor, y: Tensor, *, weights: Tensor, weight: float) -> gd.Problem:
    """Data with errors, equations without."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        data, equations = normal(12, 4), normal(9, 4)
    blocks = (
        linear("data", data, y, theta, weights=weights, weight=weight),
        linear("equations", equations, equations @ torch.ones(4, dtype=F64), theta, weight=2.0),
    )
    return gd.Problem(blocks, {"kappa": 2, "nu": 0}, ("data",))


def solved(problem: gd.Problem) -> Tensor:
    """The least-squares solution, by QR of weighted rows."""
    zero = torch.zeros(4, dtype=F64)
    residual, jacobian = problem.linearise(zero)
    return torch.linalg.lstsq(jacobian.dense(), -residual[:, None]).solution[:, 0]


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_the_standard_error_is_how_far_errors_of_the_data_move_the_solution(weight: float) -> None:
    """By derivatives of the solution by each datum, `σ² Σ (∂θ̂_k/∂y_i)²`; σ² with the freedom that the fit leaves."""
    weights = torch.linspace(0.5, 2.0, 12, dtype=F64)
    y = normal(12, 4) @ torch.ones(4, dtype=F64) + 0.1 * normal(12)
    at = solved(inverse(torch.zeros(4, dtype=F64), y, weights=weights, weight=weight))
    problem = inverse(at, y, weights=weights, weight=weight)
    shifted = [solved(inverse(at, y + step, weights=weights, weight=weight)) - at for step in torch.eye(12, dtype=F64)]
    moved = torch.stack(shifted)  # linear: exact for any length
    data = problem.blocks[0]
    off = (data.map(at) - data.target[:, 0]).square().sum()
    leverages = torch.stack([data.map(at + step)[i] - data.map(at)[i] for i, step in enumerate(moved)])
    variance = float(off / (12.0 - leverages.sum()))
    found = estimates(problem, at)
    for name, k in problem.unknowns.items():
        assert found[name].value == pytest.approx(float(at[k]), rel=1e-12)
        assert found[name].standard_error == pytest.approx(
            math.sqrt(variance * float(moved[:, k].square().sum())), rel=1e-8
        )


def test_standard_errors_are_those_of_many_repetitions() -> None:
    """The spread of the solutions of noisy data, against the mean of what each of them says."""
    torch.manual_seed(3)
    weights, theta = torch.ones(12, dtype=F64), torch.zeros(4, dtype=F64)
    base = (
        inverse(theta, torch.zeros(12, dtype=F64), weights=weights, weight=1.0).blocks[0].map(torch.ones(4, dtype=F64))
    )
    values, said = list[float](), list[float]()
    for _ in range(200):
        y = base + 0.3 * torch.randn(12, dtype=F64)
        at = solved(inverse(theta, y, weights=weights, weight=1.0))
        values.append(float(at[2]))
        said.append(estimates(inverse(at, y, weights=weights, weight=1.0), at)["kappa"].standard_error ** 2)
    spread = float(torch.tensor(values).var())
    assert sum(said) / len(said) == pytest.approx(spread, rel=0.25)


def test_without_data_there_is_no_standard_error() -> None:
    theta = torch.ones(4, dtype=F64)
    problem = inverse(theta, torch.zeros(12, dtype=F64), weights=torch.ones(12, dtype=F64), weight=1.0)
    bare = gd.Problem(problem.blocks, problem.unknowns)
    assert all(math.isnan(e.standard_error) and e.value == 1.0 for e in estimates(bare, theta).values())
    assert estimates(gd.Problem(problem.blocks), theta) == {}


def test_the_table_has_root_mean_squares_and_largest_sizes() -> None:
    theta = torch.ones(4, dtype=F64)
    problem = inverse(theta, torch.zeros(12, dtype=F64), weights=torch.ones(12, dtype=F64), weight=3.0)
    data, equations = residual_table(problem, theta)
    rows = problem.blocks[0].map(theta)
    assert (data.name, data.n_rows, data.weight, data.fresh_rms) == ("data", 12, 3.0, None)
    assert data.rms == pytest.approx(float(rows.square().mean().sqrt())) and data.largest == float(rows.abs().max())
    assert equations.rms == 0.0 and not data.points_limit


def test_the_table_says_where_points_limit() -> None:
    rows = [
        BlockResidual("heat", 9, 1.0, 1e-9, 2e-9, 1e-7, 2e-7),
        BlockResidual("walls", 9, 100.0, 1e-9, 2e-9, 2e-9, 3e-9),
    ]
    table = ResidualTable(rows)
    assert table[0].points_limit and not table[1].points_limit
    (sentence,) = table.sentences
    assert sentence.startswith("heat: the residual between the points is 100 times that on them: the points limit")
    assert str(table).splitlines()[0].split() == [
        "term",
        "rows",
        "weight",
        "RMS",
        "largest",
        "fresh",
        "RMS",
        "fresh",
        "largest",
    ]
    assert sentence in " ".join(str(table).split())
