"""A deadline: who looks at it, by which of its four ways, and that it never holds longer than the one around it."""

import math
import time

import pytest
import torch

from geodescent._deadline import (
    LINEARISATION,
    Allowance,
    OutOfTime,
    has_deadline,
    in_time,
    is_affordable,
    left_out,
    measuring,
    require_time,
    reserving,
    seconds_left,
    seconds_of,
    unhurried,
    within,
)
from geodescent.linalg import conjugate_gradients, eigh, lsmr


def test_without_a_deadline_nothing_is_cut() -> None:
    require_time("anything", flops=1e30)
    assert in_time(1e30, "anything") and not Allowance(0.0).is_spent and not has_deadline()
    with within(None):
        require_time("anything", flops=1e30)
        assert not has_deadline() and left_out() is None


def test_what_is_cut_is_said_once_with_the_way_out() -> None:
    with within(0.0, remedy="wait longer."):
        for _ in range(2):
            with pytest.raises(OutOfTime, match="in a step"):
                require_time("a step")
        assert not in_time(1.0, "the margin")
        assert left_out() == "There was no time left for a step and the margin; wait longer."
        assert left_out(time_is_said=True) == "There was no time left for the margin."


def test_an_inner_deadline_is_never_later_and_each_has_its_own_notes() -> None:
    with within(0.1) as outer, within(1e3) as inner:
        assert inner.at == outer.at and seconds_left() <= 0.1
        in_time(1e30, "something")
        assert outer.left_out == [] and inner.left_out == ["something"]
    with within(1e3), within(0.1):
        assert seconds_left() <= 0.1


def test_time_is_reserved_inside_the_block_alone() -> None:
    with within(100.0):
        with reserving(60.0):
            assert 39.0 < seconds_left() <= 40.0
        assert seconds_left() > 99.0
        with unhurried():
            assert math.isinf(seconds_left())
        assert seconds_left() <= 100.0
    with reserving(60.0):
        assert math.isinf(seconds_left())


def test_a_share_of_the_time_bounds_measured_work() -> None:
    with within(100.0):
        with measuring(LINEARISATION, torch.device("cpu")):
            time.sleep(0.02)
        assert 0.02 <= seconds_of(LINEARISATION) < 1.0
        assert is_affordable(linearisations=1.0, share=0.1) and not is_affordable(linearisations=1e4)
        assert left_out() is None  # another way is taken, and nothing is left out


def test_iterations_are_cut_with_what_they_came_to() -> None:
    """The last iterate, not that of the least residual: what conjugate gradients lower is φ."""
    matrix = torch.diag(torch.logspace(0, -8, 200, dtype=torch.float64))
    b = torch.ones(200, dtype=torch.float64)

    def slow(z: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01)
        return matrix @ z

    with within(0.2):
        cut = conjugate_gradients(slow, b, preconditioner=torch.clone, enough=lambda *_: False, max_iterations=10**6)
        assert cut.cut and not cut.converged and 0 < cut.count < 20
    with within(0.2):
        short = lsmr(slow, slow, b, tol=0.0, max_iterations=10**6)
        assert short.cut and not short.converged and 0 < short.count < 20
    with within(1e-3), pytest.raises(OutOfTime, match="an eigendecomposition"):
        eigh(matrix)
    same = conjugate_gradients(
        lambda z: matrix @ z, b, preconditioner=torch.clone, enough=lambda *_: False, max_iterations=cut.count
    )
    phi = [float(0.5 * z @ (matrix @ z) - b @ z) for z in (cut.solution, same.solution)]
    assert phi[0] <= phi[1] and not same.cut
