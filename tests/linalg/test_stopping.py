"""Where iterative solves stop: every rule against its definition."""

import math
from collections.abc import Sequence

import pytest
import torch
from support.matrices import F64, vector
from torch import Tensor

from geodescent import linalg
from geodescent.linalg import SEEN, STEP_ITERATIONS, Iterations, Pace, conjugate_gradients, gap_test, residual_test


@pytest.mark.parametrize("damping", [1e-1, 1e-4])
def test_the_pace_ends_a_solve_where_a_new_step_would_bring_more(damping: float) -> None:
    """φ at the end, from its definition: more iterations bring less each than all did with the step's own price."""
    wide = vector(40 * 60).view(40, 60) @ torch.diag(0.5 ** torch.arange(60, dtype=F64))
    v, normal = vector(40, 5), wide.T @ wide + damping * torch.eye(60, dtype=F64)

    def solved(count: int | None) -> Iterations:
        enough = Pace(wide.T @ v, float(v @ v)) if count is None else lambda x, r, rho: False
        b, most = wide.T @ v, 200 if count is None else count
        return conjugate_gradients(
            lambda x: normal @ x, b, preconditioner=lambda r: r, enough=enough, max_iterations=most
        )

    def fall(x: Tensor) -> float:
        return math.log(float(v @ v) / float((wide @ x - v).square().sum() + damping * x.square().sum()))

    count = solved(None).count
    falls = [0.0, *(fall(solved(k).solution) for k in range(1, count + 1))]
    assert solved(None).converged and count > 2
    assert_pace(falls, count)


def assert_pace(falls: Sequence[float], count: int) -> None:
    """Of all iterations after the first few, this one is the first whose window brings less than the whole step."""
    for end in range(1, count + 1):
        width = 2 + end // 4
        if end > width:
            recent = (falls[end] - falls[end - width]) / width
            assert (recent <= falls[end] / (end + STEP_ITERATIONS)) is (end == count), end


def stop(pace: Pace, falls: Sequence[float]) -> int:
    """Where the pace stops a solve whose ln φ falls like this; φ(0) = 1 and b = 1."""
    nothing = torch.zeros(1, dtype=F64)
    for count, fall in enumerate(falls):
        if pace(torch.tensor([-math.expm1(-fall)], dtype=F64), nothing, 1.0):
            return count
    return len(falls)


def pace(**options: float) -> Pace:
    return Pace(torch.ones(1, dtype=F64), 1.0, **options)


def test_the_pace_stops_a_fall_that_levels_off() -> None:
    falls = [3.0 * (1.0 - 0.9**k) for k in range(100)]
    count = stop(pace(), falls)
    assert 10 < count < 60
    assert_pace(falls, count)


def test_the_pace_goes_on_while_the_fall_is_even() -> None:
    assert stop(pace(), [0.1 * k for k in range(100)]) == 100


def test_the_pace_concludes_nothing_from_what_is_hardly_a_fall() -> None:
    """Below `SEEN` a solve has shown nothing; a fall that comes late is waited for."""
    asleep = pace()
    assert not asleep.seen
    assert stop(asleep, [0.9 * SEEN] * 40) == 40 and not asleep.seen
    awake = pace()
    assert stop(awake, [0.0] + [1.1 * SEEN] * 40) == 3 and awake.seen


def test_the_pace_stops_at_a_fall_that_is_enough_after_two_iterations() -> None:
    assert stop(pace(enough=1.0), [0.1 * k for k in range(100)]) == 10
    assert stop(pace(enough=1.0), [0.0, 5.0, 10.0, 15.0]) == 2
    assert stop(pace(enough=0.0), [0.6 * SEEN * k for k in range(100)]) == 2


