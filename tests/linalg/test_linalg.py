"""Solvers on matrices of prescribed spectrum and rank, against torch.linalg in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from support.laws import assert_close
from torch import Tensor

from geodescent import linalg
from geodescent import linalg as iterations
from geodescent.linalg import CholeskyFactor, EighFactor


def orthogonal(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))[0]


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    vectors = orthogonal(len(values), seed)
    return (vectors * values) @ vectors.T


def rectangular(m: int, k: int, sigma: Tensor) -> Tensor:
    """m × k with these singular values."""
    return (orthogonal(m, 1)[:, : len(sigma)] * sigma) @ orthogonal(k, 2)[:, : len(sigma)].T


def vector(n: int, seed: int = 3) -> Tensor:
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SPECTRUM = torch.logspace(-4, 2, 12, dtype=torch.float64)


# --- factors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("damping", [0.0, 1e-3])
def test_both_factors_solve(scale: float, damping: float) -> None:
    matrix, b = with_spectrum(scale * SPECTRUM), torch.stack([vector(12), vector(12, 4)], 1)
    shifted = matrix + scale * damping * torch.eye(12, dtype=torch.float64)
    expected = torch.linalg.solve(shifted, b)
    for found in (linalg.cholesky(matrix, damping=scale * damping), linalg.eigh(matrix, damping=scale * damping)):
        assert found is not None and found.rank == 12
        assert_close(found.solve(b), expected, 1e-9)
        assert_close(found.solve(b[:, 0]), expected[:, 0], 1e-9)


def test_cholesky_keeps_its_matrix() -> None:
    matrix = with_spectrum(SPECTRUM)
    before = matrix.clone()
    kept = linalg.cholesky(matrix, damping=0.5)
    assert kept is not None and torch.equal(matrix, before)
    assert_close(kept.lower @ kept.lower.T, before + 0.5 * torch.eye(12, dtype=torch.float64), 1e-14)
    pivots = kept.lower.diagonal().square()
    assert kept.pivot_ratio == pytest.approx(float(pivots.min() / pivots.max()))


def test_no_singular_gram_is_trusted() -> None:
    """A Cholesky that succeeds is no proof of rank (THEORY 1.7): 40 Grams with one duplicate sample."""
    succeeded = 0
    for seed in range(40):
        d = torch.randn(30, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        d[17] = d[4]
        gram = d @ d.T
        succeeded += int(torch.linalg.cholesky_ex(gram).info == 0)
        assert linalg.cholesky(gram) is None
        found = linalg.factor(gram)
        assert isinstance(found, EighFactor) and found.rank == 29
        assert bool((linalg.definite(gram, damping=0.0).solve(torch.eye(30, dtype=gram.dtype)).diagonal() > 0.0).all())
        assert linalg.cholesky(gram, damping=1e-3) is not None
    assert succeeded > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_trusted(bad: float) -> None:
    matrix = with_spectrum(SPECTRUM)
    matrix[3, 3] = bad
    assert linalg.cholesky(matrix) is None


def test_factor_takes_cholesky_unless_rank_is_asked_for() -> None:
    matrix = with_spectrum(SPECTRUM)
    assert isinstance(linalg.factor(matrix), CholeskyFactor)
    cut = linalg.factor(matrix, rcond=1e-2)
    assert isinstance(cut, EighFactor) and cut.rank == int(SPECTRUM.gt(1e-4 * SPECTRUM[-1]).sum())


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_eigh_is_the_penrose_inverse_at_its_rank(scale: float) -> None:
    values = torch.cat([torch.zeros(5, dtype=torch.float64), SPECTRUM])
    matrix, b = with_spectrum(scale * values), vector(17)
    found = linalg.eigh(matrix)
    assert found.rank == 12
    assert found.resolution == pytest.approx(math.sqrt(17 * torch.finfo(torch.float64).eps * scale * 100.0))
    assert_close(found.solve(b), torch.linalg.pinv(matrix, rtol=1e-10, hermitian=True) @ b, 1e-7)
    assert_close(found.project(found.project(b)), found.project(b), 1e-12)
    assert_close(matrix @ found.solve(b), found.project(b), 1e-8)
    damped = linalg.eigh(matrix, damping=scale * 0.1)
    assert_close(matrix @ damped.solve(b) + scale * 0.1 * damped.solve(b), found.project(b), 1e-10)


def test_eigh_of_zero_has_rank_zero() -> None:
    found = linalg.eigh(torch.zeros(4, 4, dtype=torch.float64))
    assert found.rank == 0 and torch.equal(found.solve(vector(4)), torch.zeros(4, dtype=torch.float64))


def test_rcond_is_relative_to_sigma_not_to_its_square() -> None:
    sigma = torch.tensor([1e-3, 1e-2, 1e-1, 1.0], dtype=torch.float64)
    matrix = with_spectrum(sigma.square())
    assert [linalg.eigh(matrix, rcond=r).rank for r in (5e-4, 5e-3, 5e-2, 0.5)] == [4, 3, 2, 1]


# --- iterations ------------------------------------------------------------------------------------------------------


SHAPES = [(20, 8, 8), (8, 20, 8), (12, 12, 12), (20, 10, 6), (10, 20, 6), (1, 5, 1), (5, 1, 1)]


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize(("m", "k", "rank"), SHAPES)
def test_lsmr_is_the_least_norm_least_squares_solution(m: int, k: int, rank: int, scale: float) -> None:
    matrix = rectangular(m, k, scale * torch.logspace(-1.5, 0, rank, dtype=torch.float64))
    b = vector(m)
    found = iterations.lsmr(lambda v: matrix @ v, lambda u: matrix.T @ u, b, tol=1e-14, max_iterations=200)
    expected = torch.linalg.lstsq(matrix, b[:, None], rcond=1e-10, driver="gelsd").solution[:, 0]
    assert found.converged
    assert_close(found.solution, expected, 1e-10)
    residual = float(torch.linalg.vector_norm(matrix @ found.solution - b) / torch.linalg.vector_norm(b))
    assert found.relative_residual == pytest.approx(residual, abs=1e-10)


def test_lsmr_where_there_is_nothing_to_do() -> None:
    matrix = rectangular(6, 4, torch.ones(3, dtype=torch.float64))
    zero = iterations.lsmr(
        lambda v: matrix @ v, lambda u: matrix.T @ u, torch.zeros(6, dtype=torch.float64), tol=1e-12, max_iterations=9
    )
    assert (
        zero.converged and zero.count == 0 and float(zero.solution.abs().sum()) == 0.0 and zero.relative_residual == 0.0
    )
    b = vector(6)
    b -= matrix @ (torch.linalg.pinv(matrix, rtol=1e-10) @ b)
    nowhere = iterations.lsmr(lambda v: matrix @ v, lambda u: matrix.T @ u, b, tol=1e-12, max_iterations=50)
    assert float(torch.linalg.vector_norm(nowhere.solution)) < 1e-12
    assert nowhere.relative_residual == pytest.approx(1.0)


def test_lsmr_says_when_it_did_not_get_there() -> None:
    matrix = rectangular(30, 40, torch.logspace(-6, 0, 30, dtype=torch.float64))
    found = iterations.lsmr(lambda v: matrix @ v, lambda u: matrix.T @ u, vector(30), tol=1e-12, max_iterations=5)
    assert found.count == 5 and not found.converged and found.relative_residual > 1e-12


def cg(
    matrix: Tensor,
    b: Tensor,
    *,
    tol: float,
    max_iterations: int,
    preconditioner: iterations.Operator = lambda r: r,
    near: Tensor | None = None,
) -> iterations.Iterations:
    return iterations.conjugate_gradients(
        lambda v: matrix @ v,
        b,
        preconditioner=preconditioner,
        enough=iterations.residual_test(b, tol=tol),
        max_iterations=max_iterations,
        near=near,
    )


def test_conjugate_gradients_solve_and_count() -> None:
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    found = cg(matrix, b, tol=1e-12, max_iterations=500)
    assert found.converged and found.relative_residual <= 1e-12
    assert_close(found.solution, torch.linalg.solve(matrix, b), 1e-6)
    exact = cg(matrix, b, tol=1e-10, max_iterations=50, preconditioner=lambda r: torch.linalg.solve(matrix, r))
    assert exact.converged and exact.count <= 2


def test_conjugate_gradients_need_as_many_steps_as_there_are_eigenvalues() -> None:
    values = torch.tensor([1.0] * 20 + [3.0] * 20 + [10.0] * 20, dtype=torch.float64)
    matrix = with_spectrum(values)
    found = cg(matrix, vector(60), tol=1e-10, max_iterations=60)
    assert found.converged and found.count == 3


def test_conjugate_gradients_begin_on_the_line_of_what_is_near() -> None:
    """A multiple of the solution is the solution; on any other line they begin at the least of the quadratic on it."""
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    near = -3.0 * torch.linalg.solve(matrix, b)
    found = cg(matrix, b, tol=1e-6, max_iterations=50, near=near)
    assert found.converged and found.count == 0
    assert_close(found.solution, near / -3.0, 1e-9)
    other = vector(12, 7)
    begun = cg(matrix, b, tol=1e-6, max_iterations=0, near=other).solution
    assert abs(float(other @ (matrix @ begun - b))) <= 1e-9 * float(other.norm() * b.norm())


@pytest.mark.parametrize("damping", [1e-1, 1e-4])
def test_the_pace_ends_a_solve_where_a_new_step_would_bring_more(damping: float) -> None:
    """φ at the end, from its definition: more iterations bring less each than all did with the step's own price."""
    wide = vector(40 * 60).view(40, 60) @ torch.diag(0.5 ** torch.arange(60, dtype=torch.float64))
    v, normal = vector(40, 5), wide.T @ wide + damping * torch.eye(60, dtype=torch.float64)

    def solved(count: int | None) -> iterations.Iterations:
        enough = iterations.Pace(wide.T @ v, float(v @ v)) if count is None else lambda x, r, rho: False
        b, most = wide.T @ v, 200 if count is None else count
        return iterations.conjugate_gradients(
            lambda x: normal @ x, b, preconditioner=lambda r: r, enough=enough, max_iterations=most
        )

    def fall(x: Tensor) -> float:
        return math.log(float(v @ v) / float((wide @ x - v).square().sum() + damping * x.square().sum()))

    count = solved(None).count
    falls = [fall(iterations_solution(solved, k)) for k in range(count + 1)]
    window = 2 + count // 4
    assert solved(None).converged and falls[0] == pytest.approx(0.0, abs=1e-12) and count > 2
    for end in range(1, count + 1):
        width = 2 + end // 4
        if end > width:
            recent = (falls[end] - falls[end - width]) / width
            assert (recent <= falls[end] / (end + iterations.STEP_ITERATIONS)) is (end == count), (end, window)


