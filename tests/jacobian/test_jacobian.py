"""The Jacobian by layers is the Jacobian: every verb, over the zoo, against one `autograd.grad` a row."""

import pytest
import torch
from support.laws import (
    assert_adjoint,
    assert_close,
    assert_cross_blocks,
    assert_mean_gram,
    assert_mixed,
    assert_same_jacobian,
    assert_scaled,
    assert_symmetric_positive,
    called,
    naive_jacobian,
)
from support.models import ZOO, Specimen, conv_groups, made, mlp, normal, sequence, taken, wide
from torch import nn

from geodescent import _budget as memory
from geodescent._errors import JacobianError, MemoryPlanError
from geodescent.jacobian import (
    Block,
    DenseColumns,
    DenseCotangents,
    DenseInputs,
    IndexInputs,
    Jacobian,
    OuterColumns,
    Workspace,
    stacked,
)
from geodescent.jacobian import _gram as tiles_module
from geodescent.outputs import SampleMap

EXACT, SINGLE = 1e-12, 1e-4
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
each_specimen = pytest.mark.parametrize("specimen", ZOO, ids=[s.name for s in ZOO])


def linearised(model: nn.Module, inputs: object) -> Jacobian:
    return SampleMap(model, inputs).linearise()[1]


@each_specimen
def test_jacobian_is_that_of_autograd_in_float64(specimen: Specimen) -> None:
    model, inputs = made(specimen, torch.float64)
    outputs, jacobian = SampleMap(model, inputs).linearise()
    dense = naive_jacobian(model, inputs)
    assert_close(outputs.reshape(-1), called(model, inputs).detach().reshape(-1), EXACT)
    assert_same_jacobian(jacobian, dense, EXACT)
    assert_mean_gram(jacobian, dense, EXACT)
    assert_mixed(jacobian, dense, EXACT)
    assert_adjoint(jacobian, EXACT)
    assert_symmetric_positive(jacobian.gram(), EXACT)
    assert jacobian.dtype == torch.float64 and jacobian.gram().dtype == torch.float64


@each_specimen
def test_jacobian_is_that_of_autograd_in_float32(specimen: Specimen) -> None:
    model, inputs = made(specimen, torch.float32)
    jacobian = linearised(model, inputs)
    exact_model, exact_inputs = model.double(), made(specimen, torch.float64)[1]
    assert jacobian.gram().dtype == torch.float32
    exact_inputs = _like(exact_inputs, inputs)
    assert_same_jacobian(jacobian, naive_jacobian(exact_model, exact_inputs).float(), SINGLE)
    assert_symmetric_positive(jacobian.gram(), SINGLE)


@each_specimen
def test_scaling_rows_and_columns(specimen: Specimen) -> None:
    model, inputs = made(specimen, torch.float64)
    assert_scaled(linearised(model, inputs), EXACT)


