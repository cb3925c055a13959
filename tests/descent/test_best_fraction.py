"""The part of a step to take, by the step's slope and its end, and what the gain ratio makes of it."""

import math
from dataclasses import replace

import pytest
import torch
from support.small_nets import at, smooth

from geodescent import EulerWalk, GainRatio, GramLift, KrylovLift, Problem
from geodescent.descent import CostLevels, Damping, GainRatioState, Linearised, Trial, best_fraction
from geodescent.lift import INEXACT, Lift

EXACTLY = KrylovLift()


def of_a_small_net(lift: Lift = EXACTLY, *, n: int = 40, width: int = 30) -> Linearised:
    x = torch.linspace(-1.0, 1.0, n, dtype=torch.float64)[:, None]
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)).double()
    problem = Problem.of(model, x, torch.sin(4.0 * x))
    return Linearised.at(problem, problem.theta, lift=lift, dtype=torch.float64)


def step(here: Linearised, damping: float, trust: float = math.inf) -> tuple[Trial, GainRatioState]:
    """The step of the gain ratio at this damping, and what it remembers."""
    state = GainRatioState(Damping(damping, here.total_square), trust=trust)
    taken = GainRatio().step(here, EulerWalk(), state, CostLevels(here.cost, here.cost))
    assert taken is not None
    return taken


def test_the_best_fraction_is_that_of_the_quadratic() -> None:
    """Against a fine grid, for residuals that are quadratic in t."""
    generator = torch.Generator().manual_seed(5)
    grid = torch.linspace(1e-4, 1.0, 10_000, dtype=torch.float64)
    for size in (0.3, 1.0, 10.0, 100.0):
        start, bend = torch.randn(2, 50, dtype=torch.float64, generator=generator)
        slope = -0.9 * start + 0.1 * torch.randn(50, dtype=torch.float64, generator=generator)
        path = start + grid[:, None] * slope + grid[:, None] ** 2 * (size * bend)
        costs = path.square().sum(1)
        t, left = best_fraction(start, slope, path[-1])
        assert t == pytest.approx(float(grid[costs.argmin()]), abs=2e-4)
        assert left == pytest.approx(float(costs.min()), rel=1e-6)


def test_an_end_beyond_all_numbers_is_left_alone() -> None:
    start = torch.ones(3, dtype=torch.float64)
    t, left = best_fraction(start, -start, torch.full((3,), math.inf, dtype=torch.float64))
    assert (t, left) == (1.0, math.inf)


def test_a_step_too_long_is_shortened_with_the_same_solve() -> None:
    """One forward pass more, no further solve; the damping rises as after a refusal."""
    here, damping = of_a_small_net(), 1e-2  # a step that leaves the region where the linear model holds
    trial, state = step(here, damping)
    assert trial.cost < here.cost
    assert (here.tally["solves"], here.tally["rejections"], here.tally["forward passes"]) == (1, 0, 2)
    assert trial.next_damping == state.damping.value == pytest.approx(GainRatio().rise * damping)


def test_the_next_solve_is_content_with_what_the_last_step_bears_out() -> None:
    """After a shortened step with half of its fall; after a whole one with twice its promise, if there was a limit."""
    here = of_a_small_net()
    shortened, state = step(here, 1e-2)
    assert state.trust == pytest.approx(0.5 * math.log(here.cost / shortened.cost))
    for trust in (math.inf, 1e-3):
        whole, state = step(here, 1e2, trust)
        expected = math.inf if math.isinf(trust) else 2.0 * math.log(here.cost / whole.predicted)
        assert state.trust == pytest.approx(expected)


def test_a_solve_ends_at_the_fall_it_was_asked_for() -> None:
    counts = []
    for trust in (math.inf, 1e-3):
        here = of_a_small_net(INEXACT, n=600, width=100)
        step(here, 1.0, trust)
        assert here.tally["solves"] == 1
        counts.append(here.tally["iterations"])
    assert counts[1] == 2 < counts[0]


def test_refusals_in_a_row_raise_the_damping_ever_faster() -> None:
    """By 4, 8, 16 and so on: a rule that takes next to nothing."""
    here, rule, damping = of_a_small_net(), replace(GainRatio(), accept=0.999), 1e-3
    state = GainRatioState(Damping(damping, here.total_square))
    taken = rule.step(here, EulerWalk(), state, CostLevels(here.cost, here.cost))
    assert taken is not None and here.tally["rejections"] >= 3
    raised = math.prod(4.0 * 2.0**k for k in range(here.tally["rejections"]))
    assert taken[0].damping == pytest.approx(damping * raised)


def test_a_step_begins_where_the_last_one_ended() -> None:
    """The same solve from its own answer is at its end sooner."""
    here = at(*smooth(1000, width=260), KrylovLift(tol=1e-2, slack=0.5))
    levels, damping = CostLevels(here.cost, here.cost), Damping(1e-3 * here.prepared.mean_square, here.total_square)
    first, state = GainRatio().step(here, EulerWalk(), GainRatioState(damping), levels)
    cold = here.tally["iterations"]
    again, _ = GainRatio().step(here, EulerWalk(), GainRatioState(damping, near=state.near), levels)
    assert again.predicted <= 1.1 * first.predicted
    assert here.tally["iterations"] - cold < cold


def test_a_direct_solve_leaves_nothing_to_begin_from() -> None:
    here = of_a_small_net(GramLift())
    assert step(here, 1e-2)[1].near is None
