"""Solves below what G resolves: by two factors, as exact as the singular values."""

import math

import pytest
import torch
from support.laws import assert_close
from support.small_nets import at, smooth
from torch import Tensor

import geodescent as gd
from geodescent.lift import PRODUCT_DAMPING, TwoFactors

F64 = torch.float64


def graded(m: int, k: int) -> tuple[gd.MatrixJacobian, Tensor, Tensor, Tensor]:
    """A Jacobian of singular values 1 … 1e-13 and its singular vectors."""
    n = min(m, k)
    left, right = (torch.linalg.qr(torch.randn(size, n, dtype=F64)).Q for size in (m, k))
    values = torch.logspace(0, -13, n, dtype=F64)
    return gd.MatrixJacobian(left @ torch.diag(values) @ right.T), left, values, right


@pytest.mark.parametrize(("m", "k"), [(30, 80), (80, 30), (40, 40)])
@pytest.mark.parametrize("damping", [1e-14, 1e-18, 1e-22])
def test_two_factors_solve_as_the_singular_values_do(m: int, k: int, damping: float) -> None:
    jacobian, left, values, right = graded(m, k)
    lift = gd.GramLift() if m <= k else gd.NormalLift()
    v = left @ (values * torch.randn(len(values), dtype=F64))  # what D can reach, as a residual's smooth part
    expected = right @ (values / (values**2 + damping) * (left.T @ v))
    velocity = lift.prepare(jacobian).lift(v, damping=damping).velocity
    assert_close(velocity, expected, 1e-3)


def test_g_alone_could_not() -> None:
    """The same by one Cholesky factor of G misses by orders of magnitude: the test above is about something."""
    jacobian, left, values, right = graded(30, 80)
    damping = 1e-22
    v = left @ (values * torch.randn(len(values), dtype=F64))
    expected = right @ (values / (values**2 + damping) * (left.T @ v))
    gram = jacobian.gram() + 1e-16 * torch.eye(30, dtype=F64)
    naive = jacobian.rmv(torch.linalg.solve(gram, v))
    assert float((naive - expected).norm() / expected.norm()) > 0.1


def test_a_product_that_is_not_finite_has_no_factors() -> None:
    jacobian, *_ = graded(5, 8)
    assert TwoFactors.of(jacobian, torch.full((5, 5), math.nan, dtype=F64), wide=True) is None


def test_the_routes_meet_where_they_change() -> None:
    here = at(*smooth(30, width=40))
    border = PRODUCT_DAMPING * here.total_square
    above, below = (here.prepared.lift(-here.residual, damping=f * border).misfit for f in (1.001, 0.999))
    assert_close(above, below, 1e-2)
