"""LSMR, conjugate gradients and Lanczos on matrices of prescribed spectrum and rank, against torch.linalg."""

import math

import pytest
import torch
from support.laws import assert_close
from support.matrices import F64, SPECTRUM, rectangular, vector, with_spectrum
from torch import Tensor

from geodescent import linalg
from geodescent.linalg import Iterations, Operator, Space, conjugate_gradients, lanczos_extremes, residual_test

# --- LSMR ------------------------------------------------------------------------------------------------------------


SHAPES = [(20, 8, 8), (8, 20, 8), (12, 12, 12), (20, 10, 6), (10, 20, 6), (1, 5, 1), (5, 1, 1)]


def lsmr(matrix: Tensor, b: Tensor, *, tol: float, max_iterations: int) -> Iterations:
    return linalg.lsmr(lambda v: matrix @ v, lambda u: matrix.T @ u, b, tol=tol, max_iterations=max_iterations)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize(("m", "k", "rank"), SHAPES)
def test_lsmr_is_the_least_norm_least_squares_solution(m: int, k: int, rank: int, scale: float) -> None:
    matrix = rectangular(m, k, scale * torch.logspace(-1.5, 0, rank, dtype=F64))
    b = vector(m)
    solved = lsmr(matrix, b, tol=1e-14, max_iterations=200)
    expected = torch.linalg.lstsq(matrix, b[:, None], rcond=1e-10, driver="gelsd").solution[:, 0]
    assert solved.converged
    assert_close(solved.solution, expected, 1e-10)
    residual = float(torch.linalg.vector_norm(matrix @ solved.solution - b) / torch.linalg.vector_norm(b))
    assert solved.relative_residual == pytest.approx(residual, abs=1e-10)


def test_lsmr_where_there_is_nothing_to_do() -> None:
    matrix = rectangular(6, 4, torch.ones(3, dtype=F64))
    zero = lsmr(matrix, torch.zeros(6, dtype=F64), tol=1e-12, max_iterations=9)
    assert zero.converged and zero.count == 0 and zero.relative_residual == 0.0
    assert float(zero.solution.abs().sum()) == 0.0
    b = vector(6)
    b -= matrix @ (torch.linalg.pinv(matrix, rtol=1e-10) @ b)
    nowhere = lsmr(matrix, b, tol=1e-12, max_iterations=50)
    assert float(torch.linalg.vector_norm(nowhere.solution)) < 1e-12
    assert nowhere.relative_residual == pytest.approx(1.0)


def test_lsmr_says_when_it_did_not_get_there() -> None:
    matrix = rectangular(30, 40, torch.logspace(-6, 0, 30, dtype=F64))
    short = lsmr(matrix, vector(30), tol=1e-12, max_iterations=5)
    assert short.count == 5 and not short.converged and short.relative_residual > 1e-12


# --- conjugate gradients ---------------------------------------------------------------------------------------------


def cg(
    matrix: Tensor,
    b: Tensor,
    *,
    tol: float,
    max_iterations: int,
    preconditioner: Operator = lambda r: r,
    near: Tensor | None = None,
) -> Iterations:
    return conjugate_gradients(
        lambda v: matrix @ v,
        b,
        preconditioner=preconditioner,
        enough=residual_test(b, tol=tol),
        max_iterations=max_iterations,
        near=near,
    )


def test_conjugate_gradients_solve_and_count() -> None:
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    solved = cg(matrix, b, tol=1e-12, max_iterations=500)
    assert solved.converged and solved.relative_residual <= 1e-12
    assert_close(solved.solution, torch.linalg.solve(matrix, b), 1e-6)
    exact = cg(matrix, b, tol=1e-10, max_iterations=50, preconditioner=lambda r: torch.linalg.solve(matrix, r))
    assert exact.converged and exact.count <= 2


def test_conjugate_gradients_need_as_many_steps_as_there_are_eigenvalues() -> None:
    values = torch.tensor([1.0] * 20 + [3.0] * 20 + [10.0] * 20, dtype=F64)
    solved = cg(with_spectrum(values), vector(60), tol=1e-10, max_iterations=60)
    assert solved.converged and solved.count == 3


def test_conjugate_gradients_begin_on_the_line_of_what_is_near() -> None:
    """A multiple of the solution is the solution; on any other line they begin at the least of the quadratic on it."""
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    solution = torch.linalg.solve(matrix, b)
    for factor in (-3.0, 1e-9):
        solved = cg(matrix, b, tol=1e-6, max_iterations=50, near=factor * solution)
        assert solved.converged and solved.count == 0
        assert_close(solved.solution, solution, 1e-9)
    assert_close(
        cg(matrix, b, tol=1e-12, max_iterations=3, near=torch.zeros_like(b)).solution,
        cg(matrix, b, tol=1e-12, max_iterations=3).solution,
        1e-14,
    )
    other = vector(12, 7)
    begun = cg(matrix, b, tol=1e-6, max_iterations=0, near=other).solution
    assert abs(float(other @ (matrix @ begun - b))) <= 1e-9 * float(other.norm() * b.norm())


def test_conjugate_gradients_stop_when_told() -> None:
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    short = cg(matrix, b, tol=1e-12, max_iterations=3)
    assert short.count == 3 and not short.converged
    assert short.relative_residual == pytest.approx(
        float(torch.linalg.vector_norm(b - matrix @ short.solution) / torch.linalg.vector_norm(b)), rel=1e-6
    )
    zero = cg(matrix, torch.zeros_like(b), tol=1e-12, max_iterations=3)
    assert zero.converged and float(zero.solution.abs().sum()) == 0.0
    assert zero.count == 0 and zero.relative_residual == 0.0


