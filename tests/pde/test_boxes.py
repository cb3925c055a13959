"""Points of boxes: they lie where they should, and their weights integrate."""

import math
from typing import Any

import pytest
import torch

import geodescent as gd
from geodescent import pde

BOX = pde.Box(t=(0.0, 2.0), x=(-1.0, 0.5))


def integral(points: pde.Points, values: torch.Tensor) -> float:
    return float(points.volume * (points.weights * values).mean())


@pytest.mark.parametrize("rule", ["grid", "gauss", "sobol", "chebyshev", "random", None])
@pytest.mark.parametrize("n", [1, 7, 100])
def test_points_lie_inside_and_are_no_more_than_were_asked_for(rule: Any, n: int) -> None:
    points = BOX.inside(n, rule)
    assert 0.5 * n < len(points) <= n or (n == 7 and len(points) >= 4)
    assert points.coordinates == ("t", "x") and points.points.dtype == torch.float64
    for column, (low, high) in zip(points.points.T, BOX.intervals.values(), strict=True):
        assert low <= float(column.min()) and float(column.max()) <= high
    assert float(points.weights.mean()) == pytest.approx(1.0, abs=1e-12) and points.volume == pytest.approx(3.0)


def test_gauss_points_integrate_polynomials_exactly() -> None:
    """k points in a coordinate, up to degree 2k − 1."""
    points = BOX.inside(16, "gauss")
    t, x = points.points.T
    exact = (2.0**8 / 8.0) * ((0.5**7 + 1.0) / 7.0)
    assert integral(points, t**7 * x**6) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("rule", "order"), [("grid", 2), ("chebyshev", 2)])
def test_other_rules_converge_with_their_order(rule: Any, order: int) -> None:
    line = pde.Box(x=(0.0, 1.0))
    errors = []
    for n in (20, 40):
        points = line.inside(n, rule)
        errors.append(abs(integral(points, torch.exp(points.points[:, 0])) - (math.e - 1.0)))
    assert errors[1] < errors[0] / 2.0**order * 1.1


@pytest.mark.parametrize("crowd", [{"x": (0.0, 3.0)}, {"x": (0.5, 5.0), "t": (0.0, 2.0)}], ids=str)
def test_crowded_points_lie_closer_there_and_integrate_still(crowd: dict[str, tuple[float, float]]) -> None:
    plain, crowded = BOX.inside(900), BOX.inside(900, crowd=crowd)
    assert integral(crowded, torch.ones(len(crowded))) == pytest.approx(3.0, rel=1e-4)
    assert integral(crowded, crowded.points[:, 1] ** 2) == pytest.approx(2.0 * (0.125 + 1.0) / 3.0, rel=1e-4)
    centre = crowd["x"][0]
    near = [float((p.points[:, 1] - centre).abs().mean()) for p in (plain, crowded)]
    assert near[1] < 0.8 * near[0]


def test_sides_have_as_many_points_each_and_weights_by_their_length() -> None:
    points = BOX.sides().points(40)
    assert len(points) == 40 and points.volume == pytest.approx(2.0 * 2.0 + 2.0 * 1.5)
    on_side = [(points.points[:, k] - at).abs() < 1e-15 for k, ends in enumerate(BOX.intervals.values()) for at in ends]
    assert [int(side.sum()) for side in map(torch.Tensor, on_side)] == [10, 10, 10, 10]
    assert integral(points, torch.ones(40)) == pytest.approx(7.0)
    assert integral(points, points.points[:, 0] ** 2) == pytest.approx(4.0 * 1.5 + 2.0 * 8.0 / 3.0)


def test_a_corner_is_one_point() -> None:
    points = BOX.side(t=0.0, x=-1.0).points(10)
    assert points.points.tolist() == [[0.0, -1.0]] and points.volume == 1.0


def test_points_are_drawn_anew_from_the_same_set() -> None:
    side = BOX.side(x=-1.0).points(9)
    fresh, again, other = side.drawn(50, 1), side.drawn(50, 1), side.drawn(50, 2)
    assert torch.equal(fresh, again) and not torch.equal(fresh, other)
    assert set(fresh[:, 1].tolist()) == {-1.0} and 0.0 <= float(fresh[:, 0].min()) <= float(fresh[:, 0].max()) <= 2.0


@pytest.mark.parametrize("d", [1, 2, 3])
def test_products_of_similar_numbers_are_the_largest_below(d: int) -> None:
    box = pde.Box(**{f"x{k}": (0.0, 1.0) for k in range(d)})
    assert all(0.7 * n <= len(box.inside(n)) <= n for n in (64, 1000, 2560))


def test_columns_follow_the_coordinates_of_the_system() -> None:
    term = pde.Term("sum", lambda u, t, x: u - t, BOX.inside(9))
    outputs = pde.System(pde.mlp(2, [4], 1), [term], coordinates=("x", "t")).problem().blocks[0].map
    assert torch.equal(outputs.points[0], BOX.inside(9).points[:, [1, 0]])
    assert torch.equal(outputs.fresh(3).points[0], BOX.inside(9).drawn(9, 3)[:, [1, 0]])


def test_more_dimensions_take_sobol_points() -> None:
    box = pde.Box(**{f"x{k}": (0.0, 1.0) for k in range(5)})
    assert torch.equal(box.inside(64).points, box.inside(64, "sobol").points) and len(box.inside(77)) == 77


def test_a_box_says_what_it_is() -> None:
    assert repr(BOX) == "Box(t=(0, 2), x=(-1, 0.5))"
    with pytest.raises(gd.InputError, match="a box needs coordinates"):
        pde.Box()
