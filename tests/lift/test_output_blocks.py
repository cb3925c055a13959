"""The preconditioner of rows: blocks of the Gram matrix, over outputs made independent."""

import math

import pytest
import torch
from support.laws import assert_close
from support.lifts import Case, Mixed, made
from support.matrices import F64, vector
from torch import Tensor, nn

import geodescent as gd
from geodescent._budget import FRACTION, Budget, spending
from geodescent.jacobian import BlockJacobian, MatrixJacobian, stacked
from geodescent.lift import OutputBlocks, RowBlocks
from geodescent.linalg import conjugate_gradients, residual_test

SINGLE = 1e-4  # factors are applied in float32


def mixed_linear(n: int, n_outputs: int, seed: int) -> BlockJacobian:
    """A linear model behind a fixed matrix M: `G = K ⊗ (M Mᵀ)`."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 4), Mixed(torch.randn(n_outputs, 4, dtype=F64))).double()
    return gd.SampleMap(model, torch.randn(n, 5, dtype=F64)).linearise()[1]


def test_output_blocks_are_exact_where_outputs_do_not_couple() -> None:
    """`G = K ⊗ (M Mᵀ)`: rotated by M's singular vectors G is its blocks."""
    jacobian = mixed_linear(9, 3, 0)
    damped = jacobian.gram() + 0.1 * torch.eye(27, dtype=F64)
    z = torch.randn(27, dtype=F64)
    blocks, averaged = OutputBlocks.rotated(jacobian), OutputBlocks.averaged(jacobian)
    assert len(blocks.blocks) == 3 and len(averaged.blocks) == 1
    assert_close(blocks.damped(0.1)(damped @ z), z, SINGLE)
    kronecker = torch.kron(jacobian.mean_gram().contiguous(), torch.eye(3, dtype=F64))
    assert_close(averaged.damped(0.1)(kronecker @ z + 0.1 * z), z, SINGLE)
    assert float((averaged.damped(0.1)(damped @ z) - z).norm()) > 0.1 * float(z.norm())


