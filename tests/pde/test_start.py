"""The start of a system: what its linearised network leaves out, of which points, and the walk over gains."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent import pde
from geodescent.pde import _left_out, _start
from geodescent.pde._left_out import FEWEST_JUDGED_ROWS, MOST_JUDGED_PARAMETERS, left_out, n_judged_rows, spread
from geodescent.pde._start import NEARLY_ENOUGH, StartCandidate

SQUARE = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))
SHARE = 1e-6  # Of a damping with which refits are exact to six digits.


def poisson(n: int, width: int = 4) -> pde.System:
    """Poisson's equation in a square, with walls, one point by itself, a total and measured values."""
    torch.manual_seed(0)
    where = torch.rand(n, 2, dtype=torch.float64) - 0.5
    terms = [
        pde.Term("poisson", lambda u, x, y: u.laplacian / 20.0 - x * y, SQUARE.inside(n)),
        pde.Term("walls", lambda u: u, SQUARE.sides().points(max(4, n // 10))),
        pde.Term("corner", lambda u: u, [[1.0, 1.0]]),
        pde.Term("sensors", lambda u: u, where, target=where[:, 0]),
        pde.Total("mass", lambda u: u, SQUARE.inside(n), 0.0),
    ]
    return pde.System(pde.mlp(2, [width], 1), terms, coordinates=("x", "y"))


def refitted(residual: Tensor, rows: Tensor) -> Tensor:
    """Each residual after a ridge fit of the others, with a damping that is a share of ‖D‖²."""
    off, damping = torch.empty_like(residual), SHARE * rows.square().sum()
    for i in range(len(residual)):
        others = torch.arange(len(residual)) != i
        D, r = rows[others], residual[others]
        h = torch.linalg.solve(D.T @ D + damping * torch.eye(D.shape[1], dtype=torch.float64), D.T @ r)
        off[i] = residual[i] - rows[i] @ h
    return off


@pytest.mark.parametrize(("n", "width"), [(6, 12), (40, 4)], ids=["more parameters", "more rows"])
def test_what_is_left_out_is_that_of_refits(n: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = poisson(n, width).problem()
    residual, jacobian = problem.linearise(problem.theta)
    monkeypatch.setattr(_left_out, "DAMPINGS", (SHARE / (min(jacobian.shape) * torch.finfo(torch.float64).eps),))
    assert (jacobian.n_residuals < jacobian.n_params) == (n == 6)
    off = refitted(residual, jacobian.dense())
    assert left_out(problem) == pytest.approx(float(off.square().mean().sqrt()), rel=1e-5)


def test_a_network_that_is_not_finite_is_left_alone() -> None:
    made = poisson(20)
    with torch.no_grad():
        made.module.net[0].bias.fill_(math.nan)
    assert left_out(made.problem()) == math.inf
    start = made.choose_start()
    assert start is not None and not start.changed and start.candidates == (start.chosen,)
    assert bool(torch.isnan(made.module.net[0].bias).all())


def test_a_start_is_judged_by_some_points_of_every_term() -> None:
    made = poisson(2000)
    n_rows = n_judged_rows(made.problem())
    some = made._at_some_points(n_rows, 0)
    assert n_rows == FEWEST_JUDGED_ROWS < made.problem().n_residuals
    assert n_rows <= some.n_residuals <= n_rows + 20
    of_all, of_some = ({block.name: block for block in p.blocks} for p in (made.problem(), some))
    assert list(of_all) == list(of_some)
    assert of_some["corner"] is of_all["corner"] and of_some["mass"] is of_all["mass"]
    where, sensors = of_some["sensors"].map.locations, of_some["sensors"]
    assert torch.equal(sensors.target[:, 0], where[:, 0]) and sensors.weight == of_all["sensors"].weight
    assert some.cost(some.theta) == pytest.approx(made.problem().cost(some.theta), rel=0.1)


def test_a_start_is_judged_by_all_points_of_a_small_system() -> None:
    made = poisson(20)
    some = made._at_some_points(n_judged_rows(made.problem()), 0)
    assert [a is b for a, b in zip(some.blocks, made.problem().blocks, strict=True)] == [True] * 5


def test_points_of_weight_zero_do_not_judge_alone() -> None:
    torch.manual_seed(0)
    points = torch.rand(2000, 2, dtype=torch.float64)
    weights = torch.zeros(2000).index_fill(0, torch.tensor(1999), 1.0)
    terms = [
        pde.Term("poisson", lambda u: u.laplacian - 1.0, points, weights=weights),
        pde.Term("at", lambda u: u, points),
    ]
    made = pde.System(pde.mlp(2, [4], 1), terms, coordinates=("x", "y"))
    assert [len(block.target) for block in made._at_some_points(400, 0).blocks] == [2000, 200]


def test_many_parameters_do_not_mean_many_rows() -> None:
    assert n_judged_rows(poisson(2000, 1000).problem()) == MOST_JUDGED_PARAMETERS


@pytest.mark.parametrize(("n", "share", "k"), [(1000, 0.25, 250), (1000, 1e-9, 8), (5, 0.1, 5), (100, 1.0, 100)])
def test_points_are_spread_over_all_of_them(n: int, share: float, k: int) -> None:
    which = spread(n, share, torch.Generator().manual_seed(0))
    assert len(which) == k and torch.equal(which, which.unique())
    assert int(which.diff().max()) <= 2 * math.ceil(n / k) and int(which[-1]) >= n - 1 - math.ceil(n / k)
    sobol = SQUARE.inside(1024, "sobol").points
    assert sobol[spread(1024, 0.25, torch.Generator().manual_seed(0))].mean(0).abs().max() < 0.1


def walk(
    value: Callable[..., float], n_inputs: int, limit: float
) -> tuple[StartCandidate | None, list[tuple[float, ...]]]:
    """The best gains where `value(*gains)` is left out, and those that were judged."""
    tried = list[tuple[float, ...]]()

    def judged(activation: str, gains: tuple[float, ...]) -> StartCandidate:
        tried.extend([] if gains in tried else [gains])
        return StartCandidate(activation, gains, (), value(*gains))

    return _start._best_gains("tanh", n_inputs, limit, judged), tried


def test_the_walk_takes_the_least_gains_that_are_nearly_as_good() -> None:
    best, _ = walk(lambda x, y: 1e-3 * (1.0 + 1e3 * (x < 2.0) + 1e3 * (y < 8.0)), 2, 1.0)
    assert best is not None and best.gains == (2.0, 8.0)


def test_the_walk_goes_up_where_that_is_far_better() -> None:
    best, _ = walk(lambda x, y: (y / 8.0) ** 2 * (8.0 / x) ** 8 * (1.0 if x <= 16.0 else 1e9), 2, 1e9)
    assert best is not None and best.gains[0] == 16.0


def test_larger_gains_are_not_tried_where_what_is_left_out_rises() -> None:
    _, tried = walk(lambda x: x**2, 1, 1e-9)
    assert tried == [(1.0,), (2.0,)]


def test_a_walk_that_cannot_win_ends() -> None:
    best, tried = walk(lambda x, y: 1.0 / (x * y), 2, 1e-3 / NEARLY_ENOUGH)
    assert best is None and len(tried) == 4
    best, tried = walk(lambda x, y: {8.0: 1.0, 4.0: 5.0}.get(x, 50.0), 2, 4.0 / NEARLY_ENOUGH)
    assert best is None and tried[-1] == (4.0, 8.0)


@pytest.mark.parametrize(("by_all", "activation"), [(1e-9, "sin"), (1e9, "tanh")])
def test_what_is_about_to_be_chosen_is_judged_by_all_rows(
    by_all: float, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of the rows say that sines are good; all of them agree, or do not."""
    made = poisson(2000)
    n_rows, judged = made._at_some_points(n_judged_rows(made.problem()), 0).n_residuals, list[int]()

    def value(problem: gd.Problem) -> float:
        judged.append(problem.n_residuals)
        sine = made.module.net[1].name == "sin"
        return by_all if problem.n_residuals > n_rows else 1e-9 if sine else 1.0

    monkeypatch.setattr(_start, "left_out", value)
    start = made.choose_start()
    assert start is not None and start.chosen.activation == activation == made.module.net[1].name
    assert sum(n > n_rows for n in judged) == 1


@pytest.mark.parametrize("seed", range(4))
def test_waves_are_seen_by_the_points_that_judge(seed: int) -> None:
    """One wave along x, three along y, K = 595, m = 1,560: sines that are steeper along y."""
    torch.manual_seed(seed)

    def equation(u, x, y):
        return u.laplacian / 100.0 + torch.sin(torch.pi * x) * torch.sin(3.0 * torch.pi * y)

    terms = [
        pde.Term("poisson", equation, SQUARE.inside(1400, "chebyshev")),
        pde.Term("walls", lambda u: u, SQUARE.sides().points(160, "chebyshev")),
    ]
    made = pde.System(pde.mlp(2, [22, 22], 1), terms, coordinates=("x", "y"))
    start = made.choose_start()
    assert start is not None and start.chosen.activation == "sin"
    x, y = start.chosen.gains
    assert 1.0 <= x < y
