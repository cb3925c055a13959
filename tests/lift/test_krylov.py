"""Inexact solves: good enough, no better, and honest about what they left."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from support.laws import assert_close
from support.lifts import CASES, energy_of, made, oracle
from support.matrices import F64, vector
from torch import Tensor, nn

import geodescent as gd
from geodescent.jacobian import Jacobian, MatrixJacobian, stacked
from geodescent.lift import INEXACT, Prepared, RowBlocks, SolveGoal

PATIENT = 300  # iterations in θ: problems as small as these would pass to blocks of G at once


def jacobian_of(n: int, *sizes: int, seed: int) -> Jacobian:
    torch.manual_seed(seed)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    return gd.SampleMap(nn.Sequential(*layers[:-1]).double(), torch.randn(n, sizes[0], dtype=F64)).linearise()[1]


def patient(jacobian: Jacobian, metric: Tensor | None = None) -> Prepared:
    """Prepared for an inexact solve that stays with the factors of the layers."""
    prepared = INEXACT.prepare(jacobian, metric=metric)
    prepared.patience = PATIENT
    return prepared


def made_blocks(prepared: Prepared) -> bool:
    """Whether blocks of G were made."""
    return "rows" in vars(prepared)


def test_the_misfit_of_an_inexact_solve_is_the_true_one() -> None:
    """C_lin is taken from `D θ̇ + (x − y)` in the Jacobian's own precision."""
    problem, dense = made(CASES[0])
    residual, jacobian = problem.linearise(problem.theta)
    ready = INEXACT.prepare(jacobian)
    damping = 1e-3 * ready.mean_square
    lifted = ready.lift(-residual, damping=damping)
    assert lifted.velocity.dtype == F64
    assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-10)
    energies = [
        float((dense @ velocity + residual).square().sum() + damping * velocity.square().sum())
        for velocity in (oracle(dense, -residual, damping), lifted.velocity)
    ]
    assert 1.0 + 1e-9 < energies[1] / energies[0] < 1.5, energies  # inexact, and good enough


