"""Every lift answers one question: against a dense Penrose inverse, over ranks, shapes, weights, blocks and metrics."""

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.lifts import CASES, Case, made, oracle
from support.matrices import F64, graded, vector
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent._errors import MemoryPlanError
from geodescent.jacobian import MatrixJacobian
from geodescent.lift import Lift, MetricJacobian, Prepared
from geodescent.problem import StreamedMap

LIFTS = [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()]
EVERY_LIFT = pytest.mark.parametrize("lift", LIFTS, ids=lambda lift: lift.name)
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def prepared(lift: Lift, problem: gd.Problem, metric: Tensor | None = None) -> Prepared:
    return lift.prepare(problem.linearise(problem.theta)[1], metric=metric)


def residual_of(problem: gd.Problem) -> Tensor:
    return problem.residual(problem.theta)


# --- one question, three routes -------------------------------------------------------------------------------------


@EVERY_CASE
@EVERY_LIFT
@pytest.mark.parametrize("relative", [0.0, 1e-6, 1e-2, 1e2])
def test_every_route_is_the_dense_lift(case: Case, lift: Lift, relative: float) -> None:
    problem, dense = made(case)
    ready, residual = prepared(lift, problem), residual_of(problem)
    damping = relative * ready.mean_square
    lifted = ready.lift(-residual, damping=damping)
    assert_close(lifted.velocity, oracle(dense, -residual, damping), 1e-6)
    assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-6 if lifted.misfit.norm() > 1e-6 else 1e6)


@EVERY_CASE
@EVERY_LIFT
@pytest.mark.parametrize("relative", [0.0, 1e-4])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows alike", "weighted"])
def test_weights_and_a_metric_enter_every_route(case: Case, lift: Lift, relative: float, weighted: bool) -> None:
    problem, dense = made(case, weighted=weighted)
    metric = torch.rand(dense.shape[1], dtype=F64) + 0.5
    ready, residual = prepared(lift, problem, metric), residual_of(problem)
    damping = relative * ready.mean_square
    lifted = ready.lift(-residual, damping=damping)
    assert_close(lifted.velocity, oracle(dense, -residual, damping, metric=metric), 1e-6)


@EVERY_CASE
@pytest.mark.parametrize("metric", [None, 4.0])
def test_a_damping_can_be_measured_by_one_mean_square(case: Case, metric: float | None) -> None:
    """`‖B‖_F²/m` on every route, whatever matrix is at hand; B = D/2 in the metric 4."""
    problem, dense = made(case)
    expected = float(dense.square().sum()) / len(dense) / (metric or 1.0)
    diagonal = None if metric is None else torch.full((dense.shape[1],), metric, dtype=F64)
    for lift in LIFTS:
        assert prepared(lift, problem, diagonal).mean_square == pytest.approx(expected, rel=1e-12)


@EVERY_LIFT
@pytest.mark.parametrize("scale", [1e-10, 1e10])
@pytest.mark.parametrize("relative", [0.0, 1e-4])
def test_units_do_not_matter(lift: Lift, scale: float, relative: float) -> None:
    for case in (CASES[0], CASES[2]):
        problem, dense = made(case, scale=scale)
        ready, residual = prepared(lift, problem), residual_of(problem)
        damping = relative * ready.mean_square
        assert_close(ready.lift(-residual, damping=damping).velocity, oracle(dense, -residual, damping), 1e-6)


def test_a_row_of_weight_zero_asks_for_nothing() -> None:
    model, x, y = nn.Linear(5, 1).double(), torch.randn(4, 5, dtype=F64), torch.randn(4, 1, dtype=F64)
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0], dtype=F64)
    problem = gd.Problem.of(model, x, y, weights=weights)
    fewer = gd.Problem.of(model, x[weights > 0], y[weights > 0], weights=weights[weights > 0])
    for lift in LIFTS:
        velocity = prepared(lift, problem).lift(-residual_of(problem), damping=0.0).velocity
        assert_close(velocity, prepared(lift, fewer).lift(-residual_of(fewer), damping=0.0).velocity, 1e-9)


def test_a_metric_is_entered_and_left_by_its_root() -> None:
    """What goes in comes out, and B of what went in is D of what is given."""
    dense, metric, velocity = vector(15).view(3, 5), vector(5, 1).square() + 0.1, vector(5, 2)
    inside = MetricJacobian.of(MatrixJacobian(dense), metric)
    assert_close(inside.leave(inside.enter(velocity)), velocity, 1e-14)
    assert_close(inside.jacobian.mv(inside.enter(velocity)), dense @ velocity, 1e-14)


