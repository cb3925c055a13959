"""The preconditioner made of two small matrices a layer."""

import math
from collections.abc import Callable

import pytest
import torch
from support.laws import assert_close
from support.lifts import energy_of
from support.matrices import F64, vector
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.jacobian import (
    BlockJacobian,
    DenseColumns,
    DenseInputs,
    MatrixJacobian,
    OuterColumns,
    stacked,
)
from geodescent.lift import LayerFactor, LayerFactors
from geodescent.linalg import conjugate_gradients
from geodescent.problem import StreamedMap


class Scaled(nn.Module):
    """A parameter of its own, beside the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(3, dtype=F64) + 0.5)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.last(torch.tanh(self.first(x)))


class Words(nn.Module):
    """An embedding of three words and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(7, 4), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table(x).flatten(1))


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(15, 2))


def jacobian_of(model: nn.Module, x: Tensor) -> BlockJacobian:
    return gd.SampleMap(model.double(), x).linearise()[1]


def axes_of(part: LayerFactor) -> Tensor:
    """`V ⊗ U`."""
    o, d = part.index.shape
    left = torch.eye(o, dtype=F64) if part.left is None else part.left
    right = torch.eye(d, dtype=F64) if part.right is None else part.right
    return torch.kron(left.contiguous(), right.contiguous())


def dense_block(part: LayerFactor) -> Tensor:
    """`(V ⊗ U) diag(λ) (V ⊗ U)ᵀ`."""
    return axes_of(part) @ part.diagonal.reshape(-1).diag() @ axes_of(part).T


MODELS = pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Scaled, lambda n: torch.randn(n, 4, dtype=F64)),
        (conv, lambda n: torch.randn(n, 1, 5, dtype=F64)),
        (Words, lambda n: torch.randint(0, 7, (n, 3))),
    ],
    ids=["own parameter", "conv", "words"],
)


# --- one block of rows ----------------------------------------------------------------------------------------------


@MODELS
def test_the_diagonal_in_the_axes_is_that_of_the_normal_matrix(
    model: Callable[[], nn.Module], inputs: Callable[[int], Tensor]
) -> None:
    """λ = diag((V ⊗ U)ᵀ BᵀB (V ⊗ U)) for every piece but repeated words, whose cross terms are left out."""
    jacobian = jacobian_of(model(), inputs(9))
    for piece in jacobian.columns:
        part = LayerFactor.of([piece])
        if isinstance(piece, OuterColumns) and not isinstance(piece.inputs, DenseInputs):
            assert float(part.diagonal.sum()) > 0.0
        else:
            assert_diagonal(part, jacobian)


def assert_diagonal(part: LayerFactor, jacobian: BlockJacobian) -> None:
    where = part.index.reshape(-1)
    block = jacobian.normal()[where[:, None], where]
    exact = (axes_of(part).T @ block @ axes_of(part)).diagonal().view(part.index.shape)
    torch.testing.assert_close(part.diagonal, exact, rtol=1e-9, atol=1e-9 * float(exact.max()))


def test_rows_are_taken_exactly() -> None:
    values = torch.randn(5, 2, 4, dtype=F64)
    part = LayerFactor.of([DenseColumns(values, torch.tensor([3, 0, 2, 1]), "rows")])
    flat = values.flatten(0, 1)
    torch.testing.assert_close(dense_block(part), flat.T @ flat, rtol=1e-10, atol=1e-10)


def test_the_inverse_is_that_of_the_blocks_and_of_the_damping_elsewhere() -> None:
    model = Scaled()
    model.spare = nn.Parameter(torch.ones(2, dtype=F64))  # used by nobody
    jacobian = jacobian_of(model, torch.randn(9, 4, dtype=F64))
    assert_inverts(LayerFactors.of(jacobian), 0.3 * torch.eye(jacobian.n_params, dtype=F64))


def assert_inverts(factors: LayerFactors, matrix: Tensor) -> None:
    """`damped(0.3)` is the inverse of this matrix with the blocks of all parts added."""
    for part in factors.parts:
        index = part.index.reshape(-1)
        matrix[index[:, None], index[None]] += dense_block(part)
    v = vector(len(matrix))
    torch.testing.assert_close(factors.damped(0.3)(matrix @ v), v, rtol=1e-9, atol=1e-9)


def test_columns_in_other_units_keep_their_diagonal_and_no_axes() -> None:
    """A metric over θ scales the columns of a layer one by one: then λ is the diagonal of BᵀB itself."""
    jacobian = jacobian_of(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), vector(36).view(9, 4))
    scaled = jacobian.scaled(columns=vector(jacobian.n_params, 1).square() + 0.1)
    diagonal = scaled.normal().diagonal()
    for part in LayerFactors.of(scaled).parts:
        assert part.left is None and part.right is None
        assert_close(part.diagonal, diagonal[part.index], 1e-12)


