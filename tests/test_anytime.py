"""How curves of cost against time are compared in benchmarks/anytime.py: step functions with known answers."""

import math
import random
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CURVES: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "anytime_curves.py"))
area, at, behind, envelope, falling, middle = (
    CURVES[name] for name in ("area", "at", "behind", "envelope", "falling", "middle")
)
Curve = list[tuple[float, float]]


def drawn(seed: int) -> Curve:
    """Twelve points, the first at time 0."""
    draw = random.Random(seed)
    points = [(draw.uniform(1.0, 900.0), 10.0 ** draw.uniform(-8.0, 2.0)) for _ in range(12)]
    return falling([(0.0, 1e3), *points])


def test_a_curve_is_the_least_cost_so_far() -> None:
    curve = falling([(2.0, 5.0), (0.0, 9.0), (1.0, math.nan), (3.0, 7.0), (4.0, 1.0)])
    assert curve == [(0.0, 9.0), (2.0, 5.0), (4.0, 1.0)]
    assert [at(curve, time) for time in (-1.0, 0.0, 1.9, 2.0, 99.0)] == [math.inf, 9.0, 9.0, 5.0, 1.0]


@pytest.mark.parametrize(("combined", "of_costs"), [(envelope, min), (middle, lambda costs: sorted(costs)[1])])
def test_three_curves_are_combined_at_every_time(
    combined: Callable[[list[Curve]], Curve], of_costs: Callable[[list[float]], float]
) -> None:
    curves = [drawn(seed) for seed in range(3)]
    one = combined(curves)
    for time in (0.0, *(0.7 * 1.3**k for k in range(30))):
        assert at(one, time) == of_costs([at(curve, time) for curve in curves])


def test_a_tenth_of_the_cost_is_one_decade() -> None:
    theirs = drawn(0)
    ours = [(time, cost / 10.0) for time, cost in theirs]
    assert area(ours, theirs, 30.0, 480.0) == pytest.approx(1.0)
    assert area(theirs, ours, 30.0, 480.0) == pytest.approx(-1.0)


def test_the_area_is_the_mean_over_the_logarithm_of_time() -> None:
    ours, theirs, steps = drawn(1), drawn(2), 4_000
    middles = [30.0 * 16.0 ** ((k + 0.5) / steps) for k in range(steps)]
    by_hand = sum(math.log10(at(theirs, time) / at(ours, time)) for time in middles) / steps
    bound = 24 * 10.0 / steps  # in each of at most 24 cells in which a curve falls, by at most ten decades
    assert area(ours, theirs, 30.0, 480.0) == pytest.approx(by_hand, abs=bound)


def test_we_are_behind_on_the_stretches_on_which_ours_costs_more() -> None:
    theirs = [(0.0, 8.0), (40.0, 2.0), (50.0, 1.9), (200.0, 0.1)]
    ours = [(0.0, 8.0), (35.0, 4.0), (60.0, 1.0), (300.0, 0.102)]
    assert behind(ours, theirs, 30.0, 480.0) == [(40.0, 60.0), (200.0, 300.0)]  # 2 % is within the thinning
    assert behind(theirs, ours, 30.0, 480.0) == [(35.0, 40.0), (60.0, 200.0)]
    assert behind(ours, ours, 30.0, 480.0) == []
