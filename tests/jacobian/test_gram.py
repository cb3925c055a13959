"""Gram matrices do not depend on how they are made: by tiles, by contraction or by rows, in blocks."""

import pytest
import torch
from support.laws import (
    assert_close,
    assert_cross_blocks,
    assert_mean_gram,
    assert_same_jacobian,
    assert_scaled,
    assert_symmetric_positive,
    naive_jacobian,
)
from support.models import ZOO, Specimen, conv_groups, made, mlp, normal, sequence, wide
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from geodescent._budget import Budget, spending
from geodescent._errors import JacobianError, MemoryPlanError
from geodescent.jacobian import (
    Block,
    BlockJacobian,
    Columns,
    DenseCotangents,
    DenseInputs,
    IndexInputs,
    MatrixJacobian,
    OuterColumns,
    Workspace,
    stacked,
)
from geodescent.outputs import SampleMap

EXACT = 1e-12
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")


def linearised(model: nn.Module, inputs: object) -> BlockJacobian:
    return SampleMap(model, inputs).linearise()[1]


# --- tiles and routes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "tile"), [*((make, tile) for make in (mlp, sequence, conv_groups) for tile in (7, 64)), (wide, 16)]
)
def test_gram_does_not_depend_on_tiles(make, tile: int) -> None:
    model, x = make()
    outputs = SampleMap(model.double(), x[:9])
    jacobian, other = outputs.linearise()[1], outputs.on(x[:2]).linearise()[1]
    expected, dense = jacobian.gram(), jacobian.dense()
    with spending(Budget(tile_rows=tile, rows_numbers=50)):
        assert_close(expected, dense @ dense.T, EXACT)
        assert_same_jacobian(jacobian, dense, EXACT)
        assert_symmetric_positive(jacobian.gram(), EXACT)
        assert_cross_blocks(jacobian, other, EXACT)
        assert_scaled(jacobian, EXACT)


@pytest.mark.parametrize("route", ["rows", "contracted"])
@pytest.mark.parametrize("specimen", ZOO, ids=[s.name for s in ZOO])
def test_both_routes_give_the_same_gram(specimen: Specimen, route: str) -> None:
    """Contracting positions and forming rows are two ways to one matrix, for G and for K̄."""
    model, inputs = made(specimen, torch.float64)
    jacobian = linearised(model, inputs)
    dense, q = jacobian.dense(), jacobian.blocks[0].n_outputs
    by_output = dense.view(-1, q, dense.shape[1])
    assert_close(added(jacobian.columns, route), dense @ dense.T, EXACT)
    mean = torch.einsum("iqk,jqk->ij", by_output, by_output) / q
    assert_close(added([piece.averaged() for piece in jacobian.columns], route), mean, EXACT)


def added(pieces: list[Columns], route: str) -> Tensor:
    """Σ D_p D_pᵀ over the pieces of the columns, each by this route."""
    pieces = [piece.rows() if route == "rows" else piece for piece in pieces]
    n_rows = pieces[0].rows().values.flatten(0, 1).shape[0]
    out = torch.full((n_rows, n_rows), torch.nan, dtype=torch.float64)
    for i, piece in enumerate(pieces):
        piece.add_block(piece, out, Workspace(out.dtype, out.device), fresh=i == 0)
    return out


def test_the_cheaper_route_by_counted_flops_is_taken() -> None:
    """One position and many samples: contracted; many positions and few parameters: rows."""
    wide_model = nn.Sequential(nn.Linear(30, 60), nn.Tanh(), nn.Linear(60, 2)).double()
    contracted = linearised(wide_model, normal(20, 30)).routes()
    assert [r["route"] for r in contracted] == ["contracted", "contracted"]
    assert contracted[0] == {
        "module": "0",
        "route": "contracted",
        "params": 60 * 31,
        "flops": 2 * 20 * 20 * (31 + 4 * 61),
    }
    conv = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 98, 1)).double()
    rows = linearised(conv, normal(20, 1, 100)).routes()
    assert rows[0] == {"module": "0", "route": "rows", "params": 8, "flops": 2 * (2 * 20 * 98 + 20 * 20) * 8}


def test_the_flops_of_a_gram_matrix_are_half_of_those_of_the_cheaper_route() -> None:
    """G is symmetric; one piece cheaper contracted, and one cheaper by rows, in m = 40 rows."""
    jacobian = linearised(nn.Sequential(nn.Linear(30, 60), nn.Tanh(), nn.Linear(60, 2)).double(), normal(20, 30))
    contracted = [2 * 20 * 20 * (31 + 4 * 61), 2 * 20 * 20 * (61 + 4 * 3)]
    assert jacobian.gram_flops() == 0.5 * sum(contracted)
    rows = MatrixJacobian(normal(40, 7))
    assert rows.gram_flops() == 40 * 40 * 7
    assert stacked([rows, rows]).gram_flops() == 80 * 80 * 7


@pytest.mark.slow
@pytest.mark.parametrize("tile", [4, 16, 256])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_gram_of_many_tiles_with_weights_columns_and_blocks(n_outputs: int, tile: int) -> None:
    """Contracted layers, formed rows and scaled columns add up in the same tiles; no entry is left unwritten."""
    model = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, n_outputs)).double()
    x = normal(41, 3)
    outputs = SampleMap(model, x)
    jacobian, dense = outputs.linearise()[1], naive_jacobian(model, x)
    assert {r["route"] for r in jacobian.routes()} == ({"rows", "contracted"} if n_outputs == 1 else {"contracted"})
    with spending(Budget(tile_rows=tile)):
        assert_same_jacobian(jacobian, dense, EXACT)
        assert_mean_gram(jacobian, dense, EXACT)
        assert_scaled(jacobian, EXACT)
        assert_cross_blocks(jacobian, outputs.on(x[:23]).linearise()[1], EXACT)
        both = stacked([outputs.on(x[:17]).linearise()[1], outputs.on(x[17:]).linearise()[1]])
        assert_same_jacobian(both, dense, EXACT)
        assert_mean_gram(both, dense, EXACT)
        assert torch.equal(both.gram(), both.gram().T)
        assert torch.equal(jacobian.normal(), jacobian.normal().T)