def test_factors_of_the_layers_save_iterations() -> None:
    """To the same energy, on a residual that a network has."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    x = torch.randn(1000, 8, dtype=F64) * torch.logspace(0, -1, 8, dtype=F64)
    problem = gd.Problem.of(net, x, torch.stack([x[:, 0].sin(), x[:, 1] * x[:, 2]], 1))
    residual, jacobian = problem.linearise(problem.theta)
    assert_saves_iterations(jacobian, -residual, share=0.5)


def assert_saves_iterations(jacobian: BlockJacobian, v: Tensor, *, share: float) -> None:
    """Preconditioned, conjugate gradients in θ need at most this share of the iterations to 1.1 of the least φ."""
    b, damping = jacobian.rmv(v), 1e-3 * float(jacobian.row_squares().mean())
    target = 1.1 * energy_of(gd.NormalLift().prepare(jacobian).damped(damping).lift(v), damping)
    counts = [
        conjugate_gradients(
            lambda x: jacobian.rmv(jacobian.mv(x)) + damping * x,
            b,
            preconditioner=preconditioner,
            max_iterations=2000,
            enough=lambda x, residual, _: float(v @ v - x @ b - x @ residual) <= target,
        ).count
        for preconditioner in (lambda x: x, LayerFactors.of(jacobian).damped(damping))
    ]
    assert counts[1] < share * counts[0], counts


# --- several blocks of rows -----------------------------------------------------------------------------------------


@MODELS
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_pieces_of_several_blocks_for_the_same_parameters_are_one_part(
    model: Callable[[], nn.Module], inputs: Callable[[int], Tensor], weight: float
) -> None:
    """The axes are those of the sums of both blocks' moments, and λ the diagonal of all of BᵀB in them."""
    outputs = gd.SampleMap(model().double(), inputs(5))
    first, second = outputs.linearise()[1], outputs.on(inputs(4)).linearise()[1]
    both = stacked([first.scaled(rows=torch.full((len(first.row_squares()),), weight, dtype=F64)), second])
    factors = LayerFactors.of(both)
    assert factors.rest is None and len(factors.parts) == len(first.columns)
    for part in factors.parts:
        piece = next(c for c in both.columns if torch.equal(c.index.reshape(-1), part.index.reshape(-1)))
        if not isinstance(piece, OuterColumns) or isinstance(piece.inputs, DenseInputs):
            assert_diagonal(part, both)


def repeated(outputs: gd.SampleMap, n: int, *shape: int, seed: int) -> BlockJacobian:
    """Rows of one sample, many times: whichever of them are looked at, they are as many as they are."""
    return outputs.on(vector(math.prod(shape), seed).view(1, *shape).expand(n, *shape).clone()).linearise()[1]


@pytest.mark.parametrize("sizes", [(100, 700), (700, 100)])
def test_blocks_are_looked_at_by_as_many_samples_as_each_needs_and_weigh_what_they_have(sizes: tuple[int, int]) -> None:
    """Axes and λ are those of all samples, though of 100 and of 700 of them another share is taken."""
    outputs = gd.SampleMap(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double(), vector(4).view(1, 4))
    jacobian = stacked([repeated(outputs, n, 4, seed=k) for k, n in enumerate(sizes)])
    for part in LayerFactors.of(jacobian).parts:
        assert_diagonal(part, jacobian)
        pieces = [c for c in jacobian.columns if torch.equal(c.index, part.index)]
        for axes, moments in (
            (part.left, [piece.cotangents.moment() for piece in pieces]),
            (part.right, [piece.inputs.moment() for piece in pieces]),
        ):
            turned = axes.T @ (moments[0] + moments[1]) @ axes
            assert_close(turned, turned.diagonal().diag(), 1e-9)


def test_of_many_positions_as_many_samples_are_formed_as_there_is_room_for() -> None:
    outputs = gd.SampleMap(conv().double(), vector(5).view(1, 1, 5))
    alike, mixed = repeated(outputs, 12, 1, 5, seed=1), outputs.on(vector(60).view(12, 1, 5)).linearise()[1]
    with spending(Budget(rows_numbers=50)):
        first, sampled = (LayerFactors.of(jacobian).parts[0] for jacobian in (alike, mixed))
    assert alike.columns[0].width * 2 == 24
    assert_diagonal(first, alike)
    exact = LayerFactors.of(mixed).parts[0].diagonal
    assert 0.01 < float((sampled.diagonal - exact).norm() / exact.norm()) < 1.0


def test_a_side_of_a_layer_that_is_too_wide_keeps_its_own_axes() -> None:
    jacobian = jacobian_of(nn.Linear(1030, 2), vector(6 * 1030).view(6, 1030))
    (part,) = LayerFactors.of(jacobian).parts
    assert part.right is None and part.left is not None
    assert_close(part.diagonal.sum(0), jacobian.normal().diagonal()[part.index].sum(0), 1e-9)


