"""Every lift answers one question: against a dense Penrose inverse, over ranks, shapes, weights and metrics."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from torch import Tensor, nn

import geodescent as gd
from geodescent import _budget as _memory
from geodescent import linalg as iterations
from geodescent._errors import MemoryPlanError
from geodescent.jacobian import Block, DenseColumns, Jacobian
from geodescent.lift import (
    DENSE_LIMIT,
    INEXACT,
    LEAST_FACTOR,
    NO_HINTS,
    ROUGH,
    Lift,
    OutputBlocks,
    PlannedLift,
    Refined,
    TwiceFactored,
)
from geodescent.lift import _output_blocks as _preconditioner
from geodescent.linalg import CholeskyFactor

F64 = torch.float64
CPU = torch.device("cpu")
LIFTS = [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()]
EVERY_LIFT = pytest.mark.parametrize("lift", LIFTS, ids=lambda lift: lift.name)


@dataclass(frozen=True)
class Case:
    """A problem of known shape and rank."""

    name: str
    n: int
    sizes: tuple[int, ...]
    rank: int
    duplicates: int = 0


CASES = [
    Case("K > m", 12, (3, 20, 2), rank=24),
    Case("K > m, duplicates", 12, (3, 20, 2), rank=20, duplicates=2),
    Case("K < m", 40, (3, 6, 2), rank=38),
    Case("K < m, duplicates", 30, (3, 6, 2), rank=38, duplicates=2),
    Case("K = m", 16, (3, 3, 1), rank=16),
    Case("N = 1", 1, (3, 5, 2), rank=2),
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def made(case: Case, *, scale: float = 1.0, weighted: bool = False) -> tuple[gd.Problem, Tensor]:
    """The problem and its D by autograd."""
    layers = [layer for a, b in itertools.pairwise(case.sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    model = nn.Sequential(*layers[:-1], Times(scale)).double()
    x = torch.randn(case.n, case.sizes[0], dtype=F64)
    for i in range(case.duplicates):
        x[i + 1] = x[0]
    y = scale * torch.randn(len(x), case.sizes[-1], dtype=F64)
    weights = torch.rand(len(x), dtype=F64) + 0.1 if weighted else None
    return gd.Problem.of(model, x, y, weights=weights), naive_jacobian(model, x)


class Mixed(nn.Module):
    """Outputs that are fixed combinations of the inputs."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T


