"""Horizontal lifts, their lengths, holonomy and the growth of the distribution (THEORY 1.6)."""

import math
from itertools import pairwise

import pytest
import torch
from support.laws import assert_close
from support.models import Given
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import growth, holonomy, horizontal_lift


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 2)).double()


def heisenberg(t: Tensor) -> Tensor:
    """x = (θ₁, θ₂ + θ₁θ₃/2): rank two over three parameters; the bracket of the two fields is the third direction."""
    return torch.stack([t[0], t[1] + 0.5 * t[0] * t[2]])


def corners(model: nn.Module, X: Tensor, *steps: Tensor) -> list[Tensor]:
    points = [model(X).detach()]
    for step in steps:
        points.append(points[-1] + step)
    return points


def test_1_6_the_length_of_a_lift_is_that_of_the_output_path() -> None:
    model, X = network(), normal(4, 2)
    path = corners(model, X, 0.2 * normal(4, 2, seed=1), 0.2 * normal(4, 2, seed=2))
    before = [p.clone() for p in model.parameters()]
    lifted = horizontal_lift(model, X, path)
    assert lifted.length == pytest.approx(lifted.output_length, rel=1e-8)
    assert lifted.output_length == pytest.approx(sum(float((b - a).norm()) for a, b in pairwise(path)))
    assert lifted.drift < 1e-8 and lifted.parameter_length > 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_1_6_a_lift_there_and_back_comes_home() -> None:
    model, X = network(), normal(4, 2)
    step = 0.3 * normal(4, 2, seed=1)
    assert horizontal_lift(model, X, corners(model, X, step, -step)).gap < 1e-8


@pytest.mark.slow
def test_1_6_the_holonomy_of_a_square_grows_with_its_area() -> None:
    """Halving the side quarters the gap; to third order in the side the two differ."""
    model, X = network(), normal(4, 2)
    first, second = normal(4, 2, seed=1), normal(4, 2, seed=2)
    before = first.clone(), second.clone()
    gaps = [holonomy(model, X, first, second, side).gap for side in (0.04, 0.02, 0.01)]
    assert torch.equal(first, before[0]) and torch.equal(second, before[1])
    rates = [math.log2(a / b) for a, b in pairwise(gaps)]
    assert rates[-1] == pytest.approx(2.0, abs=0.1) and abs(rates[1] - 2.0) < abs(rates[0] - 2.0) + 1e-3


def test_1_6_the_gap_is_vertical_to_second_order() -> None:
    """The loop closes in outputs: what it leaves lies in ker D, but for terms of higher order."""
    model, X = network(), normal(4, 2)
    lifted = holonomy(model, X, normal(4, 2, seed=1), normal(4, 2, seed=2), 0.01)
    _, jacobian = gd.SampleMap(model, X).linearise()
    gap = lifted.theta[-1] - lifted.theta[0]
    assert float(jacobian.mv(gap).norm()) < 0.02 * float(jacobian.dense().norm()) * float(gap.norm())


def test_1_6_brackets_of_two_fields_can_reach_a_third_direction() -> None:
    """Outputs θ₁ and θ₂ + θ₁θ₃/2 over (θ₁, θ₂, θ₃): two fields, and their bracket; a linear map has none."""
    X = torch.zeros(1, 2, dtype=torch.float64)
    assert growth(Given(heisenberg, normal(3)), X) == (2, 3)
    assert growth(Given(lambda t: t[:2] + t[1:], normal(3)), X) == (2, 2)


def test_1_6_growth_of_a_network() -> None:
    model, X = network(), normal(3, 2)
    horizontal, more = growth(model, X)
    assert horizontal == 6 and 6 < more <= 6 + 15


def test_1_6_a_path_must_start_at_the_outputs_and_keep_the_rank() -> None:
    model, X = network(), normal(4, 2)
    with pytest.raises(gd.InputError, match="the first must be model"):
        horizontal_lift(model, X, [model(X).detach() + 1.0, model(X).detach()])
    with pytest.raises(gd.InputError, match="the same, or none: a square needs two"):
        holonomy(model, X, normal(4, 2), 2.0 * normal(4, 2), 0.1)
    point = Given(lambda t: (t[0] * t[1])[None], torch.zeros(2).double())
    with pytest.raises(gd.InputError, match="rank 0 of m = 1 on the way"):
        horizontal_lift(point, torch.zeros(1, 1).double(), torch.tensor([[[0.0]], [[1.0]]]).double())
    with pytest.raises(gd.InputError, match=r"rank 0 of m = 1"):
        growth(Given(lambda t: (t[0] * t[1])[None], torch.zeros(2).double()), torch.zeros(1, 1).double())


def test_1_6_the_lift_is_horizontal() -> None:
    """Its first step lies in range(Dᵀ)."""
    model, X = network(), normal(4, 2)
    lifted = horizontal_lift(model, X, corners(model, X, 1e-4 * normal(4, 2, seed=1)))
    d = gd.SampleMap(model, X).linearise()[1].dense()
    step = lifted.theta[-1] - lifted.theta[0]
    assert_close(torch.linalg.pinv(d) @ (d @ step), step, 1e-3)