# --- rank -----------------------------------------------------------------------------------------------------------


@EVERY_CASE
@pytest.mark.parametrize("lift", LIFTS[:2], ids=lambda lift: lift.name)
def test_the_rank_is_known_without_damping(case: Case, lift: Lift) -> None:
    problem, dense = made(case)
    assert torch.linalg.matrix_rank(dense) == case.rank
    assert prepared(lift, problem).lift(residual_of(problem), damping=0.0).rank == case.rank


@pytest.mark.parametrize("lift", [gd.GramLift(rcond=2e-2), gd.NormalLift(rcond=2e-2)], ids=lambda lift: lift.name)
@pytest.mark.parametrize("relative", [0.0, 1e-3])
def test_a_rank_that_is_asked_for_is_kept_at_every_damping(lift: Lift, relative: float) -> None:
    """Singular values from 1 to 1e-4, cut at 2e-2: the answer is that of the matrix without the small ones."""
    wide = isinstance(lift, gd.GramLift)
    dense, v = graded(9, 15, 4.0) if wide else graded(15, 9, 4.0), vector(9 if wide else 15)
    left, values, right = torch.linalg.svd(dense, full_matrices=False)
    kept = values > 2e-2
    cut = left[:, kept] @ values[kept].diag() @ right[kept]
    lifted = lift.prepare(MatrixJacobian(dense)).lift(v, damping=relative)
    assert lifted.rank == int(kept.sum()) and not lifted.fallback
    assert_close(lifted.velocity, oracle(cut, v, relative), 1e-9)


@pytest.mark.parametrize("case", [CASES[1], CASES[3]], ids=lambda case: case.name)
def test_krylov_without_damping_falls_back_to_lsmr_where_rank_is_lost(case: Case) -> None:
    """Conjugate gradients on a singular G diverge off its range: D gives the least-norm answer."""
    problem, dense = made(case)
    residual = residual_of(problem)
    lifted = prepared(gd.KrylovLift(), problem).lift(-residual, damping=0.0)
    assert lifted.fallback and lifted.iterations > 0
    assert_close(lifted.velocity, oracle(dense, -residual, 0.0), 1e-6)
    full = prepared(gd.KrylovLift(), made(CASES[0])[0])
    assert not full.lift(torch.randn(24, dtype=F64), damping=0.0).fallback


def test_krylov_notices_a_singular_gram_matrix_by_products_alone() -> None:
    """Where rows cannot be formed nothing shows the loss of rank beforehand; the iteration does."""
    dense, v = graded(9, 20, 1.0), vector(10)
    dense = torch.cat([dense, dense[:1]])
    jacobian = MatrixJacobian((lambda v: dense @ v, lambda u: dense.T @ u), shape=(10, 20))
    with spending(Budget(rows_numbers=100)):
        lifted = gd.KrylovLift(max_iterations=200).prepare(jacobian).lift(v, damping=0.0)
    assert lifted.fallback
    assert_close(lifted.velocity, torch.linalg.pinv(dense) @ v, 1e-8)


def test_the_normal_lift_keeps_digits_that_squaring_loses() -> None:
    """`cond(D) = 1e7`: DᵀD has 1e14, and the singular values of D answer instead."""
    dense = graded(30, 6, 7.0)
    model = nn.Linear(6, 1, bias=False).double()
    problem = gd.Problem.of(model, dense, torch.randn(30, 1, dtype=F64))
    lifted = prepared(gd.NormalLift(), problem).lift(-residual_of(problem), damping=0.0)
    assert lifted.rank == 6
    assert_close(lifted.velocity, oracle(dense, -residual_of(problem), 0.0), 1e-8)


@pytest.mark.parametrize(("case", "fallback"), [(CASES[0], False), (CASES[1], True)], ids=["full rank", "duplicates"])
def test_an_undamped_gram_lift_has_the_misfit_of_weighted_rows_and_says_when_it_fell_back(
    case: Case, fallback: bool
) -> None:
    problem, dense = made(case, weighted=True)
    v = residual_of(problem)
    for lift, expected in ((gd.GramLift(), fallback), (gd.GramLift(rcond=1e-7), False)):
        lifted = prepared(lift, problem).lift(v, damping=0.0)
        assert_close(v + lifted.misfit, dense @ lifted.velocity, 1e-9)
        assert lifted.fallback is expected


