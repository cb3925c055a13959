"""The preconditioner made of two small matrices a layer."""

import math

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent import linalg as iterations
from geodescent.jacobian import DenseColumns, Jacobian, OuterColumns
from geodescent.lift import INEXACT, Hints, Kronecker, KroneckerBlocks, Lifted

F64 = torch.float64


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


def jacobian_of(model: nn.Module, x: Tensor, n_outputs: int) -> Jacobian:
    problem = gd.Problem.of(model.double(), x, torch.randn(len(x), n_outputs, dtype=F64))
    return problem.linearise(problem.theta)[1]


def dense_block(part: Kronecker) -> Tensor:
    """`(V ⊗ U) diag(λ) (V ⊗ U)ᵀ`."""
    o, d = part.index.shape
    left = torch.eye(o, dtype=F64) if part.left is None else part.left
    right = torch.eye(d, dtype=F64) if part.right is None else part.right
    axes = torch.kron(left.contiguous(), right.contiguous())
    return axes @ part.diagonal.reshape(-1).diag() @ axes.T


def energy_of(lifted: Lifted, damping: float) -> float:
    """`‖Bθ̇ − v‖² + μ‖θ̇‖²`."""
    return float(lifted.misfit @ lifted.misfit + damping * lifted.velocity @ lifted.velocity)


@pytest.mark.parametrize(
    ("model", "inputs", "n_outputs"),
    [
        (Scaled, lambda: torch.randn(9, 4, dtype=F64), 3),
        (conv, lambda: torch.randn(8, 1, 5, dtype=F64), 2),
        (Words, lambda: torch.randint(0, 7, (9, 3)), 2),
    ],
)
def test_the_diagonal_in_the_axes_is_that_of_the_normal_matrix(model, inputs, n_outputs) -> None:
    """λ = diag((V ⊗ U)ᵀ BᵀB (V ⊗ U)) for every record but repeated words, whose cross terms are left out."""
    jacobian = jacobian_of(model(), inputs(), n_outputs)
    rows = jacobian.dense()
    for record in jacobian.records:
        part = Kronecker.of(record)
        columns = rows[:, part.index.reshape(-1)]
        block = columns.T @ columns
        o, d = part.index.shape
        left = torch.eye(o, dtype=F64) if part.left is None else part.left
        right = torch.eye(d, dtype=F64) if part.right is None else part.right
        axes = torch.kron(left.contiguous(), right.contiguous())
        exact = (axes.T @ block @ axes).diagonal().view(o, d)
        if isinstance(record, OuterColumns) and not hasattr(record.inputs, "values"):
            assert float(part.diagonal.sum()) > 0.0
        else:
            torch.testing.assert_close(part.diagonal, exact, rtol=1e-9, atol=1e-9 * float(exact.max()))


def test_rows_are_taken_exactly() -> None:
    values = torch.randn(5, 2, 4, dtype=F64)
    part = Kronecker.of(DenseColumns(values, torch.tensor([3, 0, 2, 1]), "rows"))
    flat = values.flatten(0, 1)
    torch.testing.assert_close(dense_block(part), flat.T @ flat, rtol=1e-10, atol=1e-10)


def test_the_inverse_is_that_of_the_blocks_and_of_the_damping_elsewhere() -> None:
    model = Scaled()
    model.spare = nn.Parameter(torch.ones(2, dtype=F64))  # used by nobody
    jacobian = jacobian_of(model, torch.randn(9, 4, dtype=F64), 3)
    blocks = KroneckerBlocks.of(jacobian)
    matrix = 0.3 * torch.eye(jacobian.n_params, dtype=F64)
    for part in blocks.parts:
        index = part.index.reshape(-1)
        matrix[index[:, None], index[None]] += dense_block(part)
    v = torch.randn(jacobian.n_params, dtype=F64)
    torch.testing.assert_close(blocks.damped(0.3)(matrix @ v), v, rtol=1e-9, atol=1e-9)


