"""Laws of every kind of Jacobian: blocks of maps, matrices, pairs of functions, weighted problems, streams of batches.

All are over the parameters of one network, so that each meets each in a Gram matrix; each stands beside its own D, one
`autograd.grad` a row or the matrix that it was made of.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from support.laws import (
    assert_adjoint,
    assert_close,
    assert_cross_blocks,
    assert_mean_gram,
    assert_mixed,
    assert_precision,
    assert_same_jacobian,
    assert_same_products,
    assert_scaled,
    assert_scaled_rows,
    assert_symmetric_positive,
    naive_jacobian,
)
from support.matrices import F64, vector
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent._errors import JacobianError, MemoryPlanError
from geodescent.jacobian import Jacobian, MatrixJacobian, stacked
from geodescent.problem import StreamedMap

EXACT, SINGLE = 1e-12, 1e-4
K = 26
Pair = tuple[Jacobian, Tensor]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def data(n: int, seed: int = 1) -> Tensor:
    return vector(3 * n, seed).view(n, 3)


def head(n_outputs: int, seed: int) -> nn.Module:
    """The network's outputs seen through a fixed matrix."""
    fixed = nn.Linear(2, n_outputs, bias=False).double().requires_grad_(False)
    fixed.weight.copy_(vector(2 * n_outputs, seed).view(n_outputs, 2))
    return nn.Sequential(network(), fixed)


def of_maps(*pairs: tuple[nn.Module, Tensor]) -> Pair:
    jacobians = [gd.SampleMap(model, x).linearise()[1] for model, x in pairs]
    return stacked(jacobians), torch.cat([naive_jacobian(model, x) for model, x in pairs])


def of_matrix(m: int) -> Pair:
    matrix = vector(m * K, m).view(m, K)
    return MatrixJacobian(matrix), matrix


def of_functions(m: int) -> Pair:
    matrix = vector(m * K, m + 1).view(m, K)
    return MatrixJacobian((lambda v: matrix @ v, lambda u: matrix.T @ u), shape=(m, K)), matrix


def beside_a_matrix() -> Pair:
    """One under the other: rows of a map of two outputs, of a matrix and of two functions."""
    parts = [of_maps((network(), data(4))), of_matrix(3), of_functions(30)]
    return stacked([jacobian for jacobian, _ in parts]), torch.cat([dense for _, dense in parts])


def weighted_problem() -> Pair:
    """Two blocks, of weighted samples and of a weighted penalty: `s = √(λ w N/N_k)`, N = Σw + m'."""
    model, x, w = network(), data(4), torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=F64)
    outputs = gd.SampleMap(model, x)
    samples = gd.RowBlock("samples", outputs, torch.zeros(4, 2, dtype=F64), weights=w)
    size = gd.FunctionMap(torch.sin, outputs.theta)
    penalty = gd.RowBlock("size", size, torch.zeros(K, dtype=F64), weight=0.3)
    jacobian = gd.Problem((samples, penalty)).linearise(outputs.theta)[1]
    n = 3.6 + K
    scale = torch.cat([(w * n / 3.6).sqrt().repeat_interleave(2), torch.full((K,), (0.3 * n / K) ** 0.5, dtype=F64)])
    return jacobian, scale[:, None] * torch.cat([naive_jacobian(model, x), outputs.theta.cos().diag()])


def weighted_samples() -> Pair:
    """Two blocks of one network, one of them weighted."""
    model, left, right = network(), data(3), data(4, 2)
    w = torch.tensor([0.5, 2.0, 1.0], dtype=F64)
    first = gd.RowBlock("left", gd.SampleMap(model, left), torch.zeros(3, 2, dtype=F64), weights=w)
    second = gd.RowBlock("right", gd.SampleMap(model, right), torch.zeros(4, 2, dtype=F64))
    problem = gd.Problem((first, second))
    scale = torch.cat([(w * 7.5 / 3.5).sqrt(), torch.full((4,), (7.5 / 4.0) ** 0.5, dtype=F64)]).repeat_interleave(2)
    dense = torch.cat([naive_jacobian(model, left), naive_jacobian(model, right)])
    return problem.linearise(problem.theta)[1], scale[:, None] * dense


def stream() -> Pair:
    model, x = network(), data(7)
    loader = DataLoader(TensorDataset(x, torch.zeros(7, 2, dtype=F64)), batch_size=3)
    streamed = StreamedMap(gd.SampleMap(model, x[:3]), loader, (7, 2))
    return streamed.linearise(streamed.theta)[1], naive_jacobian(model, x)


@dataclass(frozen=True)
class Kind:
    """A kind of Jacobian: how it is made, with its D."""

    name: str
    make: Callable[[], Pair]


HELD = [
    Kind("one block", lambda: of_maps((network(), data(5)))),
    Kind("two blocks", lambda: of_maps((network(), data(3)), (network(), data(4, 2)))),
    Kind("two maps", lambda: of_maps((head(2, 5), data(3)), (head(2, 6), data(4, 2)))),
    Kind("two numbers of outputs", lambda: of_maps((network(), data(3)), (head(1, 5), data(4)), (head(2, 6), data(2)))),
    Kind("one output", lambda: of_maps((head(1, 5), data(3)), (head(1, 6), data(4)))),
    Kind("wide matrix", lambda: of_matrix(7)),
    Kind("tall matrix", lambda: of_matrix(40)),
    Kind("wide functions", lambda: of_functions(7)),
    Kind("tall functions", lambda: of_functions(40)),
    Kind("beside a matrix", beside_a_matrix),
    Kind("weighted problem", weighted_problem),
    Kind("weighted samples", weighted_samples),
]
STREAM = Kind("stream", stream)
each_held = pytest.mark.parametrize("kind", HELD, ids=lambda kind: kind.name)
every = pytest.mark.parametrize("kind", [*HELD, STREAM], ids=lambda kind: kind.name)