def test_the_pace_knows_phi_of_any_point() -> None:
    """`φ(x) = ‖v‖² − ⟨x, b⟩ − ⟨x, ρ⟩`, also where x is no iterate from zero and not orthogonal to its residual."""
    wide, v, damping = vector(12).view(3, 4), vector(3, 5), 0.3
    b = wide.T @ v
    x = 0.3 * b * float(b @ b) / float((wide @ b).square().sum())
    residual = b - wide.T @ (wide @ x) - damping * x
    phi = float((wide @ x - v).square().sum() + damping * x.square().sum())
    fall = math.log(float(v @ v) / phi)
    assert fall > 0.1 and abs(float(x @ residual)) > 0.1 * abs(float(x @ b))
    for share, stops in ((0.999, True), (1.001, False)):
        rule = Pace(b, float(v @ v), enough=share * fall)
        assert [rule(x, residual, 1.0) for _ in range(3)] == [False, False, stops]


def test_the_pace_stops_where_rounding_made_phi_negative() -> None:
    assert pace()(torch.tensor([1.5], dtype=F64), torch.zeros(1, dtype=F64), 1.0)


def test_conjugate_gradients_know_how_far_they_are_from_the_least_damped_misfit() -> None:
    """The duality gap of `‖Bv − b‖² + μ‖v‖²` at v = Bᵀz is the square of the residual; both tests hold at the stop."""
    wide, b, damping, slack = vector(12 * 20).view(12, 20), vector(12, 5), 0.3, 0.1

    def left(v: Tensor) -> float:
        return float((wide @ v - b).square().sum() + damping * v.square().sum())

    damped = wide @ wide.T + damping * torch.eye(12, dtype=F64)
    solved = conjugate_gradients(
        lambda z: damped @ z,
        b,
        preconditioner=lambda r: r,
        enough=gap_test(b, damping=damping, slack=slack),
        max_iterations=50,
    )
    residual = float((b - damped @ solved.solution).norm())
    value, least = left(wide.T @ solved.solution), left(wide.T @ torch.linalg.solve(damped, b))
    assert solved.converged and 0 < solved.count < 12
    assert 0.0 <= value - least <= residual**2
    assert residual <= slack * math.sqrt(min(value, float(b @ b) - value)) * (1.0 + 1e-9)


@pytest.mark.parametrize("size", [0.02, 1.0])
def test_the_gap_is_held_against_the_smaller_of_what_is_left_and_what_is_gained(size: float) -> None:
    """Of any z, near zero, where little is gained, and near the solution, where little is left."""
    wide, b, damping = vector(12 * 20).view(12, 20), vector(12, 5), 0.3
    damped = wide @ wide.T + damping * torch.eye(12, dtype=F64)
    z = size * torch.linalg.solve(damped, b) + 1e-4 * vector(12, 7)
    residual, velocity = b - damped @ z, wide.T @ z
    left = float((wide @ velocity - b).square().sum() + damping * velocity.square().sum())
    gain = float(b @ b) - left
    assert (gain < left) is (size < 0.5)
    slack = float(residual.norm()) / math.sqrt(min(left, gain))
    assert gap_test(b, damping=damping, slack=1.001 * slack)(z, residual, 1.0)
    assert not gap_test(b, damping=damping, slack=0.999 * slack)(z, residual, 1.0)


def test_a_residual_is_small_against_b_or_within_what_is_allowed() -> None:
    b = torch.tensor([3.0, 4.0], dtype=F64)
    for tol, within, limit in ((0.1, 0.0, 0.5), (0.1, 2.0, 2.0), (0.1, 0.2, 0.5)):
        enough = residual_test(b, tol=tol, within=within)
        sizes = [0.99 * limit, 1.01 * limit]
        assert [enough(b, torch.tensor([0.0, size], dtype=F64), 1.0) for size in sizes] == [True, False]


def test_a_fall_is_measured_from_the_first_residual() -> None:
    enough = linalg.fall_test(1e-2)
    nothing = torch.zeros(1, dtype=F64)
    assert [enough(nothing, nothing, rho) for rho in (50.0, 10.0, 0.6, 0.4)] == [False, False, False, True]


def test_either_rule_is_enough() -> None:
    nothing = torch.zeros(1, dtype=F64)
    rule = linalg.either(lambda z, residual, rho: rho < 1.0, lambda z, residual, rho: rho > 3.0)
    assert [rule(nothing, nothing, rho) for rho in (0.5, 2.0, 3.5)] == [True, False, True]
