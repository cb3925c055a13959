"""Samples that are drawn for short steps."""

import torch
from torch import nn

import geodescent as gd
from geodescent.problem._drawn import drawn


def test_a_norm_of_single_numbers_is_never_called_on_one_sample() -> None:
    """torch refuses it in training; only one of these samples has a positive weight."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 1), nn.GroupNorm(1, 1), nn.Linear(1, 1))
    x, y, weights = torch.randn(2, 2), torch.randn(2, 1), torch.tensor([1.0, 0.0])
    problem = gd.Problem((gd.RowBlock("data", gd.SampleMap(model, x), y, weights),))
    assert drawn(problem, 0.5, seed=0).blocks[0].n_samples == 2
    assert gd.fit(problem, max_steps=1, max_seconds=2.0).steps <= 1
