"""Factors of symmetric matrices and of tall ones, against torch.linalg in float64."""

import math

import pytest
import torch
from support.laws import assert_close
from support.matrices import F64, SPECTRUM, rectangular, vector, with_spectrum

from geodescent.linalg import CholeskyFactor, EighFactor, cholesky, definite, eigh, factor, reflected

EPS = torch.finfo(F64).eps


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("damping", [0.0, 1e-3])
def test_both_factors_solve(scale: float, damping: float) -> None:
    matrix, b = with_spectrum(scale * SPECTRUM), torch.stack([vector(12), vector(12, 4)], 1)
    shifted = matrix + scale * damping * torch.eye(12, dtype=F64)
    expected = torch.linalg.solve(shifted, b)
    for factorised in (cholesky(matrix, damping=scale * damping), eigh(matrix, damping=scale * damping)):
        assert factorised is not None and factorised.rank == 12
        assert_close(factorised.solve(b), expected, 1e-9)
        assert_close(factorised.solve(b[:, 0]), expected[:, 0], 1e-9)


@pytest.mark.parametrize("make", [cholesky, eigh], ids=["cholesky", "eigh"])
def test_a_factor_in_single_precision_solves_in_it(make) -> None:
    """Made in double precision and rounded afterwards: μ is kept."""
    matrix, b = with_spectrum(SPECTRUM), vector(12)
    single = make(matrix, damping=1.0).to(torch.float32)
    solution = single.solve(b.float())
    assert solution.dtype == torch.float32
    assert_close(solution.double(), torch.linalg.solve(matrix + torch.eye(12, dtype=F64), b), 1e-5)


def test_cholesky_keeps_its_matrix() -> None:
    matrix = with_spectrum(SPECTRUM)
    before = matrix.clone()
    kept = cholesky(matrix, damping=0.5)
    assert kept is not None and torch.equal(matrix, before)
    assert_close(kept.lower @ kept.lower.T, before + 0.5 * torch.eye(12, dtype=F64), 1e-14)
    pivots = kept.lower.diagonal().square()
    assert kept.pivot_ratio == pytest.approx(float(pivots.min() / pivots.max()))


def test_no_singular_gram_is_trusted() -> None:
    """A Cholesky that succeeds is no proof of rank: 40 Grams with one duplicate sample."""
    succeeded = 0
    for seed in range(40):
        d = torch.randn(30, 60, dtype=F64, generator=torch.Generator().manual_seed(seed))
        d[17] = d[4]
        gram = d @ d.T
        succeeded += int(torch.linalg.cholesky_ex(gram).info == 0)
        assert cholesky(gram) is None
        revealed = factor(gram)
        assert isinstance(revealed, EighFactor) and revealed.rank == 29
        assert bool((definite(gram, damping=0.0).solve(torch.eye(30, dtype=F64)).diagonal() > 0.0).all())
        assert cholesky(gram, damping=1e-3) is not None
    assert succeeded > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_trusted(bad: float) -> None:
    matrix = with_spectrum(SPECTRUM)
    matrix[3, 3] = bad
    assert cholesky(matrix) is None


def test_factor_takes_cholesky_unless_rank_is_asked_for() -> None:
    matrix = with_spectrum(SPECTRUM)
    assert isinstance(factor(matrix), CholeskyFactor)
    cut = factor(matrix, rcond=1e-2)
    assert isinstance(cut, EighFactor) and cut.rank == int(SPECTRUM.gt(1e-4 * SPECTRUM[-1]).sum())


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_eigh_is_the_penrose_inverse_at_its_rank(scale: float) -> None:
    values = torch.cat([torch.zeros(5, dtype=F64), SPECTRUM])
    matrix, b = with_spectrum(scale * values), vector(17)
    kept = eigh(matrix)
    assert kept.rank == 12
    assert kept.resolution == pytest.approx(math.sqrt(17 * EPS * scale * 100.0))
    assert_close(kept.solve(b), torch.linalg.pinv(matrix, rtol=1e-10, hermitian=True) @ b, 1e-7)
    assert_close(kept.project(kept.project(b)), kept.project(b), 1e-12)
    assert_close(matrix @ kept.solve(b), kept.project(b), 1e-8)
    damped = eigh(matrix, damping=scale * 0.1)
    assert_close(matrix @ damped.solve(b) + scale * 0.1 * damped.solve(b), kept.project(b), 1e-10)


