"""The picture of a solution: what lies outside of a domain stays blank, and curves that rise are explained."""

import math
import re
from pathlib import Path
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


def rings(radii: torch.Tensor, n_angles: int) -> torch.Tensor:
    angles = torch.arange(n_angles, dtype=F64) / n_angles * 2.0 * math.pi
    return torch.cat([torch.stack([r * torch.cos(angles), r * torch.sin(angles)], 1) for r in radii])


def toward_a_wall() -> torch.Tensor:
    y = torch.cat([torch.zeros(1), torch.logspace(-4.0, math.log10(2.0), 40)]).double() - 1.0
    return torch.cartesian_prod(torch.linspace(-1.0, 1.0, 30, dtype=F64), y)


def toward_a_layer_around_a_hole() -> torch.Tensor:
    x = torch.sinh(4.0 * torch.linspace(-1.0, 1.0, 50, dtype=F64)) / math.sinh(4.0)
    every = torch.cartesian_prod(x, torch.linspace(-1.0, 1.0, 40, dtype=F64))
    return every[torch.hypot(every[:, 0] - 0.5, every[:, 1]) > 0.3]


UNEVEN: dict[str, tuple[torch.Tensor, Any]] = {
    "polar": (rings(torch.arange(1, 21) / 20.0, 60), lambda x, y: torch.hypot(x, y) < 1.0),
    "polar with many angles": (rings(torch.arange(1, 11) / 10.0, 200), lambda x, y: torch.hypot(x, y) < 1.0),
    "polar with a hole": (
        rings(torch.linspace(0.3, 1.0, 20), 60),
        lambda x, y: (torch.hypot(x, y) - 0.65).abs() < 0.35,
    ),
    "few rings": (rings(torch.linspace(0.3, 1.0, 6), 60), lambda x, y: (torch.hypot(x, y) - 0.65).abs() < 0.35),
    "crowded near a wall": (toward_a_wall(), lambda x, _: torch.ones_like(x, dtype=torch.bool)),
    "crowded, with a hole": (toward_a_layer_around_a_hole(), lambda x, y: torch.hypot(x - 0.5, y) > 0.3),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_points_of_uneven_spacing_are_told_from_holes(name: str) -> None:
    own, inside = UNEVEN[name]
    wrong = square(own.double()).covers(grid()) != inside(*grid().T)
    assert wrong.double().mean() < 0.005  # the points of the grid that lie close to a border


def test_where_nothing_is_covered_everything_is_shown() -> None:
    own = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [0.0, 1e-3]], dtype=F64)
    domain, far = square(own).module.domain, grid() + 5.0
    assert not bool(domain.covers(far).any()) and bool(domain.shown(far).all())
    ring_domain = ring().module.domain
    assert torch.equal(ring_domain.shown(grid()), ring_domain.covers(grid()))


@pytest.mark.parametrize("points", [SQUARE.inside(100), torch.cartesian_prod(*[torch.linspace(-1.0, 1.0, 9)] * 2)])
def test_of_a_network_in_float32_the_ends_are_covered_too(points: Any) -> None:
    box = pde.Box(x=(0.0, 0.1), y=(0.3, 0.7))
    own = box.inside(100) if isinstance(points, pde.Points) else points * 0.3 + 0.1
    terms = [pde.Term("a", lambda u: u.xx + u, own)]
    if isinstance(points, pde.Points):
        terms.append(pde.Term("walls", lambda u: u, box.sides().points(40)))
    made = pde.System(pde.mlp(2, [5]).float(), terms, coordinates=("x", "y"))
    (x_low, y_low), (x_high, y_high) = made.ends
    x, y = torch.linspace(float(x_low), float(x_high), 21), torch.linspace(float(y_low), float(y_high), 21)
    assert bool(made.covers(torch.cartesian_prod(x, y)).all())


def test_points_of_many_coordinates_and_of_one_are_covered_in_their_range() -> None:
    own = torch.rand(200, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    term = pde.Term("a", lambda u: u.laplacian + u, own)
    many = pde.System(pde.mlp(4, [5]), [term], coordinates=("a", "b", "c", "d"))
    assert many.covers(np.array([[0.5] * 4, [0.5, 0.5, 0.5, 1.5]])).tolist() == [True, False]
    line = pde.System(pde.mlp(1, [5]), [pde.Term("a", lambda u: u.x + u, own[:, 0])], coordinates="x")
    assert line.covers(torch.tensor([0.5, 2.0])).tolist() == [True, False]
    flat = square(torch.stack([own[:, 0], torch.zeros(200, dtype=F64)], 1))
    assert bool(flat.covers(torch.tensor([[0.5, 1.0]])).all())
    assert [end.tolist()[1] for end in flat.ends] == [-1.0, 1.0]


@pytest.mark.parametrize(
    "points",
    [
        np.array([[0.0, 0.0], [1.0, 0.0]]),
        np.array([[0, 0], [1, 0]]),
        torch.tensor([[0, 0], [1, 0]]),
        [[0, 0], [1, 0]],
        torch.tensor([[0.0, math.nan], [1.0, 0.0]]),
        torch.tensor([[math.inf, 0.0], [1.0, 0.0]], requires_grad=True),
    ],
    ids=["array", "integers of numpy", "integers", "list", "NaN", "infinite"],
)
def test_what_a_ring_covers_is_told_of_all_kinds_of_points(points: Any) -> None:
    assert ring(hole=0.4).covers(points).tolist() == [False, True]
    corner = SQUARE.inside(9, "grid")
    assert bool(square(corner).covers(pde.Box(y=(-0.5, 0.5), x=(-1.0, 1.0)).inside(6)).all())
    assert square(corner).covers(torch.full((1, 2), math.nan)).tolist() == [False]


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (torch.zeros(3), r"system.covers\(points\): its points have shape \(3,\): \(N, 2\) is needed"),
        (torch.zeros(3, 1), r"its points have shape \(3, 1\): \(N, 2\) is needed, a column for each of x, y"),
        (torch.zeros(3, 2).cfloat(), r"its points are torch.complex64: pass real ones, torch.as_tensor\(points\).real"),
        ("here", "its points are a str: pass a tensor"),
        (SQUARE, r"its points are a Box: say how many are taken, box.inside\(1000\)"),
        (pde.Box(x=(0, 1), z=(0, 1)).inside(4), "its points have the coordinates x, z, the system has x, y"),
    ],
)
def test_wrong_points_are_refused_in_a_sentence(points: Any, says: str) -> None:
    with pytest.raises(gd.InputError, match=says):
        square(SQUARE.inside(9)).covers(points)