class Times(nn.Module):
    """Outputs in other units."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def oracle(
    dense: Tensor, velocity: Tensor, damping: float, *, rows: Tensor | None = None, metric: Tensor | None = None
) -> Tensor:
    """`M^{−½} B⁺_μ s v` with `B = diag(s) D M^{−½}`, by singular values."""
    rows = torch.ones(len(dense), dtype=F64) if rows is None else rows
    columns = torch.ones(dense.shape[1], dtype=F64) if metric is None else metric.rsqrt()
    left, values, right = torch.linalg.svd(rows[:, None] * dense * columns, full_matrices=False)
    keep = values > 1e-11 * values[0]
    s = values[keep]
    return columns * (right[keep].T @ ((s / (s * s + damping)) * (left[:, keep].T @ (rows * velocity))))


def prepared(lift: Lift, problem: gd.Problem, metric: Tensor | None = None):
    _, jacobian = problem.linearise(problem.theta)
    return lift.prepare(jacobian, row_scale=problem.row_scale, metric=metric)


def residual_of(problem: gd.Problem) -> Tensor:
    return problem.residual(problem.outputs(problem.theta))


# --- one question, three routes -------------------------------------------------------------------------------------


@EVERY_CASE
@EVERY_LIFT
@pytest.mark.parametrize("relative", [0.0, 1e-6, 1e-2, 1e2])
def test_every_route_is_the_dense_lift(case: Case, lift: Lift, relative: float) -> None:
    problem, dense = made(case)
    ready, residual = prepared(lift, problem), residual_of(problem)
    lifted = ready.lift(-residual, damping=relative * ready.scale)
    assert_close(lifted.velocity, oracle(dense, -residual, relative * ready.scale), 1e-6)
    assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-6 if lifted.misfit.norm() > 1e-6 else 1e6)


@EVERY_CASE
@EVERY_LIFT
@pytest.mark.parametrize("relative", [0.0, 1e-4])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows alike", "weighted"])
def test_both_metrics_enter_every_route(case: Case, lift: Lift, relative: float, weighted: bool) -> None:
    problem, dense = made(case, weighted=weighted)
    metric = torch.rand(problem.n_params, dtype=F64) + 0.5
    ready, residual = prepared(lift, problem, metric), residual_of(problem)
    damping = relative * ready.scale
    expected = oracle(dense, -residual, damping, rows=problem.row_scale, metric=metric)
    assert_close(ready.lift(-residual, damping=damping).velocity, expected, 1e-6)


@EVERY_CASE
def test_relative_damping_has_one_scale(case: Case) -> None:
    """`‖B‖_F²/m` on every route, whatever matrix is at hand."""
    problem, dense = made(case)
    for lift in LIFTS:
        assert prepared(lift, problem).scale == pytest.approx(float(dense.square().sum()) / len(dense), rel=1e-12)


@EVERY_LIFT
@pytest.mark.parametrize("scale", [1e-10, 1e10])
@pytest.mark.parametrize("relative", [0.0, 1e-4])
def test_units_do_not_matter(lift: Lift, scale: float, relative: float) -> None:
    for case in (CASES[0], CASES[2]):
        problem, dense = made(case, scale=scale)
        ready, residual = prepared(lift, problem), residual_of(problem)
        damping = relative * ready.scale
        assert_close(ready.lift(-residual, damping=damping).velocity, oracle(dense, -residual, damping), 1e-6)


def test_a_row_of_weight_zero_asks_for_nothing() -> None:
    model, x, y = nn.Linear(5, 1).double(), torch.randn(4, 5, dtype=F64), torch.randn(4, 1, dtype=F64)
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0], dtype=F64)
    problem = gd.Problem.of(model, x, y, weights=weights)
    fewer = gd.Problem.of(model, x[weights > 0], y[weights > 0], weights=weights[weights > 0])
    for lift in LIFTS:
        found = prepared(lift, problem).lift(-residual_of(problem), damping=0.0).velocity
        assert_close(found, prepared(lift, fewer).lift(-residual_of(fewer), damping=0.0).velocity, 1e-9)


# --- rank -----------------------------------------------------------------------------------------------------------


@EVERY_CASE
@pytest.mark.parametrize("lift", LIFTS[:2], ids=lambda lift: lift.name)
def test_the_rank_is_told_without_damping(case: Case, lift: Lift) -> None:
    problem, dense = made(case)
    assert torch.linalg.matrix_rank(dense) == case.rank
    assert prepared(lift, problem).lift(residual_of(problem), damping=0.0).rank == case.rank


@pytest.mark.parametrize("case", [CASES[1], CASES[3]], ids=lambda case: case.name)
def test_krylov_without_damping_is_lsmr_where_rank_is_lost(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conjugate gradients on a singular G diverge off its range: D gives the least-norm answer."""
    called = []
    lsmr = gd.linalg.lsmr

    def counted(*arguments, **options):
        called.append(1)
        return lsmr(*arguments, **options)

    monkeypatch.setattr(gd.linalg, "lsmr", counted)
    problem, dense = made(case)
    residual = residual_of(problem)
    lifted = prepared(gd.KrylovLift(), problem).lift(-residual, damping=0.0)
    assert called
    assert lifted.iterations > 0
    assert_close(lifted.velocity, oracle(dense, -residual, 0.0), 1e-6)


