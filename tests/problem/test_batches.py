"""Batches without replacement, of a problem of one block."""

import pytest
import torch
from support.matrices import F64, vector
from torch import nn

import geodescent as gd
from geodescent.problem import Problem, ShuffledSource, weighted_samples
from geodescent.problem._drawn import Drawing


def problem(n: int = 20, weights: torch.Tensor | None = None) -> Problem:
    """Targets are the numbers of the samples."""
    torch.manual_seed(0)
    return Problem.of(
        nn.Linear(2, 1).double(), vector(2 * n).view(n, 2), torch.arange(float(n), dtype=F64)[:, None], weights=weights
    )


def samples_of(batch: Problem | None) -> list[int]:
    assert batch is not None
    return [int(y) for y in batch.blocks[0].target[:, 0]]


def round_of(drawing: Drawing, size: int) -> list[list[int]]:
    batches = []
    while (batch := drawing.batch(size)) is not None:
        batches.append(samples_of(batch))
    return batches


def test_a_round_has_each_sample_once_and_drops_what_is_left_over() -> None:
    batches = round_of(Drawing(problem(), seed=3), 6)
    assert [len(batch) for batch in batches] == [6, 6, 6]
    assert len({sample for batch in batches for sample in batch}) == 18
    assert all(batch == sorted(batch) for batch in batches)


def test_batches_may_grow_within_a_round() -> None:
    drawing = Drawing(problem(), seed=3)
    first, second = samples_of(drawing.batch(4)), samples_of(drawing.batch(8))
    assert len(first) == 4 and len(second) == 8 and not set(first) & set(second)
    assert drawing.batch(16) is None


def test_a_batch_has_at_most_all_samples() -> None:
    drawing = Drawing(problem(), seed=3)
    assert samples_of(drawing.batch(32)) == list(range(20))
    assert drawing.batch(32) is None


def test_rounds_are_drawn_by_the_number_of_their_step() -> None:
    source = ShuffledSource(problem())
    orders = [round_of(source.drawing(step), 6) for step in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_samples_of_weight_zero_are_not_drawn_and_the_weights_of_others_are_kept() -> None:
    weights = torch.zeros(20, dtype=F64)
    weights[10:] = torch.arange(1.0, 11.0, dtype=F64)
    weighted = problem(weights=weights)
    assert weighted_samples(weighted.blocks[0]).tolist() == list(range(10, 20))
    assert weighted_samples(problem().blocks[0]).tolist() == list(range(20))
    drawing = Drawing(weighted, seed=0)
    batch = drawing.batch(4)
    samples = samples_of(batch)
    assert min(samples) >= 10
    assert torch.equal(batch.blocks[0].weights, weights[samples])
    assert len(samples_of(drawing.batch(4))) == 4 and drawing.batch(4) is None
    assert samples_of(Drawing(weighted, seed=0).batch(32)) == list(range(10, 20))


def test_the_cost_is_that_of_all_samples() -> None:
    whole = problem()
    source, theta = ShuffledSource(whole), whole.theta + 0.1
    assert source.first is source.at(5) is whole
    assert source.cost(theta) == source.cost_of_all(3, theta, 0.1) == whole.cost(theta)
    assert source.own_cost(theta, 2.5) == 2.5


def test_batches_are_of_one_block_with_samples() -> None:
    whole = problem()
    (block,) = whole.blocks
    size = gd.RowBlock("size", gd.FunctionMap(lambda theta: theta, whole.theta), torch.zeros(3, dtype=F64))
    two = Problem((gd.RowBlock("samples", block.map, block.target), size))
    for wrong in (two, Problem((size,)), block, None):
        with pytest.raises(gd.InputError, match=r"batches need a problem of one block .*as gd\.SampleMap\(model, X\)"):
            ShuffledSource(wrong)
