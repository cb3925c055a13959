"""Batches of growing size out of a DataLoader."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.matrices import F64
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.jacobian import COPIES_OF_D, bytes_a_sample, bytes_of
from geodescent.problem import BatchSource, GrowingSource, Problem
from geodescent.problem.loaders._in_order import anew


def numbers(n: int = 20) -> TensorDataset:
    """Targets are the numbers of the samples, inputs their halves."""
    y = torch.arange(float(n), dtype=F64)[:, None]
    return TensorDataset(torch.cat([y, y], 1) / 2, y)


def source_of(loader: DataLoader[Any], model: nn.Module | None = None) -> GrowingSource:
    torch.manual_seed(0)
    return GrowingSource(BatchSource.of(model or nn.Linear(2, 1).double(), loader))


def samples_of(batch: Problem | None) -> list[int]:
    assert batch is not None
    (block,) = batch.blocks
    assert torch.equal(block.map.inputs, torch.cat([block.target, block.target], 1) / 2)
    return [int(y) for y in block.target[:, 0]]


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_a_batch_has_as_many_samples_as_asked_whatever_the_loader_gives_at_once(size: int) -> None:
    """They follow each other through the passes: none is lost between two batches."""
    source = source_of(DataLoader(numbers(), batch_size=size))
    first = source.drawing(0)
    assert [samples_of(first.batch(4)), samples_of(first.batch(8))] == [[0, 1, 2, 3], list(range(4, 12))]
    second = source.drawing(1)
    assert samples_of(second.batch(10)) == [*range(12, 20), 0, 1]
    assert samples_of(second.batch(10)) == list(range(2, 12))


def test_a_round_has_at_most_as_many_samples_as_a_pass() -> None:
    source = source_of(DataLoader(numbers(), batch_size=5))
    drawing, count = source.drawing(0), 0
    while drawing.batch(6) is not None:
        count += 1
    assert count == 3 and drawing.n_residuals == 20


def test_a_batch_of_more_than_half_is_a_whole_pass_and_its_cost_is_that_of_all() -> None:
    source = source_of(DataLoader(numbers(), batch_size=6, shuffle=True))
    theta = source.first.theta
    assert len(samples_of(source.drawing(0).batch(10))) == 10
    assert source.cost_of_all(1, theta, -1.0) == source.cost(theta)
    for size in (11, 20, 300):
        batch = source.drawing(1).batch(size)
        assert sorted(samples_of(batch)) == list(range(20))
        assert source.cost_of_all(2, theta, -1.0) == -1.0
        assert batch.cost(theta) == pytest.approx(source.cost(theta), rel=1e-12)
    assert source.own_cost(theta, 2.5) == 2.5


def test_sizes_double_up_to_a_whole_pass_or_to_what_memory_holds() -> None:
    source = source_of(DataLoader(numbers(100), batch_size=8))
    drawing = source.drawing(0)
    batch = drawing.batch(8)
    _, jacobian = batch.linearise(batch.theta)
    assert [drawing.next_size(size, jacobian) for size in (8, 25, 26, 100)] == [16, 50, 100, 100]
    each = COPIES_OF_D * bytes_a_sample(jacobian.blocks)
    for free, expected in ((16 * each / 0.6 + 1, 16), (16 * each / 0.6 - 1, 8)):
        with spending(Budget(free_bytes=int(free))):
            assert drawing.next_size(8, jacobian) == expected


def test_a_sample_takes_as_much_memory_before_columns_are_made_as_then() -> None:
    """What twice as many samples take more; recorded calls know it from the columns of two samples."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    model = nn.Sequential(model[0], model[1], nn.Unflatten(1, (1, 5)), *model[2:]).double()
    taken = {}
    for n in (20, 40):
        problem = Problem.of(model, torch.rand(n, 2, dtype=F64), torch.rand(n, 3, dtype=F64))
        _, jacobian = problem.linearise(problem.theta)
        before = bytes_a_sample(jacobian.blocks)
        made = jacobian.blocks[0].settled()
        taken[n] = bytes_of(made)
        assert before == pytest.approx(bytes_a_sample((made,)), rel=0.3)
    assert (taken[40] - taken[20]) / 20 == pytest.approx(before, rel=0.3)


