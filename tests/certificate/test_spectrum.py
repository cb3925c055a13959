"""The spectrum of D and the floors, at three levels, against dense decompositions and least squares."""

import math
from dataclasses import replace

import pytest
import torch
from support.causes import normal
from support.certified import PROBLEMS, tanh_net, weighted, weighted_system, wide
from support.laws import assert_close
from torch import Tensor

import geodescent as gd
from geodescent import Problem
from geodescent._budget import Budget, spending
from geodescent.certificate import certificate_of, spectrum_of

GRAM_ONLY = Budget(spectrum_numbers=0)
PRODUCTS_ONLY = replace(GRAM_ONLY, spectrum_order=0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_spectrum_is_that_of_the_dense_jacobian(name: str) -> None:
    problem = PROBLEMS[name]()
    D, _ = weighted_system(problem)
    sigma = torch.linalg.svdvals(D)
    eps = torch.finfo(problem.theta.dtype).eps
    c = certificate_of(problem)
    kept = sigma[sigma > max(D.shape) * eps * sigma[0]]
    assert (c.level, c.rank, c.rcond) == ("spectrum", len(kept), pytest.approx(max(D.shape) * eps))
    rel = 1e-10 if problem.theta.dtype == torch.float64 else 1e-5  # the rows are formed from float32 records
    assert c.sigma_max == pytest.approx(float(sigma[0]), rel=rel)
    assert c.sigma_min == pytest.approx(float(kept[-1]), rel=rel)
    assert c.condition == pytest.approx(float(sigma[0] / kept[-1]), rel=rel)
    assert c.resolution == pytest.approx(max(D.shape) * eps * float(sigma[0]), rel=rel)


@pytest.mark.parametrize("name", PROBLEMS)
def test_floor_is_the_least_squares_residual(name: str) -> None:
    problem = PROBLEMS[name]()
    D, r = weighted_system(problem)
    c = certificate_of(problem)
    step = torch.linalg.lstsq(D, r[:, None], rcond=c.rcond, driver="gelsd").solution[:, 0]
    expected = float((r - D @ step).square().sum()) / (2.0 * problem.n_samples)
    assert c.floor == pytest.approx(expected, rel=1e-9, abs=1e-25)
    assert (c.floor == 0.0) == (c.rank == problem.n_residuals)
    assert c.cost == pytest.approx(float(r.square().sum()) / (2.0 * problem.n_samples), rel=1e-6)


@pytest.mark.parametrize("name", ["wide", "narrow", "repeated", "weighted"])
def test_gram_level_agrees_with_the_dense_one_and_states_its_resolution(name: str) -> None:
    problem = PROBLEMS[name]()
    full = certificate_of(problem)
    with spending(GRAM_ONLY):
        c = certificate_of(problem)
    n = min(problem.n_residuals, problem.n_params)
    assert (c.level, c.rank) == ("spectrum", full.rank)
    assert c.resolution == pytest.approx(math.sqrt(n * 2.0**-52) * full.sigma_max, rel=1e-9)
    assert c.rcond == pytest.approx(math.sqrt(n * 2.0**-52))
    assert c.sigma_max == pytest.approx(full.sigma_max, rel=1e-12)
    assert c.sigma_min == pytest.approx(full.sigma_min, rel=1e-4)
    assert c.floor == pytest.approx(full.floor, rel=1e-8)
    assert (c.floor == 0.0) == (c.rank == problem.n_residuals)
    assert c.margin == (None if full.margin is None else pytest.approx(full.margin, rel=1e-3))


def test_gram_level_gives_a_smallest_sigma_near_its_resolution_as_a_bound() -> None:
    X = normal(20, 3)
    X[7] = X[2] + 3e-7
    problem = Problem.of(tanh_net(3, 30, 2), X, normal(20, 2, seed=1))
    full = certificate_of(problem)
    with spending(GRAM_ONLY):
        c = certificate_of(problem)
    assert full.rank == 40 and not full.sigma_min_is_bound
    assert c.sigma_min_is_bound and "≤" in str(c)


@pytest.mark.parametrize(("smallest", "bound"), [(1e-5, False), (4e-7, True)])
def test_gram_level_vouches_for_no_sigma_within_ten_resolutions(smallest: float, bound: bool) -> None:
    """Of full rank both times: the resolution is 9e-8 of the largest."""
    left, right = (torch.linalg.qr(normal(k, k, seed=k)).Q for k in (40, 60))
    sigma = torch.cat([torch.ones(39, dtype=torch.float64), torch.tensor([smallest], dtype=torch.float64)])
    with spending(GRAM_ONLY):
        spectrum = spectrum_of(gd.MatrixJacobian(left @ (sigma[:, None] * right[:40])), normal(40))
    assert (spectrum.rank, spectrum.sigma_min_is_bound) == (40, bound)
    assert spectrum.sigma_min == pytest.approx(smallest, rel=0.1)


def test_no_cut_resolves_what_rounding_of_d_hides() -> None:
    c = certificate_of(wide(), rcond=0.0)
    assert c.rcond == 0.0 and c.resolution == pytest.approx(182 * 2.0**-52 * c.sigma_max, abs=0.0)


LARGER = {  # than the 40 vectors of Lanczos
    "wide": lambda: wide(60),
    "narrow": lambda: Problem.of(tanh_net(3, 10, 2), normal(60, 3), normal(60, 2, seed=1)),
    "weighted": lambda: weighted(60),
}


@pytest.mark.parametrize("name", LARGER)
def test_lanczos_level_bounds_the_spectrum(name: str) -> None:
    problem = LARGER[name]()
    assert min(problem.n_residuals, problem.n_params) > 40
    full = certificate_of(problem)
    with spending(PRODUCTS_ONLY):
        c = certificate_of(problem, target_cost=1e-6)
    assert (c.level, c.rank, c.floor, c.margin) == ("bounds", None, None, None)
    assert c.sigma_max == pytest.approx(full.sigma_max, rel=1e-6)
    assert c.sigma_max <= full.sigma_max * (1 + 1e-12)
    assert c.sigma_min_is_bound and c.sigma_min >= full.sigma_min * (1 - 1e-9)
    assert c.stopping_time is None and "too large to be diagonalised" in c.reason
    assert c.guaranteed is (False if name == "narrow" else None)


def test_without_memory_for_d_the_spectrum_comes_of_the_gram_matrix_or_not_at_all() -> None:
    jacobian, r = gd.MatrixJacobian(normal(40, 152)), normal(40)
    with spending(Budget(free_bytes=8 * 4 * 40 * 152)):  # the four matrices that a decomposition takes, but no more
        c = spectrum_of(jacobian, r)
    assert (c.level, c.rcond) == ("spectrum", pytest.approx(math.sqrt(40 * 2.0**-52)))
    with spending(Budget(free_bytes=0)):
        c = spectrum_of(jacobian, r)
    assert c.level == "not computed" and "40 vectors of 40 numbers do not fit" in c.reason


def hidden_loss(n: int) -> Tensor:
    """A triangle of ones on the diagonal and −1 above it: σ_min is near 2^−n and no pivot shows it."""
    return torch.eye(n, dtype=torch.float64) - torch.ones(n, n, dtype=torch.float64).triu(1)


MATRICES = {
    "wide": normal(7, 60),
    "tall": normal(60, 7),
    "square": normal(8, 8),
    "one row": normal(1, 5),
    "one column": normal(5, 1),
    "repeated rows": normal(5, 40)[[0, 1, 2, 3, 4, 0, 1]],
    "repeated columns": normal(40, 5)[:, [0, 1, 2, 3, 4, 0, 1]],
    "low rank": normal(9, 4) @ normal(4, 11, seed=1),
    "hidden loss": hidden_loss(60),
    "hidden loss, transposed": hidden_loss(60).T,
    "hidden loss, wide": torch.cat([hidden_loss(60), torch.zeros(60, 3)], 1),
    "nothing": torch.zeros(4, 6, dtype=torch.float64),
}


@pytest.mark.parametrize("kind", ["matrix", "pair of functions"])
@pytest.mark.parametrize("name", MATRICES)
def test_the_spectrum_of_d_is_that_of_its_singular_values(name: str, kind: str) -> None:
    """Full rank; a loss that a pivot of the QR shows; and one that no pivot shows."""
    matrix = MATRICES[name].contiguous()
    products = (lambda v: matrix @ v, lambda u: matrix.T @ u)
    r = normal(len(matrix), seed=3)
    m, k = matrix.shape
    jacobian = gd.MatrixJacobian(matrix) if kind == "matrix" else gd.MatrixJacobian(products, shape=(m, k))
    spectrum = spectrum_of(jacobian, r)
    u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
    keep = sigma > spectrum.rcond * sigma[0]
    u, vh, kept = u[:, keep], vh[keep], sigma[keep]
    assert (spectrum.rank, spectrum.level) == (int(keep.sum()), "spectrum")
    assert spectrum.sigma_max == pytest.approx(float(sigma[0]))
    assert spectrum.sigma_min == (pytest.approx(float(kept[-1])) if len(kept) else None)
    assert_close(spectrum.velocity, -(vh.T @ ((u.T @ r) / kept)), 1e-10)
    assert_close(spectrum.reachable, u @ (u.T @ r), 1e-10)


def test_products_with_a_matrix_of_zeros_show_rank_zero() -> None:
    with spending(PRODUCTS_ONLY):
        spectrum = spectrum_of(gd.MatrixJacobian(torch.zeros(50, 60, dtype=torch.float64)), normal(50))
    assert (spectrum.level, spectrum.rank, spectrum.sigma_max) == ("bounds", 0, 0.0)