def test_eigh_of_zero_has_rank_zero() -> None:
    nothing = eigh(torch.zeros(4, 4, dtype=F64))
    assert nothing.rank == 0 and torch.equal(nothing.solve(vector(4)), torch.zeros(4, dtype=F64))


def test_rcond_is_relative_to_sigma_not_to_its_square() -> None:
    sigma = torch.tensor([1e-3, 1e-2, 1e-1, 1.0], dtype=F64)
    matrix = with_spectrum(sigma.square())
    assert [eigh(matrix, rcond=r).rank for r in (5e-4, 5e-3, 5e-2, 0.5)] == [4, 3, 2, 1]


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_a_damping_below_rounding_is_raised_as_little_as_a_cholesky_needs(scale: float) -> None:
    """Rank 12 of 17: μ far below n·eps·tr A becomes μ + 2n·eps·tr A, and A is seen as it is above that."""
    matrix = with_spectrum(scale * torch.cat([torch.zeros(5, dtype=F64), SPECTRUM]))
    raised = definite(matrix, damping=1e-20 * scale)
    assert isinstance(raised, CholeskyFactor)
    unresolved = 17 * EPS * float(matrix.diagonal().sum())
    added = raised.lower @ raised.lower.T - matrix
    assert_close(added.diagonal(), torch.full((17,), 2.0 * unresolved, dtype=F64), 0.05)
    assert isinstance(definite(matrix, damping=0.1 * scale), CholeskyFactor)


def test_a_definite_factor_of_a_singular_matrix_inverts_where_it_can() -> None:
    """Without damping: the inverse on the range, and at most 1/(n·eps·λ_max), not infinity, off it."""
    vectors = torch.linalg.eigh(with_spectrum(torch.arange(17, dtype=F64))).eigenvectors
    matrix = (vectors[:, 5:] * SPECTRUM) @ vectors[:, 5:].T
    whole = definite(matrix, damping=0.0)
    inside, outside = vectors[:, 5:], vectors[:, :5] @ vector(5)
    assert_close(inside.T @ whole.solve(inside @ vector(12)), vector(12) / SPECTRUM, 1e-6)
    largest = 1.0 / (17 * EPS * float(SPECTRUM[-1]))
    assert float(whole.solve(outside).norm()) == pytest.approx(largest * float(outside.norm()), rel=0.2)
    assert bool(definite(torch.zeros(3, 3, dtype=F64), damping=0.0).solve(vector(3)).isfinite().all())


@pytest.mark.parametrize("shape", [(9, 4), (5, 5), (3, 1)])
def test_reflections_are_the_orthogonal_factor(shape: tuple[int, int]) -> None:
    """`A = Q R` without the entries of Q, `QᵀQ = 1`, and adjoint is the transpose of apply."""
    n, k = shape
    matrix = rectangular(n, k, torch.linspace(1.0, 2.0, k, dtype=F64))
    q = reflected(matrix)
    dense = torch.stack([q.apply(unit) for unit in torch.eye(k, dtype=F64)], 1)
    assert dense.shape == (n, k)
    assert_close(dense @ q.triangle, matrix, 1e-13)
    assert torch.equal(q.triangle, q.triangle.triu())
    assert_close(dense.T @ dense, torch.eye(k, dtype=F64), 1e-13)
    v = vector(n)
    assert_close(q.adjoint(v), dense.T @ v, 1e-13)
