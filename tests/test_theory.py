"""The formulas of the flow, against each other and against the differential equations they solve."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from geodescent._errors import InputError
from geodescent.theory import predicted_cost, stopping_time


@pytest.mark.parametrize("floor", [0.0, 0.3])
@pytest.mark.parametrize("cost0", [1.0, 7.0, 1e10])
def test_stopping_time_inverts_predicted_cost(cost0: float, floor: float) -> None:
    for target in (0.99 * cost0, 0.5 * cost0, floor + 1e-3, floor + 1e-9):
        time = stopping_time(cost0, target, floor=floor)
        assert predicted_cost(cost0, time, floor=floor) - floor == pytest.approx(target - floor, rel=1e-6)
        assert time > 0.0


def test_predicted_cost_solves_the_equation_of_the_cost() -> None:
    """dC/dτ = −2(C − F), from C₀ at 0 (THEORY 1.5 with P constant)."""
    cost0, floor = 3.0, 0.4
    path = solve_ivp(lambda t, c: -2.0 * (c - floor), (0.0, 4.0), [cost0], method="DOP853", rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(predicted_cost(cost0, path.t, floor=floor), path.y[0], rtol=1e-9)


def test_predicted_cost_is_the_cost_of_a_shrinking_residual() -> None:
    """x − y = e^{−τ}(x₀ − y) halves the logarithm's rate of the cost (THEORY 1.1)."""
    residual, time = np.array([1.0, -2.0, 0.5]), np.linspace(0.0, 3.0, 7)
    costs = [float(np.sum((math.exp(-t) * residual) ** 2) / 6.0) for t in time]
    np.testing.assert_allclose(predicted_cost(costs[0], time), costs, rtol=1e-14)


def test_one_e_fold_of_the_cost_takes_half_a_unit() -> None:
    assert stopping_time(1.0, math.exp(-1.0)) == pytest.approx(0.5)
    assert stopping_time(1.0, 2.0) == 0.0 and stopping_time(1.0, 1.0) == 0.0
    assert predicted_cost(2.0, 0.0) == 2.0


@pytest.mark.parametrize(("target", "floor"), [(0.0, 0.0), (0.1, 0.1), (0.05, 0.1), (-1.0, 0.0)])
def test_targets_not_above_the_floor_are_refused(target: float, floor: float) -> None:
    with pytest.raises(InputError, match=r"is not above the floor .*: no time reaches it"):
        stopping_time(1.0, target, floor=floor)


@pytest.mark.parametrize(("cost0", "target"), [(math.nan, 0.1), (1.0, math.nan), (math.inf, 0.1)])
def test_costs_that_are_no_numbers_are_refused(cost0: float, target: float) -> None:
    with pytest.raises(InputError, match="must be finite"):
        stopping_time(cost0, target)
