"""A certificate with a deadline keeps it where linearisations, forward passes or products are slow."""

import time

import pytest
import torch
from support.causes import normal
from support.given import Given, sines

import geodescent as gd
from geodescent import Problem
from geodescent._deadline import FORWARD_PASS, LINEARISATION, PRODUCT, in_time, left_out, measuring, within
from geodescent.certificate import certificate_of


def problem(**pauses: float) -> Problem:
    return Problem.over(sines(normal(6, 9), **pauses), torch.ones(6).double())


def seconds_of(problem: Problem, allowed: float) -> tuple[float, gd.Certificate]:
    begin = time.perf_counter()
    with within(allowed):
        c = certificate_of(problem, describe_point=True)
    return time.perf_counter() - begin, c


@pytest.mark.slow
@pytest.mark.parametrize("pauses", [{"pause": 0.15}, {"pass_pause": 0.15}, {"pause": 0.15, "pass_pause": 0.15}])
def test_slow_maps_take_one_linearisation_and_one_pass_more_at_most(pauses: dict[str, float]) -> None:
    seconds, c = seconds_of(problem(**pauses), 0.3)
    assert seconds < 0.3 + 0.15 + 0.15 and "There was no time left for" in c.reason
    if "pass_pause" not in pauses:
        assert "the margin" in c.reason and c.margin is None


def test_slow_products_are_measured() -> None:
    matrix = normal(6, 9)

    def slow(v: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return matrix @ v

    jacobian = gd.MatrixJacobian((slow, lambda u: matrix.T @ u), shape=(6, 9))
    given = Given(lambda t: matrix @ t, lambda t: jacobian, torch.zeros(9).double(), 6)
    seconds, c = seconds_of(Problem.over(given, torch.ones(6).double()), 0.2)
    assert seconds < 0.3 and c.level == "not computed" and "bounds of the spectrum" in c.reason


def test_a_slow_critical_point_is_not_described_further() -> None:
    """`A θ²` at θ = 0, where D = 0; the Hessian would take eighteen linearisations."""
    matrix, theta = normal(6, 9), torch.zeros(9, dtype=torch.float64)
    given = Given(lambda t: matrix @ t.square(), lambda t: gd.MatrixJacobian(2.0 * matrix * t), theta, 6, pause=0.05)
    seconds, c = seconds_of(Problem.over(given, torch.ones(6).double()), 0.3)
    assert c.point.kind == "critical" and c.point.saddle is None and seconds < 0.4
    assert "the kind of the critical point" in c.reason


@pytest.mark.slow
def test_a_printed_result_keeps_its_second() -> None:
    solution = gd.fit(problem(pause=0.3), max_steps=1)
    begin = time.perf_counter()
    text = str(solution)
    assert time.perf_counter() - begin < 1.3
    assert "the margin" in " ".join(text.split()) and "gd.certify takes the time it needs" in " ".join(text.split())


def test_certify_with_a_bound_names_a_larger_one_as_the_remedy() -> None:
    reason = gd.certify(problem(pause=0.1), max_seconds=0.1).reason
    assert reason.endswith("; a larger max_seconds computes it.") and "takes the time" not in reason


def test_without_a_bound_all_is_computed_and_nothing_is_measured_twice() -> None:
    slow = sines(normal(6, 9))
    c = gd.certify(Problem.over(slow, torch.ones(6).double()))
    assert c.rank == 6 and c.reason is None
    assert slow.linearisations == 8  # here, for the forecast, and six for the margin


def test_in_time_counts_what_was_measured() -> None:
    assert in_time(1e30, "anything", linearisations=1e9) and left_out() is None
    with within(1.0) as deadline:
        assert in_time(0.0, "unmeasured work", linearisations=1e9)
        for piece in (LINEARISATION, FORWARD_PASS, PRODUCT):
            with measuring(piece, torch.device("cpu")):
                time.sleep(0.01)
        assert set(deadline.seconds) == {LINEARISATION, FORWARD_PASS, PRODUCT}
        assert in_time(0.0, "a few", linearisations=10.0, forward_passes=10.0, products=10.0)
        assert not in_time(0.0, "passes", forward_passes=200.0)
        assert not in_time(0.0, "products", products=200.0)
        assert not in_time(0.0, "linearisations", linearisations=200.0)
        assert not in_time(1e30, "flops")
        assert left_out() == (
            "There was no time left for passes, products, linearisations and flops; gd.certify takes the time it needs."
        )