def test_the_normal_lift_keeps_digits_that_squaring_loses() -> None:
    """`cond(D) = 1e6`: DᵀD has 1e12, and the singular values of D answer instead."""
    left, right = torch.linalg.qr(torch.randn(30, 6, dtype=F64))[0], torch.linalg.qr(torch.randn(6, 6, dtype=F64))[0]
    dense = left @ torch.diag(torch.logspace(0.0, -6.0, 6, dtype=F64)) @ right.T
    model = nn.Linear(6, 1, bias=False).double()
    problem = gd.Problem.of(model, dense, torch.randn(30, 1, dtype=F64))
    lifted = prepared(gd.NormalLift(), problem).lift(-residual_of(problem), damping=0.0)
    assert lifted.rank == 6
    assert_close(lifted.velocity, oracle(dense, -residual_of(problem), 0.0), 1e-9)


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "k", "name"),
    [
        (100, 1000, "gram"),
        (100, 100, "gram"),
        (1000, 100, "normal"),
        (DENSE_LIMIT, 10 * DENSE_LIMIT, "gram"),
        (DENSE_LIMIT + 1, 10 * DENSE_LIMIT, "krylov"),
        (10 * DENSE_LIMIT, DENSE_LIMIT + 1, "krylov"),
    ],
)
def test_the_plan_goes_by_m_and_k(m: int, k: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "available_bytes", lambda device: 10**12)
    assert PlannedLift().choice(m, k, dtype=F64, device=CPU).name == name


def test_the_plan_goes_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "available_bytes", lambda device: 10**6)
    assert PlannedLift().choice(100, 1000, dtype=F64, device=CPU) == gd.GramLift()
    assert PlannedLift().choice(300, 1000, dtype=F64, device=CPU) == INEXACT
    assert PlannedLift().choice(1000, 300, dtype=F64, device=CPU) == INEXACT
    assert PlannedLift(krylov=gd.KrylovLift()).choice(300, 1000, dtype=F64, device=CPU) == gd.KrylovLift()


def test_a_lift_asked_for_by_name_is_the_one_used() -> None:
    for lift in LIFTS:
        assert lift.choice(10, 5, dtype=F64, device=CPU) is lift
        assert lift.choice(5, 10, dtype=F64, device=CPU) is lift