def test_conjugate_gradients_stop_at_negative_curvature() -> None:
    matrix = with_spectrum(torch.tensor([-1.0, -2.0, -3.0], dtype=F64))
    stopped = cg(matrix, vector(3), tol=1e-12, max_iterations=9)
    assert not stopped.converged and stopped.count == 0


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
def test_conjugate_gradients_stop_at_a_preconditioner_that_is_none(factor: float) -> None:
    """Indefinite or not finite: nothing is taken from it, and the answer so far is finite."""
    matrix = with_spectrum(SPECTRUM)
    stopped = cg(matrix, vector(12), tol=1e-12, max_iterations=9, preconditioner=lambda r: factor * r)
    assert not stopped.converged and stopped.count == 0
    assert torch.equal(stopped.solution, torch.zeros(12, dtype=F64)) and stopped.relative_residual == 1.0


# --- Lanczos ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40])
def test_lanczos_values_lie_inside_the_spectrum(count: int) -> None:
    matrix = with_spectrum(SPECTRUM)
    largest, smallest = lanczos_extremes(lambda v: matrix @ v, vector(12), iterations=count)
    rounding = 1e-12 * float(SPECTRUM[-1])
    assert float(SPECTRUM[0]) - rounding <= smallest <= largest <= float(SPECTRUM[-1]) + rounding
    if count >= 12:
        assert largest == pytest.approx(float(SPECTRUM[-1])) and smallest == pytest.approx(float(SPECTRUM[0]), rel=1e-6)


@pytest.mark.parametrize(("iterations", "calls"), [(3, 3), (12, 12), (40, 12)])
def test_lanczos_takes_as_many_products_as_it_is_allowed_and_no_more_than_there_are_vectors(
    iterations: int, calls: int
) -> None:
    matrix, products = with_spectrum(torch.linspace(1.0, 2.0, 12, dtype=F64)), list[int]()

    def operator(v: Tensor) -> Tensor:
        products.append(1)
        return matrix @ v

    lanczos_extremes(operator, vector(12), iterations=iterations)
    assert len(products) == calls


def test_lanczos_stops_in_an_invariant_space() -> None:
    assert lanczos_extremes(lambda v: 2.0 * v, vector(7)) == pytest.approx((2.0, 2.0))
    assert lanczos_extremes(lambda v: 0.0 * v, vector(7)) == (0.0, 0.0)


# --- sums and spaces -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dot", "norm", "total"),
    [(linalg.dot, linalg.norm, linalg.total), (linalg.row_dot, linalg.row_norm, linalg.row_total)],
    ids=["parameters", "rows"],
)
def test_sums_of_both_families(dot, norm, total) -> None:
    a, b = vector(6).view(2, 3), vector(6, 9).view(2, 3)
    assert dot(a, b) == pytest.approx(float((a * b).sum()))
    assert norm(a) == pytest.approx(math.sqrt(dot(a, a)))
    assert total(a) == pytest.approx(sum(a.reshape(-1).tolist()))


def test_the_two_spaces_have_the_sums_of_their_families() -> None:
    assert (linalg.PARAMETERS.dot, linalg.PARAMETERS.norm) == (linalg.dot, linalg.norm)
    assert (linalg.ROWS.dot, linalg.ROWS.norm) == (linalg.row_dot, linalg.row_norm)


WEIGHTS = torch.logspace(-1, 1, 30, dtype=F64)
WEIGHTED = Space(lambda a, b: float(a @ (WEIGHTS * b)), lambda a: math.sqrt(float(a @ (WEIGHTS * a))))


def self_adjoint(values: Tensor) -> Tensor:
    """A with these eigenvalues and ⟨a, Ab⟩ = ⟨Aa, b⟩ for ⟨a, b⟩ = Σ wᵢaᵢbᵢ alone."""
    roots = WEIGHTS.sqrt()
    return with_spectrum(values) * roots / roots[:, None]


def test_conjugate_gradients_work_in_the_space_that_they_are_given() -> None:
    """Three eigenvalues, three steps; with the plain inner product the operator is not even symmetric."""
    matrix, b = self_adjoint(torch.tensor([1.0, 3.0, 10.0] * 10, dtype=F64)), vector(30)

    def solved(space: Space, max_iterations: int = 30) -> Iterations:
        return conjugate_gradients(
            lambda z: matrix @ z,
            b,
            preconditioner=lambda r: r,
            enough=lambda z, residual, rho: rho <= 1e-20 * WEIGHTED.dot(b, b),
            max_iterations=max_iterations,
            space=space,
        )

    assert solved(WEIGHTED).converged and solved(WEIGHTED).count == 3
    assert_close(solved(WEIGHTED).solution, torch.linalg.solve(matrix, b), 1e-9)
    assert not (solved(linalg.PARAMETERS).converged and solved(linalg.PARAMETERS).count <= 3)
    short = solved(WEIGHTED, 2)
    left = WEIGHTED.norm(b - matrix @ short.solution) / WEIGHTED.norm(b)
    assert short.relative_residual == pytest.approx(left, rel=1e-9)


def test_lanczos_works_in_the_space_that_it_is_given() -> None:
    values = torch.linspace(1.0, 2.0, 30, dtype=F64)
    matrix = self_adjoint(values)
    ends = lanczos_extremes(lambda v: matrix @ v, vector(30), space=WEIGHTED)
    assert ends == pytest.approx((2.0, 1.0), rel=1e-9)
    assert lanczos_extremes(lambda v: matrix @ v, vector(30)) != pytest.approx((2.0, 1.0), rel=1e-3)