def iterations_solution(solved: Callable[[int | None], iterations.Iterations], count: int) -> Tensor:
    """The iterate after so many iterations; zero before the first."""
    return solved(count).solution if count else torch.zeros(60, dtype=torch.float64)


def test_conjugate_gradients_stop_when_told() -> None:
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    short = cg(matrix, b, tol=1e-12, max_iterations=3)
    assert short.count == 3 and not short.converged
    assert short.relative_residual == pytest.approx(
        float(torch.linalg.vector_norm(b - matrix @ short.solution) / torch.linalg.vector_norm(b)), rel=1e-6
    )
    zero = cg(matrix, torch.zeros_like(b), tol=1e-12, max_iterations=3)
    assert zero.converged and float(zero.solution.abs().sum()) == 0.0


def test_conjugate_gradients_stop_at_negative_curvature() -> None:
    matrix = with_spectrum(torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64))
    found = cg(matrix, vector(3), tol=1e-12, max_iterations=9)
    assert not found.converged and found.count == 0


def test_conjugate_gradients_know_how_far_they_are_from_the_least_damped_misfit() -> None:
    """The duality gap of `‖Bv − b‖² + μ‖v‖²` at v = Bᵀz is the square of the residual; both tests hold at the stop."""
    wide, b, damping, slack = vector(12 * 20).view(12, 20), vector(12, 5), 0.3, 0.1

    def left(v: Tensor) -> float:
        return float((wide @ v - b).square().sum() + damping * v.square().sum())

    damped = wide @ wide.T + damping * torch.eye(12, dtype=torch.float64)
    found = iterations.conjugate_gradients(
        lambda z: damped @ z,
        b,
        preconditioner=lambda r: r,
        enough=iterations.gap_test(b, damping=damping, slack=slack),
        max_iterations=50,
    )
    residual = float((b - damped @ found.solution).norm())
    value, least = left(wide.T @ found.solution), left(wide.T @ torch.linalg.solve(damped, b))
    assert found.converged and 0 < found.count < 12
    assert 0.0 <= value - least <= residual**2
    assert residual <= slack * math.sqrt(min(value, float(b @ b) - value)) * (1.0 + 1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40])