def test_gram_of_a_map_without_columns_is_zero() -> None:
    empty = BlockJacobian((Block((), 2, 3),), 4, torch.float64, torch.device("cpu"))
    assert torch.equal(empty.gram(), torch.zeros(6, 6, dtype=torch.float64))


def test_indexed_inputs_meet_dense_ones() -> None:
    """One-hot inputs as indices and written out are the same layer."""
    index, g = torch.tensor([[0, 2], [1, 1], [2, 0]]), normal(3, 1, 2, 5)
    where = torch.arange(15).view(5, 3)
    indexed = OuterColumns(IndexInputs(index, 3, torch.float64), DenseCotangents(g), where, "")
    dense = OuterColumns(DenseInputs(indexed.inputs.dense()), DenseCotangents(g), where, "")
    rows = indexed.rows().values.flatten(0, 1)
    for left in (indexed, dense):
        for right in (indexed, dense):
            out = torch.full((3, 3), torch.nan, dtype=torch.float64)
            left.add_block(right, out, Workspace(out.dtype, out.device), fresh=True)
            assert_close(out, rows @ rows.T, EXACT)
            left.add_block(right, out, Workspace(out.dtype, out.device), fresh=False)
            assert_close(out, 2.0 * rows @ rows.T, EXACT)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_cross_block_of_two_thetas_is_refused() -> None:
    left = linearised(nn.Linear(3, 2).double(), normal(4, 3))
    right = linearised(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double(), normal(4, 3))
    with pytest.raises(JacobianError, match="over one θ: these have 8 and 14 parameters"):
        left.gram(right)


def test_what_does_not_fit_is_refused_before_it_is_allocated() -> None:
    jacobian = linearised(nn.Linear(3, 2).double(), normal(4, 3))
    with spending(Budget(free_bytes=100)):
        with pytest.raises(MemoryPlanError, match=r"Gram matrix of 8 × 8 rows needs .* GB.*Krylov"):
            jacobian.gram()
        with pytest.raises(MemoryPlanError, match="normal matrix of 8 × 8"):
            jacobian.normal()
        with pytest.raises(MemoryPlanError, match="D of 8 × 8"):
            jacobian.dense()
        with pytest.raises(MemoryPlanError, match="K̄ of 8 × 8"):
            stacked([jacobian, jacobian]).mean_gram()


def test_the_plan_of_a_gram_matrix_counts_what_it_makes_beside_it() -> None:
    """8 × 8 numbers of G and the 4·2·(50 + 2) of cotangents that are kept as chains."""
    jacobian = linearised(nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2)).double(), normal(4, 3))
    assert_needs(jacobian, 8 * 8 + 4 * 2 * 50, 8 * 8 + 4 * 2 * 52)


def test_the_plan_of_several_blocks_counts_rows_only_where_their_maps_differ() -> None:
    """Two blocks of one map need G and their chains, and a map beside a matrix the rows of both over θ as well."""
    outputs = SampleMap(nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2)).double(), normal(4, 3))
    left, right = outputs.linearise()[1], outputs.on(normal(6, 3)).linearise()[1]
    assert_needs(stacked([left, right]), 20 * 20 + 20 * 50, 20 * 20 + 20 * 52)
    apart = stacked([left, MatrixJacobian(normal(6, 302))])
    assert_needs(apart, 14 * 14 + 8 * 50 + 14 * 302, 14 * 14 + 8 * 52 + 14 * 302)


def assert_needs(jacobian: BlockJacobian, least: int, most: int) -> None:
    """G is refused where six tenths of the free memory are less than the least numbers, and not above the most."""
    m = jacobian.n_residuals
    with (
        spending(Budget(free_bytes=int(8 * least / 0.6) - 8)),
        pytest.raises(MemoryPlanError, match=f"Gram matrix of {m} × {m} rows"),
    ):
        jacobian.gram()
    with spending(Budget(free_bytes=int(8 * most / 0.6) + 8)):
        assert jacobian.gram().shape == (m, m)


@pytest.mark.slow
@pytest.mark.parametrize("n_outputs", [1, 5])
def test_flops_are_those_that_torch_counts(n_outputs: int) -> None:
    """Of matrix products, within a factor of two: the model leaves out what is done entry by entry."""
    model = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 50), nn.Tanh(), nn.Linear(50, n_outputs))
    jacobian = SampleMap(model.double(), normal(2000, 30)).linearise()[1]
    v, u = (torch.ones(size, dtype=torch.float64) for size in (jacobian.n_params, jacobian.n_residuals))
    with FlopCounterMode(display=False) as of_products:
        jacobian.mv(v), jacobian.rmv(u)
    with FlopCounterMode(display=False) as of_gram:
        jacobian.gram()
    assert 0.5 < jacobian.product_flops() / of_products.get_total_flops() < 2.0
    assert 0.5 < jacobian.gram_flops() / of_gram.get_total_flops() < 2.0