@pytest.mark.parametrize(
    ("lift", "message"),
    [
        (gd.GramLift(), r"the Gram lift of 24 residuals needs .* GB, and .* are allowed\. Use KrylovLift\(\)\."),
        (gd.NormalLift(), r"the normal lift of 122 parameters needs .* Use KrylovLift\(\)\."),
    ],
    ids=["gram", "normal"],
)
def test_a_lift_that_memory_does_not_hold(lift: Lift, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = made(CASES[0])
    _, jacobian = problem.linearise(problem.theta)
    monkeypatch.setattr(_memory, "available_bytes", lambda device: 1000)
    with pytest.raises(MemoryPlanError, match=message):
        lift.prepare(jacobian)


# --- the preconditioner ---------------------------------------------------------------------------------------------


def test_output_blocks_are_exact_where_outputs_do_not_couple() -> None:
    """A linear model has `G = K ⊗ (M Mᵀ)`, M the later layers: rotated by M's singular vectors G is its blocks."""
    model = nn.Sequential(nn.Linear(5, 4), Mixed(torch.randn(3, 4, dtype=F64))).double()
    problem = gd.Problem.of(model, torch.randn(9, 5, dtype=F64), torch.randn(9, 3, dtype=F64))
    _, jacobian = problem.linearise(problem.theta)
    damped = jacobian.gram() + 0.1 * torch.eye(27, dtype=F64)
    z = torch.randn(27, dtype=F64)
    blocks, averaged = OutputBlocks.rotated(jacobian), OutputBlocks.averaged(jacobian)
    assert len(blocks.blocks) == 3 and len(averaged.blocks) == 1
    assert_close(blocks.damped(0.1)(damped @ z), z, 1e-4)  # float32
    kronecker = torch.kron(jacobian.mean_gram().contiguous(), torch.eye(3, dtype=F64))
    assert_close(averaged.damped(0.1)(kronecker @ z + 0.1 * z), z, 1e-4)
    assert float((averaged.damped(0.1)(damped @ z) - z).norm()) > 0.1 * float(z.norm())


@pytest.mark.parametrize(("room", "count"), [(1e9, 4), (2.5, 2), (1.2, 1)])
def test_output_blocks_are_shared_where_memory_is_short(
    room: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, dense = made(Case("four outputs", 10, (3, 12, 4), rank=40))
    _, jacobian = problem.linearise(problem.theta)
    monkeypatch.setattr(_preconditioner, "BLOCKS_BYTES", room * 1.5 * 8 * 100)
    blocks = OutputBlocks.rotated(jacobian)
    assert len(blocks.blocks) == count
    damped = dense @ dense.T + 0.1 * torch.eye(40, dtype=F64)
    values = torch.linalg.eigvals(torch.stack([blocks.damped(0.1)(row) for row in damped]))
    assert values.imag.abs().max() < 1e-3 and values.real.min() > 0.0  # the inverse of a definite matrix


def test_rotated_blocks_save_iterations() -> None:
    """Where outputs couple and damping is weak, in the same solve to the same tolerance."""
    torch.manual_seed(0)
    mix = torch.randn(6, 6, dtype=F64) @ torch.logspace(0, -2, 6, dtype=F64).diag()
    net = [nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 6), Mixed(mix)]
    problem = gd.Problem.of(nn.Sequential(*net).double(), torch.randn(60, 8, dtype=F64), torch.randn(60, 6, dtype=F64))
    _, jacobian = problem.linearise(problem.theta)
    residual, counts = residual_of(problem), list[int]()
    for blocks in (OutputBlocks.averaged(jacobian), OutputBlocks.rotated(jacobian)):
        damping = 1e-5 * float(jacobian.row_squares().mean())
        solved = iterations.conjugate_gradients(
            lambda z: jacobian.mv(jacobian.rmv(z)) + damping * z,  # noqa: B023
            residual,
            preconditioner=blocks.damped(damping),
            enough=iterations.residual_test(residual, tol=1e-6),
            max_iterations=2000,
        )
        assert solved.converged
        counts.append(solved.count)
    assert counts[1] < 0.5 * counts[0], counts


# --- inexact steps --------------------------------------------------------------------------------------------------


def test_the_misfit_of_an_inexact_solve_is_the_true_one() -> None:
    """C_lin is taken from `D θ̇ + (x − y)` in the Jacobian's own precision (THEORY 1.8)."""
    problem, dense = made(CASES[0])
    ready, residual = prepared(INEXACT, problem), residual_of(problem)
    lifted = ready.lift(-residual, damping=1e-3 * ready.scale)
    assert lifted.velocity.dtype == F64
    assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-10)
    damping = 1e-3 * ready.scale
    energies = [
        float((dense @ velocity + residual).square().sum() + damping * velocity.square().sum())
        for velocity in (oracle(dense, -residual, damping), lifted.velocity)
    ]
    assert 1.0 + 1e-9 < energies[1] / energies[0] < 1.5, energies  # inexact, and good enough


# --- refined solves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("relative", [1e-14, 1e-15])
def test_a_factor_refined_with_b_is_as_accurate_as_singular_values(wide: bool, relative: float) -> None:
    """Spectrum down to 1e-7 of σ_max, so that G resolves nothing at its end; μ below what a factor of G resolves."""
    rows, velocity = graded(40, 60, 7.0) if wide else graded(60, 40, 7.0), torch.randn(40 if wide else 60, dtype=F64)
    jacobian = jacobian_of_rows(rows)
    product = rows @ rows.T if wide else rows.T @ rows
    trace = float(product.diagonal().sum())
    damping = relative * trace
    found = Refined.of(jacobian, product, damping=damping, trace=trace, wide=wide).lift(velocity)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    expected = right.T @ (values / (values**2 + damping) * (left.T @ velocity))
    assert found is not None
    assert float((found[0] - expected).norm() / expected.norm()) < 1e-6
    assert_close(found[1], rows @ found[0] - velocity, 1e-9)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("relative", [1e-6, 1e-12, 1.01e-13, 1e-14, 1e-15])
