"""Intervals by rows that had no part in the numbers of prior and noise."""

from dataclasses import replace

import pytest
import torch

import geodescent as gd
from geodescent.generalisation.posterior._folds import missed_in_folds, missed_of
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._rows import FittedRows


@pytest.mark.slow
def test_intervals_hold_where_many_columns_have_chosen_the_numbers():
    """Of 60 rows with 12 columns, most of them noise: rows left out alone are missed by less than new ones."""
    held = []
    for seed in range(6):
        torch.manual_seed(seed)
        X = torch.randn(560, 12, dtype=torch.float64)
        y = X[:, 0] + 0.5 * X[:, 1].sin() + torch.randn(560, dtype=torch.float64)
        posterior = gd.fit_posterior(X[:60], y[:60], starts=1)
        lower, upper = posterior.interval(X[60:])
        held.append(float(((lower <= y[60:]) & (y[60:] <= upper)).double().mean()))
    assert 0.87 < sum(held) / len(held) < 0.97


def test_rows_of_a_fold_have_no_part_in_how_they_are_missed():
    torch.manual_seed(0)
    X = torch.randn(45, 2, dtype=torch.float64)
    y = X[:, :1] + 0.3 * torch.randn(45, 1, dtype=torch.float64)
    rows = FittedRows(X, y, torch.ones(45, dtype=torch.float64), torch.arange(45), True)
    before = missed_in_folds(rows, drawn_layers, 0)
    changed = y.clone()
    changed[7] += 3.0
    after = missed_in_folds(replace(rows, y=changed), drawn_layers, 0)
    order = torch.randperm(45, generator=torch.Generator().manual_seed(0))
    fold = next(part for part in order.chunk(3) if 7 in part)
    own = torch.zeros(45, dtype=torch.bool)
    own[fold] = True
    own[7] = False
    assert torch.equal(before[own], after[own])  # the others of its fold: they were predicted without it
    assert not torch.equal(before[~own], after[~own])


@pytest.mark.parametrize("n_rows", [29, 1001])
def test_few_and_many_rows_are_left_out_alone(n_rows):
    rows = FittedRows(
        *(torch.ones(n_rows, 1, dtype=torch.float64),) * 2, torch.ones(n_rows), torch.arange(n_rows), True
    )
    assert missed_in_folds(rows, drawn_layers, 0) is None


@pytest.mark.parametrize("n_rows", [20, 40])
def test_a_saved_posterior_has_the_same_intervals(n_rows):
    torch.manual_seed(0)
    X = torch.randn(n_rows, 2, dtype=torch.float64)
    posterior = gd.fit_posterior(X, X[:, 0] + 0.1 * torch.randn(n_rows, dtype=torch.float64), starts=1)
    tensors = posterior.tensors()
    again = type(posterior).from_tensors(tensors)
    assert (posterior.missed is None) is (n_rows < 30) is (again.missed is None)
    for level in (0.5, 0.9):
        assert torch.equal(again.reach(level), posterior.reach(level))
    with pytest.raises(gd.InputError, match=f"of {n_rows} rows says of 3 by how much they are missed"):
        type(posterior).from_tensors({**tensors, "rows.missed": torch.ones(3, 1, dtype=torch.float64)})


def test_rows_of_weight_two_are_two_rows_of_the_other_folds():
    torch.manual_seed(0)
    X = torch.randn(40, 2, dtype=torch.float64)
    y = X[:, :1] + 0.3 * torch.randn(40, 1, dtype=torch.float64)
    fold, others, ones = torch.arange(32, 40), torch.arange(40) < 32, torch.ones(40, dtype=torch.float64)
    weights = torch.where(torch.arange(40) < 16, 2.0, 1.0).double()
    weighed = missed_of(FittedRows(X, y, weights, torch.arange(40), True), others, fold, drawn_layers(2, 0))
    twice = FittedRows(*(torch.cat([a, a[:16]]) for a in (X, y, ones)), torch.arange(56), True)
    repeated = missed_of(twice, torch.cat([others, others[:16]]), fold, drawn_layers(2, 0))
    torch.testing.assert_close(weighed, repeated, rtol=1e-6, atol=1e-6)