def test_a_module_that_was_stored_without_a_domain_is_loaded_and_drawn(tmp_path: Path) -> None:
    made = ring(100)
    del made.module.domain
    torch.save(made.module, tmp_path / "fields.pt")
    module = torch.load(tmp_path / "fields.pt", weights_only=False)
    assert torch.equal(module(grid()), made(grid())) and bool(module.domain.shown(grid()).all())
    for values in maps(pde.plot(gd.fit(made, max_steps=1, initialise=False))):
        assert np.isfinite(values).all()


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

    rising, falling = (gd.fit(ring(100), max_steps=n, initialise=False) for n in (25, 1))
    costs = rising.history["cost"]
    assert (costs[1:] > costs[:-1]).any() and not (falling.history["cost"][1:] > falling.history["cost"][:-1]).any()
    said, marks = explained(rising)
    assert "The cost may rise" in said and marks == [rising.history["step"][int(costs.argmin())]]
    assert rising.cost <= costs.min() * (1.0 + 1e-9) and explained(falling) == ("", [])


@pytest.mark.parametrize("shape", [(101 * 101,), (101 * 101, 1), (101 * 101, 3), (7, 2)])
def test_a_reference_of_another_shape_is_refused_in_a_sentence(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    term = pde.Term("both", lambda u, v: (u.laplacian - v, v.laplacian - u), SQUARE.inside(20))
    both = pde.System(pde.mlp(2, [5], 2), [term], coordinates=("x", "y"), fields=("u", "v"))
    solution = gd.fit(both, max_steps=1, initialise=False)
    said = rf"reference\(points\) is torch.float32 of shape {re.escape(str(shape))} for 10201 points: .*\(10201, 2\)"
    with pytest.raises(gd.InputError, match=said):
        pde.plot(solution, lambda points: torch.zeros(shape))
    assert len(maps(pde.plot(solution, lambda points: np.zeros((len(points), 2))))) == 5


def test_names_and_titles_are_legible_and_hide_nothing() -> None:
    names = [*("_wall", "of $x$ and $y", "a_{"), *(f"condition number {k} on the long wall" for k in range(24))]

    def equation(u: Any, a_velocity_of_a_long_name_along_the_wall: Any) -> Any:
        return u.x + a_velocity_of_a_long_name_along_the_wall.y

    terms = [pde.Term(name, equation, SQUARE.inside(9)) for name in names]
    fields = ("u", "a_velocity_of_a_long_name_along_the_wall")
    torch.manual_seed(0)
    made = pde.System(pde.mlp(2, [5], 2), terms, coordinates=("x", "y"), fields=fields)
    figure = pde.plot(gd.fit(made, max_steps=1, initialise=False), lambda points: torch.zeros(len(points), 2))
    figure.canvas.draw()
    (curves,) = figure.subfigs[1].axes
    legend, (x_0, _, x_1, y_1) = curves.get_legend(), figure.bbox.extents
    shown = [text.get_text().strip() for text in legend.get_texts()]
    assert [text.replace("\\$", "$") for text in shown[:3]] == names[:3] and len(shown) == len(names)
    assert len(set(shown)) == len(shown) and max(map(len, shown)) <= 34
    assert len({(line.get_color(), line.get_linestyle()) for line in curves.lines[:24]}) == 24
    box = legend.get_window_extent()
    assert not box.overlaps(curves.get_window_extent()) and box.x1 <= x_1 and box.y0 >= 0.0
    titled = [axes for axes in figure.subfigs[0].axes if axes.get_title(loc="left")]
    ends = [axes._left_title.get_window_extent() for axes in titled]
    assert not any(a.overlaps(b) for k, a in enumerate(ends) for b in ends[:k])
    assert all(x_0 <= end.x0 and end.x1 <= x_1 and end.y1 <= y_1 for end in ends)
    assert titled[-1].get_title(loc="left").strip() == "residual of _wall"
    steps = [tick for tick in curves.get_xticks() if curves.get_xlim()[0] <= tick <= curves.get_xlim()[1]]
    assert all(tick == round(tick) for tick in steps)


def test_the_picture_says_where_the_coordinates_stand_that_it_does_not_draw() -> None:
    box = pde.Box(t=(0.0, 1.0), x=(0.0, 2.0), y=(-1.0, 2.0))
    for names, title in ((("t", "x", "y"), "at y = 0.5"), (("t", "x"), None)):
        part = pde.Box(**{name: (0.0, 1.0) for name in names[:2]}) if len(names) == 2 else box
        terms = [pde.Term("flat", lambda u: u.t, part.inside(8))]
        made = pde.System(pde.mlp(len(names), [3]), terms, coordinates=names)
        figure = pde.plot(gd.fit(made, max_steps=1, initialise=False))
        assert figure.subfigs[0].get_suptitle() == (title or "")