def test_an_undamped_gram_lift_is_refined_to_what_d_itself_has() -> None:
    """cond(D) near 1e7, cond(G) near 1e14: after two refinements θ̇ is as exact as by singular values."""
    rows, v = graded(20, 40, 6.9), vector(20, 0)
    lifted = gd.GramLift().prepare(MatrixJacobian(rows)).lift(v, damping=0.0)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    assert_close(lifted.velocity, right.T @ ((left.T @ v) / values), 1e-8)


# --- blocks of rows, matrices and streams ---------------------------------------------------------------------------


def blocks(n: int) -> tuple[gd.Problem, Tensor]:
    """A network of two outputs at n weighted samples and at 5 more, and a penalty on θ, with rows by hand."""
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    x, other, w = vector(3 * n, 1).view(n, 3), vector(15, 2).view(5, 3), vector(n, 4).square() + 0.1
    here, there = gd.SampleMap(model, x), gd.SampleMap(model, other)
    size = gd.FunctionMap(torch.sin, here.theta)
    k = len(here.theta)
    problem = gd.Problem(
        (
            gd.RowBlock("here", here, vector(2 * n, 5).view(n, 2), weights=w),
            gd.RowBlock("size", size, torch.zeros(k, dtype=F64), weight=0.1),
            gd.RowBlock("there", there, vector(10, 6).view(5, 2), weight=2.0),
        )
    )
    whole = float(w.sum()) + k + 5
    dense = torch.cat(
        [
            (w * whole / w.sum()).sqrt().repeat_interleave(2)[:, None] * naive_jacobian(model, x),
            (0.1 * whole / k) ** 0.5 * here.theta.cos().diag(),
            (2.0 * whole / 5) ** 0.5 * naive_jacobian(model, other),
        ]
    )
    return problem, dense


@pytest.mark.slow
@EVERY_LIFT
@pytest.mark.parametrize("n", [1, 12])
@pytest.mark.parametrize("relative", [0.0, 1e-6, 1e-2])
@pytest.mark.parametrize("metric", [False, True], ids=["plain", "metric"])
def test_blocks_of_rows_are_one_problem(lift: Lift, n: int, relative: float, metric: bool) -> None:
    problem, dense = blocks(n)
    diagonal = vector(dense.shape[1], 8).square() + 0.2 if metric else None
    ready, residual = prepared(lift, problem, diagonal), residual_of(problem)
    damping = relative * ready.mean_square
    lifted = ready.lift(-residual, damping=damping)
    assert_close(lifted.velocity, oracle(dense, -residual, damping, metric=diagonal), 1e-6)
    assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-6)


@EVERY_LIFT
@pytest.mark.parametrize("shape", [(9, 15), (15, 9)])
@pytest.mark.parametrize("damping", [0.0, 1e-3])
def test_two_functions_are_lifted_as_their_matrix_is(lift: Lift, shape: tuple[int, int], damping: float) -> None:
    dense, v = graded(*shape, 2.0), vector(shape[0])
    for jacobian in (
        MatrixJacobian(dense),
        MatrixJacobian((lambda v: dense @ v, lambda u: dense.T @ u), shape=shape),
    ):
        lifted = lift.prepare(jacobian).lift(v, damping=damping)
        assert_close(lifted.velocity, oracle(dense, v, damping), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("lift", LIFTS[1:], ids=lambda lift: lift.name)
@pytest.mark.parametrize("damping", [0.0, 1e-2])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_stream_is_lifted_batch_by_batch(lift: Lift, damping: float, weighted: bool) -> None:
    """Through its normal matrix, or by products, in any metric; a Gram matrix is refused."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, v = vector(90).view(30, 3), vector(30, 1)
    rows = vector(30, 2).abs() + 0.5 if weighted else torch.ones(30, dtype=F64)
    loader = DataLoader(TensorDataset(x, torch.zeros(30, 1, dtype=F64)), batch_size=8)
    outputs = StreamedMap(gd.SampleMap(model, x[:8]), loader, (30, 1))
    jacobian = outputs.linearise(outputs.theta)[1]
    jacobian = jacobian.scaled(rows=rows) if weighted else jacobian
    lifted = lift.prepare(jacobian).lift(v, damping=damping)
    assert_close(lifted.velocity, oracle(rows[:, None] * naive_jacobian(model, x), v, damping), 1e-6)
    with pytest.raises(MemoryPlanError, match="not formed over a DataLoader"):
        gd.GramLift().prepare(jacobian)
    metric = vector(21).square() + 0.1
    inside = lift.prepare(jacobian, metric=metric).lift(v, damping=damping)
    dense = rows[:, None] * naive_jacobian(model, x) / metric.sqrt()
    assert_close(inside.velocity * metric.sqrt(), oracle(dense, v, damping), 1e-6)