def test_lanczos_values_lie_inside_the_spectrum(count: int) -> None:
    matrix = with_spectrum(SPECTRUM)
    largest, smallest = iterations.lanczos_extremes(lambda v: matrix @ v, vector(12), iterations=count)
    rounding = 1e-12 * float(SPECTRUM[-1])
    assert float(SPECTRUM[0]) - rounding <= smallest <= largest <= float(SPECTRUM[-1]) + rounding
    if count >= 12:
        assert largest == pytest.approx(float(SPECTRUM[-1])) and smallest == pytest.approx(float(SPECTRUM[0]), rel=1e-6)


def test_lanczos_stops_in_an_invariant_space() -> None:
    assert iterations.lanczos_extremes(lambda v: 2.0 * v, vector(7)) == pytest.approx((2.0, 2.0))
    assert iterations.lanczos_extremes(lambda v: 0.0 * v, vector(7)) == (0.0, 0.0)


def test_sums_over_rows() -> None:
    a, b = vector(6).view(2, 3), vector(6, 9).view(2, 3)
    assert linalg.dot(a, b) == pytest.approx(float((a * b).sum()))
    assert linalg.norm(a) == pytest.approx(math.sqrt(linalg.dot(a, a)))
    assert linalg.total(a) == pytest.approx(sum(a.reshape(-1).tolist()))
