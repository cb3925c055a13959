"""Solvers on matrices of prescribed spectrum and rank, against torch.linalg in float64."""

import math

import pytest
import torch
from laws import assert_close
from torch import Tensor

from geodescent import _iterations as iterations
from geodescent import _linalg as linalg
from geodescent._linalg import CholeskyFactor, EighFactor


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


def test_conjugate_gradients_solve_and_count() -> None:
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    found = iterations.conjugate_gradients(
        lambda v: matrix @ v, b, preconditioner=lambda r: r, tol=1e-12, max_iterations=500
    )
    assert found.converged and found.relative_residual <= 1e-12
    assert_close(found.solution, torch.linalg.solve(matrix, b), 1e-6)
    exact = iterations.conjugate_gradients(
        lambda v: matrix @ v, b, preconditioner=lambda r: torch.linalg.solve(matrix, r), tol=1e-10, max_iterations=50
    )
    assert exact.converged and exact.count <= 2


def test_conjugate_gradients_need_as_many_steps_as_there_are_eigenvalues() -> None:
    values = torch.tensor([1.0] * 20 + [3.0] * 20 + [10.0] * 20, dtype=torch.float64)
    matrix = with_spectrum(values)
    found = iterations.conjugate_gradients(
        lambda v: matrix @ v, vector(60), preconditioner=lambda r: r, tol=1e-10, max_iterations=60
    )
    assert found.converged and found.count == 3


def test_conjugate_gradients_stop_when_told() -> None:
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    short = iterations.conjugate_gradients(
        lambda v: matrix @ v, b, preconditioner=lambda r: r, tol=1e-12, max_iterations=3
    )
    assert short.count == 3 and not short.converged
    assert short.relative_residual == pytest.approx(
        float(torch.linalg.vector_norm(b - matrix @ short.solution) / torch.linalg.vector_norm(b)), rel=1e-6
    )
    zero = iterations.conjugate_gradients(
        lambda v: matrix @ v, torch.zeros_like(b), preconditioner=lambda r: r, tol=1e-12, max_iterations=3
    )
    assert zero.converged and float(zero.solution.abs().sum()) == 0.0


def test_conjugate_gradients_stop_at_negative_curvature() -> None:
    matrix = with_spectrum(torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64))
    found = iterations.conjugate_gradients(
        lambda v: matrix @ v, vector(3), preconditioner=lambda r: r, tol=1e-12, max_iterations=9
    )
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
        tol=1e-12,
        max_iterations=50,
        damping=damping,
        slack=slack,
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