@each_specimen
def test_cross_blocks_and_permuted_samples(specimen: Specimen) -> None:
    model, inputs = made(specimen, torch.float64)
    outputs = SampleMap(model, inputs)
    n, q = outputs.n_samples, outputs.n_outputs
    jacobian = outputs.linearise()[1]
    order = torch.randperm(n)
    permuted = outputs.on(taken(inputs, order)).linearise()[1]
    assert_close(permuted.dense(), jacobian.dense().view(n, q, -1)[order].flatten(0, 1), EXACT)
    few = outputs.on(taken(inputs, order[: n // 2 + 1])).linearise()[1]
    assert_cross_blocks(jacobian, few, EXACT)


def test_linearise_stands_at_the_theta_it_is_given() -> None:
    model, x = mlp()
    outputs = SampleMap(model.double(), x)
    theta = outputs.theta + 0.3 * normal(outputs.n_params)
    values, jacobian = outputs.linearise(theta)
    assert_close(outputs(theta), values, EXACT)
    before = outputs.theta
    outputs.write(theta)
    assert_close(jacobian.dense(), naive_jacobian(model, x), EXACT)
    assert_close(called(model, x).detach(), values, EXACT)
    assert not torch.equal(before, outputs.theta)


def test_jacobian_vector_product_is_the_derivative_along_a_line() -> None:
    """Central differences agree to second order: halving the step divides the error by four."""
    model, x = mlp()
    outputs = SampleMap(model.double(), x)
    theta, v = outputs.theta, normal(outputs.n_params)
    product = outputs.linearise()[1].mv(v)

    def deviation(h: float) -> float:
        difference = (outputs(theta + h * v) - outputs(theta - h * v)).reshape(-1) / (2 * h)
        return float(torch.linalg.vector_norm(difference - product))

    assert 3.8 < deviation(1e-2) / deviation(5e-3) < 4.2


# --- tiles, parts and chunks change nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [7, 64])
@pytest.mark.parametrize("make", [mlp, wide, sequence, conv_groups])
def test_gram_does_not_depend_on_tiles(monkeypatch: pytest.MonkeyPatch, make, tile: int) -> None:
    model, x = make()
    outputs = SampleMap(model.double(), x[:9])
    jacobian, other = outputs.linearise()[1], outputs.on(x[:2]).linearise()[1]
    expected, dense = jacobian.gram(), jacobian.dense()
    monkeypatch.setattr(tiles_module, "TILE", tile)
    monkeypatch.setattr(tiles_module, "ROWS_LIMIT", 50)
    assert_close(expected, dense @ dense.T, EXACT)
    assert_same_jacobian(jacobian, dense, EXACT)
    assert_symmetric_positive(jacobian.gram(), EXACT)
    assert_cross_blocks(jacobian, other, EXACT)
    assert_scaled(jacobian, EXACT)


@pytest.mark.parametrize("margin", [0.0, 1e9])
@each_specimen
def test_both_routes_give_the_same_gram(monkeypatch: pytest.MonkeyPatch, specimen: Specimen, margin: float) -> None:
    """Contracting positions and forming rows are two ways to one matrix."""
    model, inputs = made(specimen, torch.float64)
    monkeypatch.setattr(tiles_module, "ROWS_MARGIN", margin)
    jacobian = linearised(model, inputs)
    chosen = {
        str(r["route"])
        for r, record in zip(jacobian.routes(), jacobian.records, strict=True)
        if isinstance(record, OuterColumns)
    }
    assert chosen <= ({"rows"} if margin else {"contracted"})
    dense = jacobian.dense()
    assert_close(jacobian.gram(), dense @ dense.T, EXACT)
    assert_mean_gram(jacobian, dense, EXACT)


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


@pytest.mark.parametrize("tile", [4, 16, 256])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_gram_of_many_tiles_with_weights_columns_and_blocks(
    monkeypatch: pytest.MonkeyPatch, n_outputs: int, tile: int
) -> None:
    """Contracted layers, formed rows and scaled columns add up in the same tiles; no entry is left unwritten."""
    monkeypatch.setattr(tiles_module, "TILE", tile)
    model = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, n_outputs)).double()
    x = normal(41, 3)
    outputs = SampleMap(model, x)
    jacobian, dense = outputs.linearise()[1], naive_jacobian(model, x)
    assert {r["route"] for r in jacobian.routes()} == ({"rows", "contracted"} if n_outputs == 1 else {"contracted"})
    assert_same_jacobian(jacobian, dense, EXACT)
    assert_mean_gram(jacobian, dense, EXACT)
    assert_scaled(jacobian, EXACT)
    assert_cross_blocks(jacobian, outputs.on(x[:23]).linearise()[1], EXACT)
    both = stacked([outputs.on(x[:17]).linearise()[1], outputs.on(x[17:]).linearise()[1]])
    assert_same_jacobian(both, dense, EXACT)
    assert torch.equal(both.gram(), both.gram().T)
    assert torch.equal(jacobian.normal(), jacobian.normal().T)


def test_gram_of_a_map_without_records_is_zero() -> None:
    empty = Jacobian((Block((), 2, 3),), 4, torch.float64, torch.device("cpu"))
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


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [3, 1024])
def test_stacked_blocks_are_rows_one_under_the_other(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    monkeypatch.setattr(tiles_module, "TILE", tile)
    model, x = mlp()
    outputs = SampleMap(model.double(), x)
    parts = [outputs.on(x[:2]).linearise()[1], outputs.on(x[2:]).linearise()[1]]
    both, dense = stacked(parts), outputs.linearise()[1].dense()
    rows = torch.arange(1.0, len(dense) + 1, dtype=torch.float64)
    assert_same_jacobian(both, dense, EXACT)
    assert_close(both.scaled(rows=rows).dense(), rows[:, None] * dense, EXACT)
    assert_cross_blocks(both, parts[0], EXACT)
    assert_symmetric_positive(both.gram(), EXACT)


def test_to_another_precision() -> None:
    model, x = conv_groups()
    jacobian = linearised(model.double(), x)
    columns = torch.rand(jacobian.n_params, dtype=torch.float64) + 0.5
    single = jacobian.scaled(columns=columns).to(torch.float32)
    assert jacobian.to(torch.float64) is jacobian
    assert single.gram().dtype == single.dense().dtype == single.row_squares().dtype == torch.float32
    assert_same_jacobian(single, (jacobian.dense() * columns).float(), SINGLE)


def test_a_vector_of_another_length_is_refused() -> None:
    jacobian = linearised(nn.Linear(3, 2).double(), normal(4, 3))
    with pytest.raises(RuntimeError):
        jacobian.rmv(normal(9))
    with pytest.raises((RuntimeError, IndexError)):
        jacobian.mv(normal(7))


def test_cross_block_of_two_maps_is_refused() -> None:
    left = linearised(nn.Linear(3, 2).double(), normal(4, 3))
    right = linearised(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double(), normal(4, 3))
    with pytest.raises(JacobianError, match="two Jacobians of the same map"):
        left.gram(right)


def test_what_does_not_fit_is_refused_before_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    jacobian = linearised(nn.Linear(3, 2).double(), normal(4, 3))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 100)
    with pytest.raises(MemoryPlanError, match=r"Gram matrix of 8 × 8 rows needs .* GB.*Krylov"):
        jacobian.gram()
    with pytest.raises(MemoryPlanError, match="normal matrix of 8 × 8"):
        jacobian.normal()
    with pytest.raises(MemoryPlanError, match="D of 8 × 8"):
        jacobian.dense()