def test_a_penalty_on_parameters_that_layers_have_adds_to_their_diagonal() -> None:
    """`θ ↦ c·θ` beside a network: the layers keep their axes, and c² is added to λ, and elsewhere to μ."""
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    jacobian = jacobian_of(net, torch.randn(9, 4, dtype=F64))
    k = jacobian.n_params
    factors = LayerFactors.of(stacked([jacobian, MatrixJacobian(2.0 * torch.eye(k, dtype=F64))]))
    alone = LayerFactors.of(jacobian)
    assert_close(factors.rest, torch.full((k,), 4.0, dtype=F64), 1e-12)
    for part, own in zip(factors.parts, alone.parts, strict=True):
        assert torch.equal(part.index, own.index)
        assert_close(part.diagonal, own.diagonal + 4.0, 1e-12)
        assert_close(dense_block(part), dense_block(own) + 4.0 * torch.eye(part.index.numel(), dtype=F64), 1e-12)
    assert_inverts(factors, 0.3 * torch.eye(k, dtype=F64))


def test_a_penalty_on_other_parameters_is_a_part_of_its_own_or_the_rest() -> None:
    """Rows on all of θ overlap the layer; what no layer has keeps the damping and their diagonal."""
    model = Scaled()
    model.spare = nn.Parameter(torch.ones(2, dtype=F64))
    jacobian = jacobian_of(model, torch.randn(9, 4, dtype=F64))
    k = jacobian.n_params
    weights = vector(k).abs() + 0.1
    factors = LayerFactors.of(stacked([jacobian, MatrixJacobian(weights.diag())]))
    assert_close(factors.rest, weights.square(), 1e-12)
    matrix = 0.3 * torch.eye(k, dtype=F64)
    taken = torch.cat([part.index.reshape(-1) for part in factors.parts])
    spare = torch.ones(k, dtype=torch.bool)
    spare[taken] = False
    assert int(spare.sum()) == 2
    matrix[spare, spare] += weights.square()[spare]
    assert_inverts(factors, matrix)


def test_the_trace_counts_every_row_once_whatever_overlaps() -> None:
    model = Scaled()
    model.spare = nn.Parameter(torch.ones(2, dtype=F64))
    jacobian = jacobian_of(model, torch.randn(9, 4, dtype=F64))
    for whole in (jacobian, stacked([jacobian, MatrixJacobian(vector(jacobian.n_params).diag())])):
        assert LayerFactors.of(whole).trace == pytest.approx(float(whole.row_squares().sum()), rel=1e-12)


def test_layers_keep_their_axes_where_rows_come_first() -> None:
    """The order of the blocks does not matter: a penalty that stands first does not take the layers' place."""
    jacobian = jacobian_of(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.randn(9, 4, dtype=F64))
    penalty = MatrixJacobian(torch.eye(jacobian.n_params, dtype=F64))
    first, last = (LayerFactors.of(stacked(parts)) for parts in ([penalty, jacobian], [jacobian, penalty]))
    v = vector(jacobian.n_params)
    assert len(first.parts) == len(last.parts) == 2
    assert_close(first.damped(0.1)(v), last.damped(0.1)(v), 1e-12)


def test_factors_save_iterations_on_two_blocks_and_a_penalty() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    x = torch.randn(600, 8, dtype=F64) * torch.logspace(0, -1, 8, dtype=F64)
    y = torch.stack([x[:, 0].sin(), x[:, 1] * x[:, 2]], 1)
    here, there = gd.SampleMap(net, x[:400]), gd.SampleMap(net, x[400:])
    size = gd.FunctionMap(lambda theta: theta, here.theta)
    blocks = (
        gd.RowBlock("here", here, y[:400]),
        gd.RowBlock("there", there, y[400:], weight=3.0),
        gd.RowBlock("size", size, torch.zeros(len(here.theta), dtype=F64), weight=1e-4),
    )
    problem = gd.Problem(blocks)
    residual, jacobian = problem.linearise(problem.theta)
    assert_saves_iterations(jacobian, -residual, share=0.6)


def test_where_rows_are_not_held_there_are_no_factors() -> None:
    model, x = nn.Linear(3, 1).double(), vector(12).view(4, 3)
    loader = DataLoader(TensorDataset(x, torch.zeros(4, 1, dtype=F64)), batch_size=2)
    streamed = StreamedMap(gd.SampleMap(model, x[:2]), loader, (4, 1))
    assert LayerFactors.of(streamed.linearise(streamed.theta)[1]) is None
    products = MatrixJacobian((lambda v: x @ v, lambda u: x.T @ u), shape=(4, 3))
    with spending(Budget(rows_numbers=10)):
        assert LayerFactors.of(products) is None
    assert LayerFactors.of(products) is not None
