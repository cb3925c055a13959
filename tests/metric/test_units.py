"""The units of data: powers of ten, and exactly 1 for data of order one."""

import pytest
import torch

import geodescent as gd
from geodescent.metric import target_mean, target_unit, unit_of

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("power", [-200, -9, -1, 0, 1, 6, 150])
def test_a_column_s_unit_is_the_power_of_ten_nearest_to_its_size(power: int) -> None:
    values = torch.stack([normal(50), torch.rand(50, dtype=F64), torch.full((50,), 2.0, dtype=F64)], 1)
    assert (unit_of(values) == 1.0).all()
    assert unit_of(values * 10.0**power).tolist() == pytest.approx([10.0**power] * 3, rel=1e-12)


def test_the_unit_lies_between_the_usual_and_the_largest_value() -> None:
    """Of a thousand values 1e-3 and a single 1e3: rms 31.6, largest 1000, so that √(31.6·1000) = 178."""
    values = torch.full((1001, 1), 1e-3, dtype=F64)
    values[0] = 1e3
    assert unit_of(values).item() == 100.0


def test_zeros_and_what_is_not_finite_have_the_unit_one() -> None:
    values = torch.tensor([[0.0, 1.0, float("nan")], [0.0, float("inf"), 1.0]], dtype=F64)
    assert unit_of(values).tolist() == [1.0, 1.0, 1.0]


def block(y: torch.Tensor, weights: torch.Tensor | None = None) -> gd.RowBlock:
    model = torch.nn.Linear(2, y.shape[1]).double()
    return gd.RowBlock("data", gd.SampleMap(model, normal(len(y), 2)), y, weights)


def test_the_unit_of_the_targets_is_that_of_their_spread() -> None:
    """One for all outputs, whatever their means are; constant targets have none."""
    y = 1e-3 * normal(40, 2) + torch.tensor([5e4, -7.0], dtype=F64)
    assert target_unit([block(y)]) == pytest.approx(1e-3)
    assert target_unit([block(torch.full((40, 1), 1e5 / 3.0, dtype=F64))]) == 1.0


def test_the_mean_of_targets_is_weighted() -> None:
    y, weights = torch.tensor([[1.0], [2.0], [9.0]], dtype=F64), torch.tensor([1.0, 3.0, 0.0], dtype=F64)
    assert target_mean(block(y, weights)).tolist() == pytest.approx([1.75])
    assert target_mean(block(y)).tolist() == pytest.approx([4.0])