def test_the_plan_of_a_gram_matrix_counts_the_cotangents_that_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 bytes of G, and 4·2·50 numbers of a chain."""
    jacobian = linearised(nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2)).double(), normal(4, 3))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 3000)
    with pytest.raises(MemoryPlanError, match="Gram matrix of 8 × 8 rows"):
        jacobian.gram()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda device: 8000)
        assert jacobian.gram().shape == (8, 8)


def test_memory_is_what_the_machine_has() -> None:
    free = memory.available_bytes(torch.device("cpu"))
    assert 2**20 < free < 2**50
    assert memory.fits(0.5 * memory.FRACTION * free, torch.device("cpu"))
    assert not memory.fits(1e18, torch.device("cpu"))


def test_jacobian_on_each_device(device: torch.device) -> None:
    model, x = conv_groups()
    jacobian = linearised(model.double().to(device), x.to(device))
    assert jacobian.gram().device.type == device.type
    assert_same_jacobian(jacobian, naive_jacobian(model, x.to(device)), 1e-10)
    assert_scaled(jacobian, 1e-10)


def test_records_know_their_columns() -> None:
    """Every entry of θ that a record stands for is its own, and together they are all."""
    model, x = conv_groups()
    jacobian = linearised(model.double(), x)
    columns = torch.cat([record.index.reshape(-1) for record in jacobian.records])
    assert torch.equal(columns.sort().values, torch.arange(jacobian.n_params))
    assert {type(record) for record in jacobian.records} == {OuterColumns, DenseColumns}
    assert sum(int(r["params"]) for r in jacobian.routes()) == jacobian.n_params


def _like(exact: object, single: object) -> object:
    """The numbers of `single` in the dtype of `exact`: the oracle sees the same rounded inputs."""
    if isinstance(exact, dict):
        return {key: _like(exact[key], single[key]) for key in exact}
    if isinstance(exact, tuple):
        return tuple(_like(a, b) for a, b in zip(exact, single, strict=True))
    return single.to(exact.dtype)