class Sum(nn.Module):
    """Of two inputs, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1).double()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(a + b)


def pairs(n: int) -> list[tuple[Any, Tensor]]:
    return [((torch.full((1,), i, dtype=F64), torch.ones(1, dtype=F64)), torch.zeros(1, dtype=F64)) for i in range(n)]


def test_several_inputs_are_put_together_by_position_and_by_name() -> None:
    named = [({"b": b, "a": a}, y) for (a, b), y in pairs(9)]
    for samples in (pairs(9), named):
        source = source_of(DataLoader(samples, batch_size=2), Sum())
        batch = source.drawing(0).batch(4)
        inputs = batch.blocks[0].map.inputs
        a, b = (inputs["a"], inputs["b"]) if isinstance(inputs, dict) else inputs
        assert torch.equal(a[:, 0], torch.arange(4.0, dtype=F64)) and torch.equal(b, torch.ones(4, 1, dtype=F64))


class Sequences(Dataset[Any]):
    """Samples of length 3, and from the fifth on of length 4."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if i >= 8:
            raise IndexError
        return torch.ones(3 + i // 4, 1, dtype=F64), torch.ones(1, dtype=F64)


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.mean(1))


def test_samples_that_do_not_fit_together_are_refused_with_what_takes_them() -> None:
    model, loader = Mean(), DataLoader(Sequences(), batch_size=4)
    with pytest.raises(gd.InputError, match=r"of shape \(4, 1\) after samples of shape \(3, 1\), .* pad them .*Spring"):
        source_of(loader, model).batch(8)
    assert gd.fit(model, loader, method=gd.Method(control=gd.Spring()), max_steps=4).steps > 0


class Renamed:
    """A loader whose second batch has other names; it has no length either."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __iter__(self) -> Iterator[Any]:
        for name in self.names:
            yield {"a": torch.ones(4, 1, dtype=F64), name: torch.ones(4, 1, dtype=F64)}, torch.ones(4, 1, dtype=F64)


def test_batches_with_other_names_are_refused() -> None:
    source = source_of(Renamed("b", "c"), Sum())  # type: ignore[arg-type]
    with pytest.raises(gd.InputError, match=r"inputs \['a', 'c'\] after the inputs \['a', 'b'\]: all of its batches"):
        source.batch(8)


def test_a_loader_that_is_empty_later_is_refused() -> None:
    loader = Renamed("b", "b")
    source = source_of(loader, Sum())  # type: ignore[arg-type]
    assert source.batches.n_samples == 8
    loader.names = ()
    with pytest.raises(gd.InputError, match="gave nothing on its second pass"):
        source.batch(4)


def test_tensors_are_cut_into_the_batches_of_the_loader() -> None:
    """Each sample once a pass, in another order in each; what is no rows of tensors is read by the loader itself."""
    ordered = DataLoader(numbers(), batch_size=6)
    for ours, theirs in zip(anew(ordered), ordered, strict=True):
        assert all(map(torch.equal, ours, theirs))
    shuffled = DataLoader(numbers(), batch_size=6, shuffle=True, drop_last=True)
    passes = [[int(y) for _, target in anew(shuffled) for y in target] for _ in range(2)]
    assert passes[0] != passes[1] and all(len(set(each)) == 18 for each in passes)
    doubled = DataLoader(numbers(), batch_size=20, collate_fn=lambda rows: torch.stack([2 * y for _, y in rows]))
    assert torch.equal(next(anew(doubled)), 2 * numbers().tensors[1])


def test_rows_are_counted_before_they_are_read_where_the_loader_has_a_length() -> None:
    assert source_of(DataLoader(numbers(), batch_size=6)).batches.most_rows == 24
    assert source_of(Renamed("b"), Sum()).batches.most_rows > 1e15  # type: ignore[arg-type]
