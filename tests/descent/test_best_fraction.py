"""The part of a step to take: by the step's slope and its end."""

import math

import pytest
import torch

from geodescent import EulerWalk, GainRatio, KrylovLift
from geodescent.descent import Linearised, Standing, least_on_ray
from geodescent.lift import INEXACT, Lift
from geodescent.problem import Problem

EXACTLY = KrylovLift()


def of_a_small_net(lift: Lift = EXACTLY) -> Linearised:
    x = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64)[:, None]
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 30), torch.nn.Tanh(), torch.nn.Linear(30, 1)).double()
    problem = Problem.of(model, x, torch.sin(4.0 * x))
    return Linearised.at(problem, problem.theta, lift=lift, dtype=torch.float64)


def test_the_least_on_the_ray_is_that_of_the_quadratic() -> None:
    """Against a fine grid, for residuals that are quadratic in t."""
    generator = torch.Generator().manual_seed(5)
    grid = torch.linspace(1e-4, 1.0, 10_000, dtype=torch.float64)
    for size in (0.3, 1.0, 10.0, 100.0):
        start, bend = torch.randn(2, 50, dtype=torch.float64, generator=generator)
        slope = -0.9 * start + 0.1 * torch.randn(50, dtype=torch.float64, generator=generator)
        path = start + grid[:, None] * slope + grid[:, None] ** 2 * (size * bend)
        costs = path.square().sum(1)
        t, left = least_on_ray(start, slope, path[-1])
        assert t == pytest.approx(float(grid[costs.argmin()]), abs=2e-4)
        assert left == pytest.approx(float(costs.min()), rel=1e-6)


def test_an_end_beyond_all_numbers_is_left_alone() -> None:
    start = torch.ones(3, dtype=torch.float64)
    t, left = least_on_ray(start, -start, torch.full((3,), math.inf, dtype=torch.float64))
    assert (t, left) == (1.0, math.inf)


def test_a_step_too_long_is_shortened_with_the_same_solve() -> None:
    """One forward pass more, no further solve; the damping rises as after a refusal."""
    here = of_a_small_net()
    damping = 1e-2  # a step that leaves the region where the linear model holds
    trial = GainRatio().step(here, EulerWalk(), Standing(damping, here.cost, here.cost))
    assert trial is not None and trial.cost < here.cost
    assert (here.tally["solves"], here.tally["rejections"], here.tally["forward passes"]) == (1, 0, 2)
    assert trial.next_damping == pytest.approx(GainRatio().rise * damping)


def test_the_next_solve_is_content_with_what_the_last_step_bears_out() -> None:
    """After a shortened step with half of its fall; after a whole one with twice its promise, if there was a limit."""
    here = of_a_small_net()
    shortened = GainRatio().step(here, EulerWalk(), Standing(1e-2, here.cost, here.cost))
    assert shortened is not None
    assert shortened.trust == pytest.approx(0.5 * math.log(here.cost / shortened.cost))
    for trust in (math.inf, 1e-3):
        whole = GainRatio().step(here, EulerWalk(), Standing(1e2, here.cost, here.cost, trust=trust))
        assert whole is not None
        expected = math.inf if math.isinf(trust) else 2.0 * math.log(here.cost / whole.predicted)
        assert whole.trust == pytest.approx(expected)


def test_a_solve_ends_at_the_fall_it_was_asked_for() -> None:
    counts = []
    for trust in (math.inf, 1e-3):
        here = of_a_small_net(lift=INEXACT)
        vars(here.prepared)["patience"] = 300
        GainRatio().step(here, EulerWalk(), Standing(1e-2, here.cost, here.cost, trust=trust))
        counts.append(here.tally["iterations"])
    assert counts[1] == 2 < counts[0]
