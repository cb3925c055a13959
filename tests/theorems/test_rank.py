"""Cuts of the spectrum, and what can be told of rank (1.7).

docs/theory/rank.md says what it means.
"""

import math

import pytest
import torch
from support.laws import assert_close
from support.theorems import F64, Linear, adapted, with_spectrum

import geodescent as gd
from geodescent import linalg


def test_1_7_a_relative_cut_keeps_the_singular_values_above_it() -> None:
    values = torch.tensor([4.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4], dtype=F64)
    rows = with_spectrum(values, 8)
    problem = gd.Problem.of(Linear(8), rows, torch.randn(6, 1, dtype=F64))
    residual = problem.residual(problem.theta)
    _, jacobian = problem.linearise(problem.theta)
    for rcond, rank in [(1e-1, 2), (1e-2, 3), (1e-3, 4), (1e-8, 6)]:
        lifted = gd.GramLift(rcond=rcond).prepare(jacobian).lift(residual, damping=0.0)
        assert lifted.rank == rank
        assert_close(lifted.velocity, torch.linalg.pinv(rows, rtol=rcond) @ residual, 1e-6)
        assert gd.NormalLift(rcond=rcond).prepare(jacobian).lift(residual, damping=0.0).rank == rank
        assert gd.certify(Linear(8), rows, problem.target[:, None], rcond=rcond).rank == rank


def test_1_7_through_the_gram_matrix_nothing_below_its_resolution_is_kept() -> None:
    """`√(m·eps)·σ_max`: eigenvalues of G below m·eps·λ_max are cut, whatever is asked for."""
    rows = with_spectrum(torch.tensor([2.0, 1.0, 1e-1, 1e-12], dtype=F64), 6)
    factor = linalg.eigh(rows @ rows.T, rcond=1e-15)
    assert factor.rank == 3
    assert factor.resolution == pytest.approx(math.sqrt(4 * torch.finfo(F64).eps) * 2.0, rel=1e-6)


def test_1_7_the_penrose_inverse_jumps_where_the_rank_changes() -> None:
    for smallest in (1e-3, 1e-6):
        rows = torch.diag(torch.tensor([1.0, smallest], dtype=F64))
        problem = gd.Problem.of(Linear(2), rows, torch.ones(2, 1, dtype=F64))
        assert float(adapted(problem, problem.theta)[1]) == pytest.approx(1.0 / smallest, rel=1e-9)
    problem = gd.Problem.of(Linear(2), torch.diag(torch.tensor([1.0, 0.0], dtype=F64)), torch.ones(2, 1, dtype=F64))
    assert float(adapted(problem, problem.theta)[1]) == 0.0


def test_1_7_a_cholesky_of_duplicates_is_not_trusted() -> None:
    """40 Grams with one duplicate sample: none passes as full rank, though for some Cholesky itself succeeds."""
    succeeded = 0
    for seed in range(40):
        rows = torch.randn(30, 60, dtype=F64, generator=torch.Generator().manual_seed(seed))
        rows[7] = rows[3]
        gram = rows @ rows.T
        succeeded += int(torch.linalg.cholesky_ex(gram).info) == 0
        assert linalg.factor(gram).rank == 29
    assert succeeded > 0
