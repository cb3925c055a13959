"""The Jacobian restricted to the span of the inputs of its layers."""

import pytest
import torch
from support.laws import assert_adjoint, assert_close
from support.matrices import F64, vector
from torch import Tensor, nn

import geodescent as gd
from geodescent.jacobian import (
    BlockJacobian,
    DenseColumns,
    DenseCotangents,
    DenseInputs,
    Jacobian,
    OuterColumns,
    ProductColumns,
    Spanned,
    stacked,
)
from geodescent.jacobian._block import Block

EXACT = 1e-12


class Gained(nn.Module):
    """A wide layer, a narrow one, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(40, 6), nn.Linear(6, 2)
        self.gain = nn.Parameter(torch.rand(2) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.narrow(torch.tanh(self.wide(x)))


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2))


def conv() -> nn.Module:
    """Inputs of 12 numbers at 16 positions: not restricted; the head has 96 inputs."""
    return nn.Sequential(nn.Conv2d(3, 6, 2), nn.Tanh(), nn.Flatten(), nn.Linear(96, 2))


MODELS = pytest.mark.parametrize(
    ("make", "shape", "restricted"),
    [
        (deep, (7, 40), [True, True, True]),
        (deep, (1, 40), [True, True, True]),
        (Gained, (7, 40), [True, False, False]),
        (conv, (5, 3, 5, 5), [False, True]),
        (deep, (30, 40), [False, False, False]),
    ],
    ids=["deep", "one sample", "own parameter", "conv", "many samples"],
)


def jacobian_of(make, shape: tuple[int, ...]) -> Jacobian:
    torch.manual_seed(0)
    return gd.SampleMap(make().double(), torch.randn(shape, dtype=F64)).linearise()[1].made()


def spanned_of(jacobian: Jacobian) -> Spanned:
    spanned = Spanned.of(jacobian)
    assert spanned is not None
    return spanned


def basis(spanned: Spanned) -> Tensor:
    """E, (K, len z)."""
    return torch.stack([spanned.widened(z) for z in torch.eye(spanned.jacobian.n_params, dtype=F64)], 1)


@MODELS
def test_layers_with_more_inputs_than_rows_are_restricted_and_others_are_as_they_are(make, shape, restricted) -> None:
    jacobian = jacobian_of(make, shape)
    spanned = spanned_of(jacobian)
    by_label = dict(zip([piece.label for piece in jacobian.columns], spanned.parts, strict=True))
    assert [bases is not None for _, _, bases in by_label.values()] == restricted
    for piece, inner, (where, index, rows) in zip(
        jacobian.columns, spanned.jacobian.columns, spanned.parts, strict=True
    ):
        assert torch.equal(index, piece.index) and inner.width == where.stop - where.start
        if rows is None:
            assert inner.width == piece.width
            assert_close(inner.rows().values, piece.rows().values, 0.0)
        else:
            assert inner.width == piece.index.shape[0] * shape[0] < piece.width
    assert spanned.n_params == jacobian.n_params
    assert spanned.jacobian.shape == (jacobian.n_residuals, spanned.parts[-1][0].stop)


@MODELS
def test_its_products_are_those_with_steps_in_the_span(make, shape, restricted) -> None:
    """`(DE)z = D(Ez)` and `(DE)ᵀu = Eᵀ(Dᵀu)`."""
    jacobian = jacobian_of(make, shape)
    spanned = spanned_of(jacobian)
    z, u = vector(spanned.jacobian.n_params), vector(jacobian.n_residuals, 5)
    assert_close(spanned.jacobian.mv(z), jacobian.mv(spanned.widened(z)), EXACT)
    assert_close(spanned.jacobian.rmv(u), basis(spanned).T @ jacobian.rmv(u), EXACT)
    assert_adjoint(spanned.jacobian, EXACT)


@MODELS
def test_the_basis_is_orthonormal_and_holds_every_gradient(make, shape, restricted) -> None:
    """`EᵀE = 1`, `EEᵀDᵀu = Dᵀu`, and so `DE(DE)ᵀ = DDᵀ`."""
    jacobian = jacobian_of(make, shape)
    spanned = spanned_of(jacobian)
    e, u = basis(spanned), vector(jacobian.n_residuals, 5)
    assert_close(e.T @ e, torch.eye(e.shape[1], dtype=F64), 1e-9)
    gradient = jacobian.rmv(u)
    assert_close(e @ (e.T @ gradient), gradient, 1e-9)
    assert_close(spanned.jacobian.gram(), jacobian.gram(), 1e-10)


@MODELS
@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_the_damped_step_of_least_norm_lies_in_the_span(make, shape, restricted, damping: float) -> None:
    """It is that of the dense D, found with the few numbers z."""
    jacobian = jacobian_of(make, shape)
    spanned, dense = spanned_of(jacobian), jacobian.dense()
    v = vector(len(dense))
    inner = spanned.jacobian.dense()
    normal = inner.T @ inner + damping * torch.eye(inner.shape[1], dtype=F64)
    found = spanned.widened(torch.linalg.solve(normal, inner.T @ v))
    gram = dense @ dense.T + damping * torch.eye(len(dense), dtype=F64)
    assert_close(found, dense.T @ torch.linalg.solve(gram, v), 1e-9)


def test_weighted_rows_and_units_of_inputs_are_taken_along() -> None:
    jacobian = jacobian_of(deep, (7, 40))
    rows = vector(jacobian.n_residuals).abs() + 0.1
    weighted = spanned_of(jacobian.scaled(rows=rows))
    assert_close(weighted.jacobian.gram(), rows[:, None] * jacobian.gram() * rows, 1e-10)
    plain = spanned_of(jacobian.scaled(columns=vector(jacobian.n_params, 1).square() + 0.1))
    assert [rows is None for _, _, rows in plain.parts] == [True, True, True]  # each entry in a unit of its own


def test_equal_inputs_and_inputs_of_zero_are_no_obstacle() -> None:
    """AAᵀ is singular: steps stay those of D, and the basis is no longer than one."""
    x = torch.randn(6, 40, dtype=F64)
    x[3] = x[1]
    x[5] = 0.0
    jacobian = gd.SampleMap(nn.Linear(40, 2, bias=False).double(), x).linearise()[1]
    spanned = spanned_of(jacobian)
    assert spanned.parts[0][2] is not None
    z = vector(spanned.jacobian.n_params)
    assert_close(spanned.jacobian.mv(z), jacobian.mv(spanned.widened(z)), 1e-12)
    assert_close(spanned.jacobian.gram(), jacobian.gram(), 1e-10)
    assert float(torch.linalg.matrix_norm(basis(spanned), 2)) <= 1.0 + 1e-9
    nothing = spanned_of(gd.SampleMap(nn.Linear(40, 2, bias=False).double(), 0.0 * x).linearise()[1])
    assert nothing.parts[0][2] is None  # taken as it is


def test_float32_keeps_its_digits() -> None:
    jacobian = jacobian_of(deep, (7, 40)).to(torch.float32)
    spanned = spanned_of(jacobian)
    z = vector(spanned.jacobian.n_params).float()
    assert spanned.jacobian.dtype == spanned.widened(z).dtype == torch.float32
    assert_close(spanned.jacobian.mv(z), jacobian.mv(spanned.widened(z)), 1e-5)


# --- where there is none ----------------------------------------------------------------------------------------------


def test_there_is_none_for_several_blocks() -> None:
    jacobian = jacobian_of(deep, (7, 40))
    assert Spanned.of(stacked([jacobian, jacobian])) is None


def outer(index: Tensor, seed: int) -> OuterColumns:
    o, d = index.shape
    inputs = DenseInputs(vector(3 * d, seed).view(3, 1, d))
    return OuterColumns(inputs, DenseCotangents(vector(3 * o, seed + 1).view(3, 1, 1, o)), index, f"layer {seed}")


@pytest.mark.parametrize("spare", [0, 1000])
def test_there_is_none_where_pieces_have_parameters_in_common(spare: int) -> None:
    """However many parameters no piece has."""
    first, second = torch.arange(40).view(2, 20), torch.arange(39, 79).view(2, 20)
    for index, none in ((second, True), (second + 1, False)):
        block = Block((outer(first, 1), outer(index, 5)), 3, 1)
        jacobian = BlockJacobian((block,), 80 + spare, F64, torch.device("cpu"))
        assert (Spanned.of(jacobian) is None) is none


def test_there_is_none_for_columns_known_by_products() -> None:
    matrix = vector(3 * 40).view(3, 40)
    index = torch.arange(40)
    dense = DenseColumns(matrix[:, None], index, "rows")
    held = BlockJacobian((Block((dense,), 3, 1),), 40, F64, torch.device("cpu"))
    spanned = spanned_of(held)
    assert_close(spanned.jacobian.dense(), matrix, 0.0)
    assert torch.equal(basis(spanned), torch.eye(40, dtype=F64))
    functions = gd.MatrixJacobian((lambda v: matrix @ v, lambda u: matrix.T @ u), shape=(3, 40))
    if any(isinstance(piece, ProductColumns) for piece in functions.columns):
        assert Spanned.of(functions) is None


def test_there_is_none_for_a_call_that_is_recorded_and_its_columns_are_not_made_for_it() -> None:
    jacobian = gd.SampleMap(conv().double(), torch.randn(5, 3, 5, 5, dtype=F64)).linearise()[1]
    (block,) = jacobian.blocks
    assert not block.is_made
    assert Spanned.of(jacobian) is None and not block.is_made
    assert Spanned.of(jacobian.made()) is not None
