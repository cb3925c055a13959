"""Walks: the second derivative, and the order to which a step follows the flow."""

from dataclasses import replace

import pytest
import torch
from support.laws import assert_close
from support.small_nets import at, smooth, wide
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import linear_residual


def test_the_second_derivative_is_that_of_differences() -> None:
    here = at(*smooth())
    v = torch.randn_like(here.theta)
    h = 1e-4
    ahead, behind = here.residual_at(here.theta + h * v), here.residual_at(here.theta - h * v)
    assert_close(here.second_derivative(v), (ahead - 2 * here.residual + behind) / h**2, 1e-5)


class Opaque(torch.autograd.Function):
    """tanh without a forward derivative."""

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        out = torch.tanh(z)
        ctx.save_for_backward(out)  # type: ignore[attr-defined]
        return out

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:  # type: ignore[override]
        (out,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return g * (1 - out**2)


class OpaqueTanh(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return Opaque.apply(z)


def test_an_operation_without_forward_derivative_gets_differences() -> None:
    model, x, y = smooth()
    here = at(model, x, y)
    v = 1e-2 * torch.randn_like(here.theta)
    model[1] = OpaqueTanh()
    assert_close(at(model, x, y).second_derivative(v), here.second_derivative(v), 1e-5)


def test_the_geodesic_step_is_of_third_order_and_euler_of_second() -> None:
    """`‖r(θ + step) − (1 − h)r‖` against the flow's own: second order without a, third with it, along the range."""
    here = at(*wide())
    damped = here.damped(0.0)
    lifted = here.lift(damped, -here.residual)
    deviations: dict[str, list[float]] = {"euler": [], "geodesic": []}
    for h in (2e-2, 1e-2):
        for name, walk in (("euler", gd.EulerWalk(h)), ("geodesic", gd.GeodesicWalk(h))):
            moved = here.residual_at(here.theta + walk.displacement(here, damped, lifted).theta)
            deviations[name].append(float((moved - (1 - h) * here.residual).norm()))
    assert 3.5 < deviations["euler"][0] / deviations["euler"][1] < 4.5
    assert 7.0 < deviations["geodesic"][0] / deviations["geodesic"][1] < 9.0


@pytest.mark.parametrize("h", [1.0, 0.4])
def test_the_bend_is_the_length_of_a_against_v(h: float) -> None:
    """The displacement is `hv + h²a`, and the path turns by `h‖a‖/‖v‖` on it."""
    here = at(*smooth())
    mu = 1e-3 * here.total_square
    damped = here.damped(mu)
    lifted = here.lift(damped, -here.residual)
    v = lifted.velocity
    moved = gd.GeodesicWalk(h).displacement(here, damped, lifted)
    a = -0.5 * here.prepared.lift(here.second_derivative(v), damping=mu).velocity
    assert_close(moved.theta, h * v + h * h * a, 1e-12)
    assert moved.bend == pytest.approx(h * float(a.norm() / v.norm()), rel=1e-10)
    assert here.tally["second derivatives"] == 2  # one of the walk, one of this test
    straight = gd.EulerWalk(h).displacement(here, damped, lifted)
    assert_close(straight.theta, h * v, 1e-15)
    assert straight.bend is None


@pytest.mark.parametrize("walk", [gd.EulerWalk(), gd.GeodesicWalk(0.3)], ids=lambda walk: type(walk).__name__)
def test_a_walk_of_another_size_is_the_same_walk(walk: gd.EulerWalk | gd.GeodesicWalk) -> None:
    assert walk.sized(0.7) == replace(walk, step_size=0.7)


def test_the_linear_residual_of_a_shorter_step() -> None:
    here = at(*smooth())
    lifted = here.prepared.lift(-here.residual, damping=1e-3)
    moved = here.residual + 0.3 * here.jacobian.mv(lifted.velocity)
    assert_close(linear_residual(here, lifted, 0.3), moved, 1e-10)


@pytest.mark.parametrize("step_size", [0.9, 0.5])
def test_a_shorter_step_shrinks_the_cost_by_its_square(step_size: float) -> None:
    """`C ← (1 − h)²C` once the linear model holds."""
    method = gd.Method(lift=gd.GramLift(), walk=gd.GeodesicWalk(step_size))
    solution = gd.fit(*smooth(20, width=30), method=method, max_steps=30, target_cost=1e-20)
    costs = solution.history["cost"]
    ratios = costs[-3:] / costs[-4:-1]
    assert ratios == pytest.approx((1 - step_size) ** 2, rel=0.2)
    assert solution.history["time"] == pytest.approx(step_size * solution.history["step"])