@pytest.mark.parametrize("relative", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("n_blocks", [1, 2])
def test_an_inexact_lift_leaves_little_more_than_the_exact_one(relative: float, n_blocks: int) -> None:
    """φ at its end is within a factor of two of the least φ, and no block of G was made for it."""
    jacobian = jacobian_of(120, 6, 30, 3, seed=1)
    if n_blocks == 2:
        penalty = MatrixJacobian(0.1 * torch.eye(jacobian.n_params, dtype=F64))
        jacobian = stacked([jacobian, penalty])
    prepared = patient(jacobian)
    damping, v = relative * prepared.mean_square, torch.randn(jacobian.n_residuals, dtype=F64)
    lifted = prepared.damped(damping).lift(v)
    exact = gd.NormalLift().prepare(jacobian).damped(damping).lift(v)
    assert lifted.converged and prepared.too_weak == 0.0 and not made_blocks(prepared)
    least = energy_of(exact, damping)
    assert least * (1.0 - 1e-9) <= energy_of(lifted, damping) <= 2.0 * least


def test_of_a_recorded_call_the_factors_and_the_scale_are_those_of_random_sums_of_its_outputs() -> None:
    """The columns of all outputs would take a pass each; the solve is one of D all the same."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 6)).double()
    x = torch.randn(60, 1, 6, 6, dtype=F64)
    jacobian, v = gd.SampleMap(net, x).linearise()[1], vector(360)
    prepared = patient(jacobian)
    exact = jacobian.made().row_squares().mean()
    recorded = gd.SampleMap(net, x).linearise()[1]
    prepared = patient(recorded)
    assert prepared.mean_square == pytest.approx(float(exact), rel=0.2)
    assert prepared.layers is not None and not prepared.inner.blocks[0].is_made
    damping = 1e-2 * prepared.mean_square
    ours, least = prepared.lift(v, damping=damping), oracle(jacobian.dense(), v, damping)

    def energy(velocity: Tensor) -> float:
        return float((jacobian.mv(velocity) - v).square().sum() + damping * velocity.square().sum())

    assert ours.converged and energy(ours.velocity) < 1.5 * energy(least)


def recorded_net(n: int = 60) -> gd.SampleMap:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 6)).double()
    return gd.SampleMap(net, torch.randn(n, 1, 6, 6, dtype=F64))


def test_the_price_of_blocks_and_the_scale_do_not_make_the_columns_of_a_recorded_call() -> None:
    """They would take a pass for each output, before the first iteration."""
    jacobian = recorded_net().linearise()[1]
    prepared = INEXACT.prepare(jacobian)
    flops = RowBlocks.flops(jacobian)
    scale = prepared.mean_square
    assert not prepared.iterates_in_parameters and flops > 0.0
    assert not jacobian.blocks[0].is_made
    assert flops == pytest.approx(RowBlocks.flops(jacobian.made()))
    assert scale == pytest.approx(float(jacobian.row_squares().mean()), rel=0.3)


def test_of_a_recorded_call_a_solve_makes_the_columns_once_and_the_misfit_is_a_product() -> None:
    """Six outputs take nine products, fewer than a solve has; in the precision of D no columns are made."""
    jacobian, v = recorded_net().linearise()[1], vector(360)
    prepared = replace(INEXACT, products=torch.float32).prepare(jacobian)
    prepared.patience = 100
    lifted = prepared.damped(1e-4 * prepared.mean_square).lift(v)
    assert lifted.iterations > 4
    assert prepared.by_columns.blocks[0].is_made and not jacobian.blocks[0].is_made
    assert_close(lifted.misfit, jacobian.made().mv(lifted.velocity) - v, 1e-12)


def test_the_scale_of_inexact_solves_is_the_trace_of_the_factors_of_the_layers() -> None:
    jacobian = jacobian_of(40, 3, 60, 2, seed=2)
    prepared = patient(jacobian)
    assert prepared.mean_square == prepared.layers.trace / jacobian.n_residuals
    assert prepared.mean_square == pytest.approx(float(jacobian.row_squares().mean()), rel=0.1)


def test_a_solve_that_sees_nothing_goes_on_with_blocks_of_the_gram_matrix() -> None:
    prepared = INEXACT.prepare(jacobian_of(40, 3, 60, 2, seed=2))
    prepared.patience = 0
    damping = 1e-8 * prepared.mean_square
    lifted = prepared.damped(damping).lift(torch.randn(80, dtype=F64))
    assert lifted.converged and prepared.too_weak == damping and made_blocks(prepared)


def test_that_nothing_can_be_gained_is_not_believed_of_an_estimate() -> None:
    """A velocity almost orthogonal to the columns of D: the answer is that of the blocks of G, with their bound."""
    jacobian = jacobian_of(60, 3, 4, 1, seed=3)
    axes = torch.linalg.qr(jacobian.dense()).Q
    v = torch.randn(60, dtype=F64)
    prepared = patient(jacobian)
    prepared.damped(1e-3 * prepared.mean_square).lift(v - axes @ (axes.T @ v))
    assert prepared.too_weak > 0.0


def test_a_velocity_that_is_small_enough_already_costs_no_blocks() -> None:
    """What lies within the residual allowed is answered by zero, not checked at the price of the blocks of G."""
    prepared = patient(jacobian_of(40, 3, 20, 2, seed=4))
    v = torch.randn(80, dtype=F64)
    lifted = prepared.damped(1e-2 * prepared.mean_square).lift(v, SolveGoal(residual=10.0 * float(v.norm())))
    assert lifted.converged and lifted.iterations == 0 and not made_blocks(prepared)


def test_a_lift_stops_at_the_fall_that_is_enough() -> None:
    """Fewer iterations, at least two, and no less of a fall than was asked for."""
    prepared = patient(jacobian_of(120, 6, 30, 3, seed=1))
    damping, v = 1e-4 * prepared.mean_square, torch.randn(360, dtype=F64)
    damped = prepared.damped(damping)
    unlimited = damped.lift(v)
    whole = math.log(float(v @ v) / energy_of(unlimited, damping))
    for share in (1e-6, 0.5, 0.8):
        lifted = damped.lift(v, SolveGoal(fall=share * whole))
        assert 2 <= lifted.iterations < unlimited.iterations
        assert math.log(float(v @ v) / energy_of(lifted, damping)) >= share * whole - 1e-6


@pytest.mark.parametrize("metric", [False, True], ids=["plain", "metric"])
def test_a_lift_begins_on_the_line_of_the_velocity_that_it_is_given(metric: bool) -> None:
    """Begun at twice the exact θ̇, at the first look nothing is left to gain: φ is the least one at once."""
    jacobian = jacobian_of(120, 6, 30, 3, seed=1)
    diagonal = vector(jacobian.n_params).square() + 0.2 if metric else None
    prepared, v = patient(jacobian, diagonal), torch.randn(360, dtype=F64)
    damping = 1e-2 * prepared.mean_square
    exact = gd.NormalLift().prepare(jacobian, metric=diagonal).damped(damping).lift(v).velocity
    goal = SolveGoal(start=2.0 * exact, fall=1e-3)
    begun, afresh = prepared.damped(damping).lift(v, goal), prepared.damped(damping).lift(v, SolveGoal(fall=1e-3))
    assert_close(begun.velocity, exact, 1e-3)
    assert float((afresh.velocity - exact).norm()) > 0.1 * float(exact.norm())


def test_products_in_single_precision_leave_a_true_misfit() -> None:
    """Products in float32 reach float32, and the misfit still is that of D itself."""
    jacobian = jacobian_of(30, 3, 20, 1, seed=2)
    v = torch.randn(30, dtype=F64)
    damping = 1e-2 * float(jacobian.row_squares().mean())
    single = gd.KrylovLift(products=torch.float32).prepare(jacobian).lift(v, damping=damping)
    exact = gd.KrylovLift().prepare(jacobian).lift(v, damping=damping)
    assert_close(exact.velocity, oracle(jacobian.dense(), v, damping), 1e-8)
    assert_close(single.velocity, exact.velocity, 1e-3)
    assert_close(single.misfit, jacobian.mv(single.velocity) - v, 1e-12)


def test_a_solve_without_enough_iterations_says_so() -> None:
    jacobian = jacobian_of(60, 3, 40, 1, seed=2)
    short = gd.KrylovLift(max_iterations=1).prepare(jacobian)
    lifted = short.lift(torch.randn(60, dtype=F64), damping=1e-8 * short.mean_square)
    assert not lifted.converged and lifted.iterations == 1 and not lifted.fallback


def test_a_solve_of_rows_stops_at_the_residual_that_is_allowed() -> None:
    """Preconditioned by blocks of G; no less than the residual asked for, in fewer iterations."""
    jacobian = jacobian_of(60, 3, 40, 2, seed=2)
    prepared, v = gd.KrylovLift().prepare(jacobian), torch.randn(120, dtype=F64)
    damping = 1e-5 * prepared.mean_square
    damped = prepared.damped(damping)
    exact, near = damped.lift(v), damped.lift(v, SolveGoal(residual=1e-2 * float(v.norm())))
    assert 0 < near.iterations < exact.iterations
    z = torch.linalg.lstsq(jacobian.dense().T, near.velocity[:, None]).solution[:, 0]
    left = v - jacobian.mv(jacobian.rmv(z)) - damping * z
    assert float(left.norm()) <= 1.01e-2 * float(v.norm())
