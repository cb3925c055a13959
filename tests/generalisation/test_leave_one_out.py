"""The error left out in closed form, against leaving out for real."""

import pytest
import torch
from support.laws import assert_close
from support.left_out import normal, refitted
from torch import Tensor

from geodescent.generalisation import leave_one_out, left_out, modes_of_gram, modes_of_rows


def with_spectrum(m: int, k: int, sigma: Tensor) -> Tensor:
    """D of given singular values."""
    left, _ = torch.linalg.qr(normal(m, len(sigma), seed=1))
    right, _ = torch.linalg.qr(normal(k, len(sigma), seed=2))
    return (left * sigma) @ right.T


@pytest.mark.parametrize("k", [5, 24, 40])
@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("route", ["rows", "gram"])
def test_it_is_what_leaving_out_for_real_gives(k: int, block: int, route: str) -> None:
    """A sample's block of rows, for K < m, K = m and K > m, from D and from G, at every ridge."""
    rows, residual = normal(24, k, seed=3), normal(24, 1, seed=4)
    modes = modes_of_rows(rows) if route == "rows" else modes_of_gram(rows @ rows.T)
    ridges = torch.tensor([1e-4, 1e-2, 1.0, 1e2], dtype=torch.float64)
    all_left = left_out(modes, residual, ridges, block=block)
    for ridge, left in zip(ridges.tolist(), all_left, strict=True):
        outs = [list(range(i, i + block)) for i in range(0, 24, block)]
        assert_close(left, torch.cat([refitted(rows, residual, ridge, out) for out in outs]), 1e-9)


def test_several_columns_are_several_problems_with_one_kernel() -> None:
    rows, residual = normal(10, 4, seed=5), normal(10, 3, seed=6)
    ridges = torch.tensor([0.1, 3.0], dtype=torch.float64)
    together = left_out(modes_of_rows(rows), residual, ridges, block=1)
    alone = [left_out(modes_of_rows(rows), column[:, None], ridges, block=1) for column in residual.T]
    assert_close(together, torch.cat(alone, 2), 1e-12)


def test_from_the_rows_it_holds_at_ridges_that_the_gram_matrix_cannot_see() -> None:
    """σ from 1 to 1e-11, λ = 1e-20: relative to the oracle, D keeps five digits and G none."""
    rows = with_spectrum(20, 30, 10.0 ** -torch.linspace(0, 11, 20, dtype=torch.float64))
    residual = rows @ normal(30, 1, seed=7) * 1e-3
    ridges = torch.tensor([1e-20], dtype=torch.float64)
    expected = torch.cat([refitted(rows, residual, 1e-20, [i]) for i in range(20)])
    assert_close(left_out(modes_of_rows(rows), residual, ridges, block=1)[0], expected, 1e-5)
    gram = left_out(modes_of_gram(rows @ rows.T), residual, ridges, block=1)[0]
    assert float((gram - expected).norm()) > float(expected.norm())


@pytest.mark.parametrize("block", [1, 2])
def test_a_sample_that_alone_decides_a_direction_has_no_answer_below_rounding(block: int) -> None:
    """Its leverage is 1: refitted without it, the answer at small λ is what no digit of U still holds."""
    rows, residual = normal(30, 5, seed=8), normal(30, 1, seed=9)
    rows[:, 4] = 0.0
    rows[6, 4] = 1.0
    ridges = torch.tensor([1e-2, 1e-24], dtype=torch.float64)
    resolved, lost = left_out(modes_of_rows(rows), residual, ridges, block=block)
    out = list(range(6, 6 + block))
    assert_close(resolved[out], refitted(rows, residual, 1e-2, out), 1e-9)
    assert bool(lost[out].isnan().all()) and not bool(lost[:6].isnan().any())
    best = leave_one_out(modes_of_rows(rows), residual, n_samples=30.0, block=block)
    assert best.ridge > 1e-12


def test_with_fewer_parameters_than_rows_small_ridges_do_not_cancel() -> None:
    """Down to λ = 1e-24 the errors are those of plain least squares."""
    rows, residual = normal(30, 4, seed=8), normal(30, 1, seed=9)
    left = left_out(modes_of_rows(rows), residual, torch.tensor([1e-24], dtype=torch.float64), block=1)[0]
    assert_close(left, torch.cat([refitted(rows, residual, 0.0, [i]) for i in range(30)]), 1e-12)


def test_the_best_ridge_is_the_best_of_all() -> None:
    rows, residual = normal(16, 40, seed=10), normal(16, 1, seed=11)
    modes = modes_of_rows(rows)
    best = leave_one_out(modes, residual, n_samples=16.0, block=1)
    for ridge in 10.0 ** torch.linspace(-12, 0, 13, dtype=torch.float64):
        errors = left_out(modes, residual, ridge[None] * modes.largest, block=1)
        assert best.error <= float(errors.square().sum()) / 32.0 * (1 + 1e-12)
    at = left_out(modes, residual, torch.tensor([best.ridge * modes.largest], dtype=torch.float64), block=1)
    assert best.error == pytest.approx(float(at.square().sum()) / 32.0, rel=1e-12)


@pytest.mark.parametrize("rank", [0, 3, 6])
def test_the_rank_is_that_of_the_spectrum(rank: int) -> None:
    rows = with_spectrum(8, 12, torch.ones(rank, dtype=torch.float64)) if rank else torch.zeros(8, 12).double()
    for modes in (modes_of_rows(rows), modes_of_gram(rows @ rows.T)):
        assert leave_one_out(modes, normal(8, 1), n_samples=8.0, block=1).rank == rank


def test_without_derivatives_all_of_the_residual_is_left_out() -> None:
    residual = normal(8, 1)
    best = leave_one_out(modes_of_rows(torch.zeros(8, 3).double()), residual, n_samples=8.0, block=1)
    assert best.error == pytest.approx(float(residual.square().sum()) / 16.0)
