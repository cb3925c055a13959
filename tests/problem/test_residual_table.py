"""The table of residuals by block, computed again by another path."""

import pytest
import torch
from support.inverse import inverse

from geodescent.problem import BlockResidual, ResidualTable, residual_table

F64 = torch.float64


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