def test_a_rough_solve_has_a_few_digits(wide: bool, relative: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of θ̇, by fewer solves with the factor; that of DᵀD is refined all the same, unless it is refined with B."""
    rows, velocity = graded(40, 60, 7.0) if wide else graded(60, 40, 7.0), torch.randn(40 if wide else 60, dtype=F64)
    prepared = (gd.GramLift() if wide else gd.NormalLift()).prepare(jacobian_of_rows(rows))
    damped, solve, found, count = prepared.damped(relative * prepared.trace), CholeskyFactor.solve, [], [0, 0]

    def counted(self: CholeskyFactor, b: Tensor) -> Tensor:
        count[len(found)] += 1
        return solve(self, b)

    monkeypatch.setattr(CholeskyFactor, "solve", counted)
    for hints in (NO_HINTS, ROUGH):
        found.append(damped.lift(velocity, hints))
    exact, rough = found
    assert float((rough.velocity - exact.velocity).norm() / exact.velocity.norm()) < 1e-2
    assert count[1] < count[0] or (count[1] == count[0] and not wide and relative > 1e-13)


def test_modes_below_the_factor_ask_for_two_factors() -> None:
    """Half of the spectrum far below δ: no answer by one factor, the lift gives that of two and keeps to it."""
    rows, velocity = graded(40, 60, 12.0), torch.randn(40, dtype=F64)
    prepared = gd.GramLift().prepare(jacobian_of_rows(rows))
    damping = 1e-20 * prepared.trace
    jacobian, product, trace = prepared.metrics.jacobian, prepared.product, prepared.trace
    assert Refined.of(jacobian, product, damping=damping, trace=trace, wide=True) is None
    lifted = prepared.damped(damping).lift(velocity)
    assert prepared.too_low == LEAST_FACTOR * trace and prepared.refined(damping) is None
    expected = TwiceFactored.of(prepared.metrics.jacobian, prepared.product, wide=True).damped(damping).lift(velocity)
    assert_close(lifted.velocity, expected[0], 1e-9)


def graded(m: int, k: int, decades: float) -> Tensor:
    """A matrix whose singular values fall evenly by so many decades."""
    torch.manual_seed(5)
    n = min(m, k)
    left, right = torch.linalg.qr(torch.randn(m, n, dtype=F64)).Q, torch.linalg.qr(torch.randn(k, n, dtype=F64)).Q
    return left @ torch.diag(10.0 ** torch.linspace(0.0, -decades, n, dtype=F64)) @ right.T


def jacobian_of_rows(rows: Tensor) -> Jacobian:
    m, k = rows.shape
    record = DenseColumns(rows[:, None], torch.arange(k), "rows")
    return Jacobian((Block((record,), m, 1),), k, F64, rows.device)


@pytest.mark.parametrize(("case", "fell"), [(CASES[0], False), (CASES[1], True)], ids=lambda case: str(case))
def test_an_undamped_gram_lift_has_the_misfit_of_scaled_rows_and_says_when_it_fell_back(case, fell):
    problem, dense = made(case, weighted=True)
    v, scale = residual_of(problem), problem.row_scale
    for lift, fallback in ((gd.GramLift(), fell), (gd.GramLift(rcond=1e-7), False)):
        found = prepared(lift, problem).lift(v, damping=0.0)
        assert_close(scale * v + found.misfit, (scale[:, None] * dense) @ found.velocity, 1e-9)
        assert found.fallback is fallback


def test_an_undamped_gram_lift_is_refined_to_what_d_itself_has():
    """cond(D) near 1e7, cond(G) near 1e14: after two refinements θ̇ is as exact as by singular values."""
    rows = graded(20, 40, 6.9)
    v = torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = gd.GramLift().prepare(jacobian_of_rows(rows)).lift(v, damping=0.0)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    assert_close(found.velocity, right.T @ ((left.T @ v) / values), 1e-8)
