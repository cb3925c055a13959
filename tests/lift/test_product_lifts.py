"""Damped solves below what a factor of G or DᵀD resolves, and rough ones."""

import math

import pytest
from support.laws import assert_close
from support.lifts import energy_of, oracle
from support.matrices import graded, vector
from torch import Tensor

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.jacobian import MatrixJacobian
from geodescent.lift import (
    FULL,
    LEAST_FACTOR,
    PRODUCT_DAMPING,
    ROUGH,
    Lift,
    Lifted,
    Prepared,
    RefinedFactor,
    TwoFactors,
)
from geodescent.linalg import CholeskyFactor

both_sides = pytest.mark.parametrize("wide", [True, False], ids=["gram", "normal"])


def problem(wide: bool, decades: float = 7.0) -> tuple[MatrixJacobian, Tensor, Tensor]:
    """D, wide or tall, with singular values down to 10^−decades of the largest, and a velocity."""
    dense = graded(40, 60, decades) if wide else graded(60, 40, decades)
    return MatrixJacobian(dense), dense, vector(len(dense), 5)


def lift_of(wide: bool) -> Lift:
    return gd.GramLift() if wide else gd.NormalLift()


def prepared(wide: bool, decades: float = 7.0) -> tuple[Prepared, Tensor, Tensor]:
    jacobian, dense, v = problem(wide, decades)
    return lift_of(wide).prepare(jacobian), dense, v


@both_sides
@pytest.mark.parametrize("relative", [1e-14, 1e-15])
def test_a_factor_refined_with_b_is_as_accurate_as_singular_values(wide: bool, relative: float) -> None:
    """Spectrum down to 1e-7 of σ_max, so that G resolves nothing at its end; μ below what a factor of G resolves."""
    jacobian, dense, v = problem(wide)
    product = dense @ dense.T if wide else dense.T @ dense
    trace = float(product.diagonal().sum())
    damping = relative * trace
    refined = RefinedFactor.of(jacobian, product, damping=damping, trace=trace, wide=wide)
    assert refined is not None
    velocity, misfit = refined.lift(v)
    assert_close(velocity, oracle(dense, v, damping), 1e-6)
    assert_close(misfit, dense @ velocity - v, 1e-9)


@both_sides
@pytest.mark.parametrize("relative", [1e-6, 1e-12, 1.01e-13, 1e-14, 1e-15])
def test_a_rough_solve_has_a_few_digits(wide: bool, relative: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of θ̇, by fewer solves with the factor; that of DᵀD is refined all the same, unless it is refined with B."""
    ready, _, v = prepared(wide)
    damped, solve, counts = ready.damped(relative * ready.mean_square * len(v)), CholeskyFactor.solve, list[int]()

    def counted(self: CholeskyFactor, b: Tensor) -> Tensor:
        counts[-1] += 1
        return solve(self, b)

    monkeypatch.setattr(CholeskyFactor, "solve", counted)
    velocities = []
    for goal in (FULL, ROUGH):
        counts.append(0)
        velocities.append(damped.lift(v, goal).velocity)
    exact, rough = velocities
    assert float((rough - exact).norm() / exact.norm()) < 1e-2
    assert counts[1] < counts[0] or (counts[1] == counts[0] and not wide and relative > 1e-13)


@both_sides
@pytest.mark.parametrize("relative", [2.0 * PRODUCT_DAMPING, 0.5 * PRODUCT_DAMPING, 1e-18, 1e-22])
def test_dampings_far_below_rounding_of_the_product_are_answered_through_d(wide: bool, relative: float) -> None:
    """One factor, one refined with B, or two of them: the share of the energy that is left is the least."""
    ready, dense, v = prepared(wide, 12.0 if relative < 1e-17 else 6.0)
    damping = relative * ready.mean_square * len(v)
    lifted = ready.damped(damping).lift(v)
    misfit = dense @ lifted.velocity - v
    assert float((lifted.misfit - misfit).norm()) <= 1e-5 * float(v.norm())
    least = energy_of(Lifted(oracle(dense, v, damping), dense @ oracle(dense, v, damping) - v), damping)
    assert energy_of(Lifted(lifted.velocity, misfit), damping) <= least * (1.0 + 1e-6)


def test_modes_below_the_factor_ask_for_two_factors() -> None:
    """Half of the spectrum far below δ: no answer by one factor, the lift gives that of two and keeps to it."""
    jacobian, dense, v = problem(wide=True, decades=12.0)
    ready, product = gd.GramLift().prepare(jacobian), dense @ dense.T
    trace = float(product.diagonal().sum())
    damping = 1e-20 * trace
    assert RefinedFactor.of(jacobian, product, damping=damping, trace=trace, wide=True) is None
    lifted = ready.damped(damping).lift(v)
    assert ready.too_low == pytest.approx(LEAST_FACTOR * trace) and ready.refined(damping) is None
    two = TwoFactors.of(jacobian, product, wide=True).damped(damping).lift(v)
    assert_close(lifted.velocity, two[0], 1e-9)


@both_sides
@pytest.mark.parametrize("relative", [1e-6, 1e-12, 1e-16])
def test_two_factors_are_as_accurate_as_singular_values(wide: bool, relative: float) -> None:
    jacobian, dense, v = problem(wide)
    product = dense @ dense.T if wide else dense.T @ dense
    damping = relative * float(product.diagonal().sum())
    first = TwoFactors.of(jacobian, product, wide=wide)
    velocity, misfit = first.damped(damping).lift(v)
    assert_close(velocity, oracle(dense, v, damping), 1e-6)
    assert_close(misfit, dense @ velocity - v, 1e-9)
    assert TwoFactors.of(jacobian, product * math.nan, wide=wide) is None


@both_sides
def test_where_d_does_not_fit_twice_its_product_alone_answers(wide: bool) -> None:
    """Then less damping than a factor of A has is not offered; where it is asked for, A answers as well as it can."""
    dense = graded(40, 600, 12.0) if wide else graded(600, 40, 12.0)
    v, trace = vector(len(dense)), float(dense.square().sum())
    roomy = lift_of(wide).prepare(MatrixJacobian(dense))
    with spending(Budget(free_bytes=int(8 * 2 * dense.numel() / 0.6) - 10, rows_numbers=dense.numel() // 6)):
        short = lift_of(wide).prepare(MatrixJacobian(dense))
        assert short.least_damping == pytest.approx(LEAST_FACTOR * trace)
        through_product = short.damped(1e-22 * trace).lift(v)
    assert roomy.least_damping < 1e-20 * trace
    through_rows = roomy.damped(1e-22 * trace).lift(v)
    assert through_product.fallback and not through_rows.fallback
    least = energy_of(through_rows, 1e-22 * trace)
    assert least * (1.0 - 1e-9) <= energy_of(through_product, 1e-22 * trace) < float(v @ v)


@both_sides
def test_the_trace_is_that_of_the_whole(wide: bool) -> None:
    """`mean_square` is over the m rows, on the side of θ as well."""
    ready, dense, _ = prepared(wide)
    assert ready.mean_square == pytest.approx(float(dense.square().sum()) / len(dense), rel=1e-12)
    assert ready.exact
