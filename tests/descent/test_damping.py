"""One damping μ, absolute, in the units of the Gram matrix, whatever control chose it."""

import math
from typing import Any

import pytest
import torch
from support.laws import naive_jacobian
from support.small_nets import F64, at, linearised, smooth
from torch import Tensor

import geodescent as gd
from geodescent.descent import Control, CostLevels, Damping

CONTROLS = {
    "gain ratio": gd.GainRatio(initial_damping=1.0),
    "natural": gd.NaturalControl(initial_damping=0.1),
    "spring": gd.Spring(rule=gd.GainRatio(initial_damping=1.0)),
}


def weighted(m: int = 20) -> tuple[gd.Problem, Tensor, Tensor, float]:
    """Two blocks with weights, and what they come to: the residual and D, rows scaled, and N."""
    model, x, y = smooth(m, width=12)
    weights, half = torch.linspace(0.5, 2.0, m // 2, dtype=F64), m // 2
    first = gd.RowBlock("first", gd.SampleMap(model, x[:half]), y[:half], weights=weights)
    rest = gd.RowBlock("rest", gd.SampleMap(model, x[half:]), y[half:], weight=3.0)
    n = float(weights.sum()) + half
    scale = torch.cat([weights * n / weights.sum(), torch.full((half,), 3.0 * n / half, dtype=F64)]).sqrt()
    residual = scale * (model(x) - y).detach()[:, 0]
    return gd.Problem((first, rest)), residual, scale[:, None] * naive_jacobian(model, x), n


@pytest.mark.parametrize("name", CONTROLS)
def test_the_damping_that_is_told_is_the_one_of_the_step(name: str) -> None:
    """`C_lin = ‖μ(BBᵀ + μ)⁻¹r‖²/(2N)` at the μ of the history, by dense algebra, for each control."""
    problem, residual, rows, n = weighted()
    method = gd.Method(lift=gd.GramLift(), walk=gd.EulerWalk(), control=CONTROLS[name])
    history = gd.fit(problem, max_steps=1, method=method).history
    mu = float(history["damping"][1])
    left = mu * torch.linalg.solve(rows @ rows.T + mu * torch.eye(len(rows), dtype=F64), residual)
    whole = float(left @ left) / (2.0 * n)
    assert history["predicted"][1] == pytest.approx(whole, rel=1e-9)


def test_the_first_dampings_of_two_controls_are_in_one_unit() -> None:
    """The gain ratio's numbers are of ‖B‖_F²/m, natural control's of ‖B‖_F²: what they come to is absolute."""
    _, _, rows, _ = weighted()
    total, m = float(rows.square().sum()), len(rows)
    first = {
        "gain ratio": total / m,
        "natural": 0.1 * 0.1 * total,
        "spring": total / m,
    }
    for name, control in CONTROLS.items():
        method = gd.Method(lift=gd.GramLift(), walk=gd.EulerWalk(0.1), control=control)
        history = gd.fit(weighted()[0], max_steps=1, method=method).history
        assert history["damping"][1] == pytest.approx(first[name], rel=1e-10), name


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_what_one_control_leaves_another_goes_on_with(control: Control[Any]) -> None:
    """The damping handed over is absolute: no control multiplies or divides it by m."""
    here = at(*smooth(30))
    state = control.begin(here, Damping(0.7, here.total_square))
    assert state.damping == Damping(0.7, here.total_square)


def test_at_another_point_the_damping_has_the_same_share_of_the_rows() -> None:
    here, more = at(*smooth(30)), at(*smooth(90))
    assert Damping(0.7, here.total_square).at(here) == pytest.approx(0.7, rel=1e-14)
    ratio = more.total_square / here.total_square
    assert ratio > 2.0 and Damping(0.7, here.total_square).at(more) == pytest.approx(0.7 * ratio, rel=1e-14)
    for nothing in (0.0, math.inf, math.nan):
        assert Damping(0.7, nothing).at(here) == 0.7


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_a_step_on_other_samples_goes_on_with_the_same_share(control: Control[Any]) -> None:
    """From 30 samples to 90 of the same kind: the damping is the one left behind, times the ratio of ‖B‖²."""
    model, x, y = smooth(90)
    few, many = (linearised(gd.Problem.of(model, x[:n], y[:n])) for n in (30, 90))
    state = control.begin(few, Damping(few.total_square, few.total_square))
    taken = control.step(many, gd.EulerWalk(0.1), state, CostLevels(many.cost, many.cost))
    assert taken is not None
    first = 0.1 if isinstance(control, gd.NaturalControl) else 1.0
    assert taken[0].damping == pytest.approx(first * many.total_square, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_dampings_do_not_depend_on_the_units_of_y(scale: float) -> None:
    """With x and y in other units the steps are the same, and so is μ: in the metric columns have length 1."""
    histories = []
    for factor in (1.0, scale):
        outputs = gd.FunctionMap(lambda theta, factor=factor: factor * curve(theta), torch.zeros(3, dtype=F64))
        y = factor * torch.linspace(1.0, 2.0, 5, dtype=F64)
        histories.append(gd.fit(gd.Problem.over(outputs, y), max_steps=4).history)
    first, second = histories
    assert second["damping"][1:] == pytest.approx(first["damping"][1:], rel=1e-6)
    assert second["cost"] == pytest.approx(scale**2 * first["cost"], rel=1e-6)


def curve(theta: Tensor) -> Tensor:
    t = torch.linspace(0.0, 1.0, 5, dtype=F64)
    return torch.sin(theta[0] + 2.0 * t) + theta[1] * t + torch.exp(theta[2] * t)
