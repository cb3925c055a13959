"""The picture of a solution: what lies outside of a domain stays blank, and curves that rise are explained."""

import math
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch

import geodescent as gd
from geodescent import pde
from geodescent.app.equations import read_example

F64 = torch.float64
SQUARE = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))
FULL = np.linspace(-1.0, 1.0, 101)


@pytest.fixture(autouse=True)
def without_a_screen() -> None:
    matplotlib.use("agg")


def ring(n: int = 500, hole: float = 0.4) -> pde.System:
    """`Δu = 0` in a ring, by points of one's own."""
    torch.manual_seed(0)
    every = 2.0 * torch.rand(3 * n, 2, dtype=F64) - 1.0
    inside = every[(every.norm(dim=1) < 1.0) & (every.norm(dim=1) > hole)][:n]
    angle = torch.arange(60, dtype=F64) / 60.0 * 2.0 * math.pi
    circle = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    terms = [
        pde.Term("laplace", lambda u: u.laplacian, inside),
        pde.Term("outer", lambda u, x, y: u - x * y, circle),
        pde.Term("inner", lambda u: u, hole * circle),
    ]
    return pde.System(pde.mlp(2, [8]), terms, coordinates=("x", "y"))


def square(points: Any) -> pde.System:
    return pde.System(pde.mlp(2, [5]), [pde.Term("a", lambda u: u.xx + u, points)], coordinates=("x", "y"))


def grid() -> torch.Tensor:
    return torch.cartesian_prod(torch.from_numpy(FULL), torch.from_numpy(FULL))


def maps(figure: Any) -> list[np.ndarray]:
    """The values of each map of a picture, blank where they are masked or NaN."""
    above, _ = figure.subfigs
    found = [mesh.get_array() for axes in above.axes for mesh in axes.collections if axes.get_title(loc="left")]
    return [np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel() for values in found]


def test_the_hole_of_a_ring_and_its_outside_are_blank_and_all_of_the_ring_is_drawn() -> None:
    distance = np.hypot(*np.meshgrid(FULL, FULL)).ravel()
    drawn = maps(pde.plot(gd.fit(ring(), max_steps=2, initialise=False)))
    assert len(drawn) == 2
    for values in drawn:
        assert np.isnan(values[(distance < 0.38) | (distance > 1.02)]).all()
        assert np.isfinite(values[(distance > 0.44) & (distance < 0.97)]).mean() > 0.99


def test_the_missing_quarter_of_an_l_is_blank_without_a_reference() -> None:
    system = read_example("l_shape").module.system()
    (values, _), (x, y) = maps(pde.plot(gd.fit(system, max_steps=1, initialise=False))), np.meshgrid(FULL, FULL)
    missing, kept = (x.ravel() > 0.0) & (y.ravel() < 0.0), (x.ravel() < -0.03) | (y.ravel() > 0.03)
    assert np.isnan(values[missing]).mean() > 0.97 and np.isfinite(values[kept]).mean() > 0.99


@pytest.mark.parametrize("rule", [None, "grid", "chebyshev", "sobol", "random"])
@pytest.mark.parametrize("n", [12, 100, 2000])
def test_no_part_of_a_box_is_blank(rule: Any, n: int) -> None:
    assert bool(square(SQUARE.inside(n, rule)).covers(SQUARE.inside(2000, "random", seed=9).points).all())
    crowded = SQUARE.inside(n, crowd={"x": (0.0, 8.0)})
    assert bool(square(crowded).covers(SQUARE.inside(2000).points).all())


@pytest.mark.parametrize("n", [300, 1000, 3000])
def test_points_drawn_at_random_leave_no_holes(n: int) -> None:
    own = torch.cat([SQUARE.inside(n, "random", seed=n).points, SQUARE.sides().points(120).points])
    assert square(own).covers(grid()).double().mean() > 0.998


def test_two_boxes_cover_what_they_fill_and_no_more() -> None:
    left, right = pde.Box(x=(-1.0, 0.0), y=(-1.0, 1.0)), pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
    terms = [pde.Term(name, lambda u: u.xx + u, box.inside(400)) for name, box in (("left", left), ("right", right))]
    covered = pde.System(pde.mlp(2, [5]), terms, coordinates=("x", "y")).covers(grid())
    x, y = grid().T
    assert bool(covered[(x <= 0.0) | (y >= 0.0)].all()) and not bool(covered[(x > 0.2) & (y < -0.2)].any())


def test_a_hole_is_seen_at_all_times_and_points_on_a_line_have_none() -> None:
    at = pde.Box(t=(0.0, 1.0), x=(-1.0, 1.0), y=(-1.0, 1.0)).inside(4000, "sobol").points
    own = at[at[:, 1:].norm(dim=1) > 0.6]
    system = pde.System(pde.mlp(3, [5]), [pde.Term("a", lambda u: u.t + u, own)], coordinates=("t", "x", "y"))
    assert system.covers(torch.tensor([[0.5, 0.0, 0.0], [0.5, 0.8, 0.1]], dtype=F64)).tolist() == [False, True]
    line = torch.linspace(-1.0, 1.0, 30, dtype=F64)[:, None].repeat(1, 2)
    assert bool(square(line).covers(grid()).all())


def test_a_cost_that_rises_on_the_way_is_explained_and_the_returned_point_is_marked() -> None:
    def explained(solution: gd.Solution) -> tuple[str, list[float]]:
        axes = pde.plot(solution).subfigs[1].axes[0]
        marks = [line.get_xdata()[0] for line in axes.lines if line.get_label() == "the best, returned"]
        return axes.get_title(loc="right"), marks

    rising, falling = (gd.fit(ring(100), max_steps=n, initialise=False) for n in (60, 1))
    costs = rising.history["cost"]
    assert (costs[1:] > costs[:-1]).any() and not (falling.history["cost"][1:] > falling.history["cost"][:-1]).any()
    said, marks = explained(rising)
    assert "The cost may rise" in said and marks == [rising.history["step"][int(costs.argmin())]]
    assert rising.cost <= costs.min() * (1.0 + 1e-9) and explained(falling) == ("", [])