@every
def test_its_products_are_those_of_the_matrix(kind: Kind) -> None:
    jacobian, dense = kind.make()
    assert jacobian.dtype == F64 and jacobian.device == dense.device
    assert_same_products(jacobian, dense, EXACT)
    assert_adjoint(jacobian, EXACT)


@every
def test_its_rows_are_scaled(kind: Kind) -> None:
    assert_scaled_rows(kind.make()[0], EXACT)


@every
def test_it_can_be_had_in_another_precision(kind: Kind) -> None:
    assert_precision(kind.make()[0], SINGLE)


@every
def test_what_it_costs_is_counted(kind: Kind) -> None:
    """One route for every piece of the columns, and in each block over all of θ."""
    jacobian = kind.make()[0]
    assert jacobian.product_flops() > 0.0 and jacobian.gram_flops() > 0.0
    routes = jacobian.routes()
    assert all(set(route) == {"module", "route", "params", "flops"} for route in routes)
    assert sum(int(route["params"]) for route in routes) == K * max(1, len(jacobian.blocks))


@each_held
def test_its_matrices_are_those_of_the_matrix(kind: Kind) -> None:
    jacobian, dense = kind.make()
    assert jacobian.holds_rows
    assert_same_jacobian(jacobian, dense, EXACT)
    assert_mean_gram(jacobian, dense, EXACT)
    assert_symmetric_positive(jacobian.gram(), EXACT)
    assert_symmetric_positive(jacobian.mean_gram(), EXACT)
    assert_scaled(jacobian, EXACT)


@each_held
def test_its_outputs_are_mixed_where_all_samples_have_as_many(kind: Kind) -> None:
    jacobian, dense = kind.make()
    numbers = {block.n_outputs for block in jacobian.blocks}
    if len(numbers) == 1:
        assert_mixed(jacobian, dense, EXACT)
        return
    with pytest.raises(JacobianError, match=r"the blocks of rows have \[1, 2\] outputs a sample"):
        jacobian.mixed(torch.ones(2, 1, dtype=F64))
    with pytest.raises(JacobianError, match="one number for all"):
        jacobian.coupling()


@each_held
@pytest.mark.parametrize("tile", [3, 7])
def test_its_matrices_do_not_depend_on_tiles_and_chunks(kind: Kind, tile: int) -> None:
    jacobian, dense = kind.make()
    with spending(Budget(tile_rows=tile, rows_numbers=tile * tile)):
        assert_close(jacobian.gram(), dense @ dense.T, EXACT)
        assert_close(jacobian.normal(), dense.T @ dense, EXACT)
        assert_close(jacobian.dense(), dense, EXACT)
        assert_mean_gram(jacobian, dense, EXACT)


@pytest.mark.slow
@each_held
def test_any_two_have_a_gram_matrix(kind: Kind) -> None:
    jacobian, dense = kind.make()
    scaled = jacobian.scaled(columns=vector(K, 8))
    for other, other_dense in (partner.make() for partner in HELD):
        assert_close(jacobian.gram(other), dense @ other_dense.T, EXACT)
        assert_cross_blocks(scaled, other, EXACT)


@pytest.mark.slow
@each_held
def test_any_two_stand_one_under_the_other(kind: Kind) -> None:
    jacobian, dense = kind.make()
    for other, other_dense in (partner.make() for partner in HELD[HELD.index(kind) :]):
        both, rows = stacked([jacobian, other]), torch.cat([dense, other_dense])
        assert_same_jacobian(both, rows, EXACT)
        assert_mean_gram(both, rows, EXACT)


# --- what a stream cannot do ----------------------------------------------------------------------------------------


def test_a_stream_holds_no_rows_and_says_so() -> None:
    jacobian, held = stream()[0], of_matrix(4)[0]
    assert not jacobian.holds_rows and jacobian.blocks == ()
    assert jacobian.compact() is jacobian
    for refused in (jacobian.gram, lambda: jacobian.gram(held), jacobian.mean_gram, lambda: jacobian.mixed(vector(2))):
        with pytest.raises(MemoryPlanError, match=r"of 14 × 14 rows is not formed over a DataLoader"):
            refused()
    with pytest.raises(JacobianError, match="hold their rows"):
        held.gram(jacobian)
    with pytest.raises(JacobianError, match="cannot stand beside other blocks of rows"):
        stacked([held, jacobian])


def test_a_stream_passes_over_its_batches_at_every_product() -> None:
    """Nothing is kept from one product to the next."""
    passes = list[int]()

    class Counted(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            passes.append(index)
            return super().__getitem__(index)

    loader = DataLoader(Counted(data(7), torch.zeros(7, 2, dtype=F64)), batch_size=3)
    streamed = StreamedMap(gd.SampleMap(network(), data(3)), loader, (7, 2))
    jacobian = streamed.linearise(streamed.theta)[1]
    assert passes == list(range(7))  # the outputs, DᵀD and Dᵀ(x − y) in one
    passes.clear()
    jacobian.normal(), jacobian.rmv(streamed(streamed.theta).reshape(-1))  # y = 0: one for the outputs alone
    assert passes == list(range(7))
    passes.clear()
    for product in (lambda: jacobian.mv(vector(K)), lambda: jacobian.rmv(vector(14))):
        product()
        assert passes == list(range(7))
        passes.clear()
    with spending(Budget(free_bytes=1000)), pytest.raises(MemoryPlanError, match="D of 14 × 26"):
        jacobian.dense()
    assert not passes