def test_factors_of_the_layers_save_iterations() -> None:
    """To the same energy, on a residual that a network has."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    x = torch.randn(1000, 8, dtype=F64) * torch.logspace(0, -1, 8, dtype=F64)
    problem = gd.Problem.of(net, x, torch.stack([x[:, 0].sin(), x[:, 1] * x[:, 2]], 1))
    outputs, jacobian = problem.linearise(problem.theta)
    v = -problem.residual(outputs)
    b, damping = jacobian.rmv(v), 1e-3 * float(jacobian.row_squares().mean())
    least = gd.NormalLift().prepare(jacobian).damped(damping).lift(v)
    target = 1.1 * energy_of(least, damping)
    counts = [
        iterations.conjugate_gradients(
            lambda x: jacobian.rmv(jacobian.mv(x)) + damping * x,
            b,
            preconditioner=preconditioner,
            max_iterations=2000,
            enough=lambda x, residual, _: float(v @ v - x @ b - x @ residual) <= target,
        ).count
        for preconditioner in (lambda x: x, KroneckerBlocks.of(jacobian).damped(damping))
    ]
    assert counts[1] < 0.5 * counts[0], counts


@pytest.mark.parametrize("relative", [1.0, 1e-2, 1e-4])
def test_an_inexact_lift_leaves_little_more_than_the_exact_one(relative: float) -> None:
    """φ at its end is within a factor of two of the least φ, and no block of G was made for it."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 3))
    jacobian = jacobian_of(net, torch.randn(120, 6, dtype=F64), 3)
    prepared = INEXACT.prepare(jacobian)
    vars(prepared)["patience"] = 300
    damping, v = relative * prepared.scale, torch.randn(360, dtype=F64)
    lifted = prepared.damped(damping).lift(v)
    exact = gd.NormalLift().prepare(jacobian).damped(damping).lift(v)
    assert lifted.converged and prepared.too_weak == 0.0 and "outputs" not in vars(prepared)
    least = energy_of(exact, damping)
    assert least * (1.0 - 1e-9) <= energy_of(lifted, damping) <= 2.0 * least


def test_a_solve_that_sees_nothing_goes_on_with_blocks_of_the_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(3, 60), nn.Tanh(), nn.Linear(60, 2))
    prepared = INEXACT.prepare(jacobian_of(net, torch.randn(40, 3, dtype=F64), 2))
    vars(prepared)["patience"] = 0
    damping = 1e-8 * prepared.scale
    lifted = prepared.damped(damping).lift(torch.randn(80, dtype=F64))
    assert lifted.converged and prepared.too_weak == damping and "outputs" in vars(prepared)


def test_that_nothing_can_be_gained_is_not_believed_of_an_estimate() -> None:
    """A velocity almost orthogonal to the columns of D: the answer is that of the blocks of G, with their bound."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    jacobian = jacobian_of(net, torch.randn(60, 3, dtype=F64), 1)
    axes = torch.linalg.qr(jacobian.dense()).Q
    v = torch.randn(60, dtype=F64)
    prepared = INEXACT.prepare(jacobian)
    prepared.damped(1e-3 * prepared.scale).lift(v - axes @ (axes.T @ v))
    assert prepared.too_weak > 0.0


def test_a_velocity_that_is_small_enough_already_costs_no_blocks() -> None:
    """What lies within the tolerance given is answered by zero, not checked at the price of the blocks of G."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2))
    prepared = INEXACT.prepare(jacobian_of(net, torch.randn(40, 3, dtype=F64), 2))
    vars(prepared)["patience"] = 300
    v = torch.randn(80, dtype=F64)
    lifted = prepared.damped(1e-2 * prepared.scale).lift(v, Hints(within=10.0 * float(v.norm())))
    assert lifted.converged and lifted.iterations == 0 and "outputs" not in vars(prepared)


def test_a_lift_stops_at_the_fall_that_is_enough() -> None:
    """Fewer iterations, at least two, and no less of a fall than was asked for."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 3))
    prepared = INEXACT.prepare(jacobian_of(net, torch.randn(120, 6, dtype=F64), 3))
    vars(prepared)["patience"] = 300
    damping, v = 1e-4 * prepared.scale, torch.randn(360, dtype=F64)
    damped = prepared.damped(damping)
    unlimited = damped.lift(v)
    whole = math.log(float(v @ v) / energy_of(unlimited, damping))
    for share in (1e-6, 0.5, 0.8):
        lifted = damped.lift(v, Hints(fall=share * whole))
        assert 2 <= lifted.iterations < unlimited.iterations
        assert math.log(float(v @ v) / energy_of(lifted, damping)) >= share * whole - 1e-6