def test_blocks_of_rows_with_one_number_of_outputs_share_their_blocks() -> None:
    """The same of two blocks of one map, one of them weighted, with what couples them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), Mixed(torch.randn(3, 4, dtype=F64))).double()
    outputs = gd.SampleMap(model, torch.randn(4, 5, dtype=F64))
    parts = [outputs.linearise()[1], outputs.on(torch.randn(5, 5, dtype=F64)).linearise()[1]]
    jacobian = stacked([parts[0].scaled(rows=torch.full((12,), 2.0, dtype=F64)), parts[1]])
    blocks, z = RowBlocks.of(jacobian), torch.randn(27, dtype=F64)
    assert blocks is not None and len(blocks.parts) == 1
    assert_close(blocks.damped(0.1)(jacobian.gram() @ z + 0.1 * z), z, SINGLE)


def test_blocks_of_rows_with_other_numbers_of_outputs_are_solved_each_for_itself() -> None:
    """Rows of three outputs, of one, and of three again: exact but for what couples three with one."""
    parts = [mixed_linear(4, 3, 0), mixed_linear(5, 1, 1), mixed_linear(3, 3, 0)]
    jacobian = stacked(parts)
    three = torch.cat([torch.ones(12), torch.zeros(5), torch.ones(9)]).bool()
    uncoupled = jacobian.gram() * (three[:, None] == three)
    blocks, z = RowBlocks.of(jacobian), torch.randn(26, dtype=F64)
    assert blocks is not None and [part.n_outputs for part in blocks.parts] == [3, 1]
    assert_close(blocks.damped(0.1)(uncoupled @ z + 0.1 * z), z, SINGLE)


def test_without_damping_there_are_blocks_where_none_is_singular() -> None:
    twice = vector(30).view(3, 10).repeat(2, 1)
    assert RowBlocks.of(MatrixJacobian(vector(60).view(6, 10))).damped(0.0) is not None
    assert RowBlocks.of(MatrixJacobian(twice)).damped(0.0) is None
    assert RowBlocks.of(MatrixJacobian(twice)).damped(1e-3) is not None
    sound, singular = mixed_linear(4, 3, 0), MatrixJacobian(torch.ones(2, 24, dtype=F64))
    assert RowBlocks.of(stacked([sound, singular])).damped(0.0) is None


@pytest.mark.parametrize(("room", "count"), [(1e9, 4), (2.5, 2), (1.2, 1), (0.9, 0)])
def test_output_blocks_are_shared_where_memory_is_short(room: float, count: int) -> None:
    """As many as fit of one and a half matrices of 60 × 60 each; without room for one there are none."""
    problem, dense = made(Case("four outputs", 60, (3, 4, 4), rank=36))
    jacobian = problem.linearise(problem.theta)[1]
    with spending(Budget(free_bytes=int(room * 1.5 * 8 * 60**2 / FRACTION))):
        blocks = RowBlocks.of(jacobian)
        price = RowBlocks.flops(jacobian)
    if count == 0:
        assert blocks is None and price == 0.0
        return
    outputs = 4 / count  # of each block, whose cotangents stand side by side
    width = (4 + outputs * 4 + 1) + (5 + outputs * 4 + 1)  # of both layers' inputs, cotangents, and their product
    assert price == pytest.approx(count * 60**2 * (60 / 3 + width))
    (part,) = blocks.parts
    assert len(part.blocks) == count
    damped = dense @ dense.T + 0.1 * torch.eye(240, dtype=F64)
    values = torch.linalg.eigvals(torch.stack([part.damped(0.1)(row) for row in damped]))
    assert values.imag.abs().max() < 1e-3 and values.real.min() > 0.0  # the inverse of a definite matrix


def test_the_price_of_blocks_counts_every_position_of_a_layer() -> None:
    """Of one output the only block is the Gram matrix itself, and so is its price, made or not."""
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 18, 1)).double()
    jacobian = gd.SampleMap(net, torch.randn(30, 2, 20, dtype=F64)).linearise()[1]
    assert RowBlocks.flops(jacobian) == pytest.approx(jacobian.gram_flops() + 30**3 / 3)
    half = jacobian.to(torch.float32)
    assert RowBlocks.flops(half) == RowBlocks.flops(jacobian) > 2 * 30**2 * (7 + 3)  # as if each had one position


def test_blocks_for_some_of_the_rows_alone_are_not_made() -> None:
    """Room for the 4 samples of three outputs, and none for the 30 of one output: then there are no blocks at all."""
    jacobian = stacked([mixed_linear(4, 3, 0), mixed_linear(30, 1, 1)])
    with spending(Budget(free_bytes=int(1.5 * 8 * 20**2 / FRACTION))):
        assert RowBlocks.of(jacobian) is None and RowBlocks.flops(jacobian) == 0.0
    assert RowBlocks.of(jacobian) is not None and RowBlocks.flops(jacobian) > 0.0


def test_rotated_blocks_save_iterations() -> None:
    """Where outputs couple and damping is weak, in the same solve to the same tolerance."""
    torch.manual_seed(0)
    mix = torch.randn(6, 6, dtype=F64) @ torch.logspace(0, -2, 6, dtype=F64).diag()
    net = [nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 6), Mixed(mix)]
    problem = gd.Problem.of(nn.Sequential(*net).double(), torch.randn(60, 8, dtype=F64), torch.randn(60, 6, dtype=F64))
    residual, jacobian = problem.linearise(problem.theta)
    damping = 1e-5 * float(jacobian.row_squares().mean())

    def operator(z: Tensor) -> Tensor:
        return jacobian.mv(jacobian.rmv(z)) + damping * z

    counts = list[int]()
    for blocks in (OutputBlocks.averaged(jacobian), OutputBlocks.rotated(jacobian)):
        solved = conjugate_gradients(
            operator,
            residual,
            preconditioner=blocks.damped(damping),
            enough=residual_test(residual, tol=1e-6),
            max_iterations=2000,
        )
        assert solved.converged
        counts.append(solved.count)
    assert counts[1] < 0.5 * counts[0], counts


def test_rows_that_cannot_be_formed_have_no_blocks() -> None:
    """Then the Krylov lift is preconditioned by the diagonal, and answers all the same."""
    dense = vector(12 * 20).view(12, 20)
    jacobian = MatrixJacobian((lambda v: dense @ v, lambda u: dense.T @ u), shape=(12, 20))
    with spending(Budget(rows_numbers=100)):
        assert RowBlocks.of(jacobian) is None and RowBlocks.flops(jacobian) == 0.0
        lifted = gd.KrylovLift().prepare(jacobian).lift(vector(12), damping=0.1)
    expected = dense.T @ torch.linalg.solve(dense @ dense.T + 0.1 * torch.eye(12, dtype=F64), vector(12))
    assert lifted.converged and math.isfinite(float(lifted.misfit.norm()))
    assert_close(lifted.velocity, expected, 1e-9)
