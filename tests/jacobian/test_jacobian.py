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
from support.models import ZOO, Specimen, conv_groups, made, mlp, normal, taken
from torch import nn

from geodescent.jacobian import BlockJacobian, DenseColumns, OuterColumns
from geodescent.outputs import SampleMap

EXACT, SINGLE = 1e-12, 1e-4
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
each_specimen = pytest.mark.parametrize("specimen", ZOO, ids=[s.name for s in ZOO])


def linearised(model: nn.Module, inputs: object) -> BlockJacobian:
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


@pytest.mark.slow
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


def test_jacobian_on_each_device(device: torch.device) -> None:
    model, x = conv_groups()
    jacobian = linearised(model.double().to(device), x.to(device))
    assert jacobian.gram().device.type == device.type
    assert_same_jacobian(jacobian, naive_jacobian(model, x.to(device)), 1e-10)
    assert_scaled(jacobian, 1e-10)


def test_pieces_know_their_columns() -> None:
    """Every entry of θ that a piece stands for is its own, and together they are all."""
    model, x = conv_groups()
    jacobian = linearised(model.double(), x)
    columns = torch.cat([piece.index.reshape(-1) for piece in jacobian.columns])
    assert torch.equal(columns.sort().values, torch.arange(jacobian.n_params))
    assert {type(piece) for piece in jacobian.columns} == {OuterColumns, DenseColumns}
    assert sum(int(r["params"]) for r in jacobian.routes()) == jacobian.n_params


def _like(exact: object, single: object) -> object:
    """The numbers of `single` in the dtype of `exact`: the oracle sees the same rounded inputs."""
    if isinstance(exact, dict):
        return {key: _like(exact[key], single[key]) for key in exact}
    if isinstance(exact, tuple):
        return tuple(_like(a, b) for a, b in zip(exact, single, strict=True))
    return single.to(exact.dtype)
