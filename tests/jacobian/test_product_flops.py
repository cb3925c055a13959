"""What a pair of products is counted as, and what is known of columns before they are made."""

import pytest
import torch
from support.laws import assert_close
from support.matrices import F64, vector
from torch import Tensor, nn

import geodescent as gd
from geodescent.jacobian import CALL_FLOPS, BlockJacobian, DenseColumns, OuterColumns, stacked


class Gained(nn.Module):
    """Two linear layers called at three positions, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)
        self.gain = nn.Parameter(torch.rand(2) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.last(torch.tanh(self.first(x))).sum(1)


class Remembering(nn.Module):
    """An LSTM whose last state a layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cell(x)[0][:, -1])


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2))


def jacobian_of(model: nn.Module, *shape: int) -> BlockJacobian:
    return gd.SampleMap(model.double(), vector(torch.Size(shape).numel()).view(shape)).linearise()[1]


def test_a_layer_multiplies_at_each_of_its_positions() -> None:
    """Two products, two flops an entry: of the layer's matrix at each position, and of its cotangents."""
    jacobian = jacobian_of(Gained(), 7, 3, 4).made()
    expected = {
        "first": 4.0 * 7 * 3 * (5 * 5 + 2 * 5),
        "last": 4.0 * 7 * 3 * (2 * 6 + 2 * 2),
        "gain": 4.0 * 7 * (2 + 2 * 2),
    }
    positions = {"first": 3, "last": 3, "gain": 1}
    for piece in jacobian.columns:
        assert piece.positions == positions[piece.label], piece.label
        assert isinstance(piece, DenseColumns if piece.label == "gain" else OuterColumns)
    assert jacobian.product_flops() == 3 * CALL_FLOPS + sum(expected.values())


def test_columns_that_are_formed_or_have_products_alone_are_used_once() -> None:
    matrix = vector(3 * 8).view(3, 8)
    dense = gd.MatrixJacobian(matrix)
    functions = gd.MatrixJacobian((lambda v: matrix @ v, lambda u: matrix.T @ u), shape=(3, 8))
    assert [piece.positions for jacobian in (dense, functions) for piece in jacobian.columns] == [1, 1]


def test_twice_the_samples_are_twice_the_flops_and_as_many_calls() -> None:
    model = Gained()
    few, many = (jacobian_of(model, n, 3, 4).product_flops() - 3 * CALL_FLOPS for n in (7, 14))
    assert many == 2.0 * few


@pytest.mark.parametrize(("make", "shape"), [(conv, (6, 1, 5, 5)), (Remembering, (6, 4, 3))], ids=["conv", "lstm"])
def test_the_kinds_of_columns_are_known_before_these_are_made(make, shape: tuple[int, ...]) -> None:
    """The same pieces for the same parameters, at as many positions; so is what products take."""
    jacobian = jacobian_of(make(), *shape)
    (block,) = jacobian.blocks
    kinds, flops = block.kinds, jacobian.product_flops()
    assert not block.is_made
    columns = block.columns
    assert block.is_made
    for kind, piece in zip(kinds, columns, strict=True):
        assert type(kind) is type(piece) and torch.equal(kind.index, piece.index)
        assert (kind.label, kind.positions, kind.width) == (piece.label, piece.positions, piece.width)
    assert block.kinds == columns and flops == pytest.approx(jacobian.product_flops(), rel=1e-12)


def test_the_kinds_of_a_block_are_its_columns() -> None:
    jacobian = jacobian_of(Gained(), 7, 3, 4).made()
    both = stacked([jacobian, jacobian])
    assert [block.kinds for block in both.blocks] == [tuple(jacobian.columns)] * 2
    assert_close(both.mv(vector(jacobian.n_params))[:14], jacobian.mv(vector(jacobian.n_params)), 1e-14)
    assert jacobian.dtype == F64
