"""A network beside built-in conditions has an envelope, an exponential of the coordinates, where that helps."""

import json
import math
from pathlib import Path

import pytest
import torch

import geodescent as gd
from geodescent import pde

SLOPES = (-2.0, 0.5)


def decaying(power: float) -> pde.System:
    """`u' + 3 u = 0`, u(0) = 1, with a factor that leaves the network a field that goes by e^(−power) from 0 to 1."""
    torch.manual_seed(0)
    terms = [pde.Term("decay", lambda u: u.t + 3.0 * u, pde.Box(t=(0.0, 1.0)).inside(30))]
    return pde.System(
        pde.mlp(1, [8], 1),
        terms,
        coordinates="t",
        transform=lambda net, t: 1.0 + t * torch.exp(power * t) * net,
    )


def membrane() -> pde.System:
    """Two fields of two coordinates, with derivatives of second order."""
    torch.manual_seed(0)

    def equations(u, v):
        return u.tt - u.xx + u * v, v.tx + u.x * v

    terms = [pde.Term("membrane", equations, pde.Box(t=(0.0, 2.0), x=(1.0, 2.0)).inside(9))]
    return pde.System(
        pde.mlp(2, [5, 5], 2),
        terms,
        coordinates=("t", "x"),
        fields=("u", "v"),
        transform=lambda net, t, x: {"u": t * net.u, "v": x + t * net.v},
    )


@pytest.mark.parametrize("power", [6.0, -6.0])
def test_it_goes_against_what_the_built_in_factor_does(power: float) -> None:
    made = decaying(power)
    chosen = made.choose_start()
    assert chosen is not None
    (slope,) = chosen.chosen.slopes
    without = min(c.left_out for c in chosen.candidates if not c.slopes and c.gains == chosen.chosen.gains)
    assert slope * power < 0.0 and chosen.chosen.left_out < without / 3.0
    assert made.start()["slopes"] == [slope] and "exponentials of slopes" in chosen.changes[0]
    assert not made.is_fresh


def test_a_fit_with_it_is_right() -> None:
    made, t = decaying(6.0), torch.linspace(0.0, 1.0, 9, dtype=torch.float64)[:, None]
    gd.fit(made, target_cost=1e-16, max_seconds=20.0)
    assert made.module.slopes and torch.allclose(made(t), torch.exp(-3.0 * t), atol=1e-6)


def test_without_built_in_conditions_there_is_none() -> None:
    terms = [
        pde.Term("decay", lambda u: u.t + 8.0 * u, pde.Box(t=(0.0, 1.0)).inside(30)),
        pde.Term("start", lambda u: u - 1.0, [[0.0]]),
    ]
    chosen = pde.System(pde.mlp(1, [8], 1), terms, coordinates="t").choose_start()
    assert chosen is not None and not any(c.slopes for c in chosen.candidates)


def test_a_periodic_coordinate_has_none() -> None:
    terms = [pde.Term("moved", lambda u: u.t + u.x, pde.Box(t=(0.0, 1.0), x=(0.0, 1.0)).inside(30))]
    made = pde.System(
        pde.mlp(3, [8], 1),
        terms,
        coordinates=("t", "x"),
        transform=lambda net, t, x: torch.sin(2.0 * torch.pi * x) + t * net,
        periodic={"x": 1.0},
    )
    assert made.module.enveloped == (0,)


def test_fields_are_those_of_the_network_times_the_envelope() -> None:
    made, points = membrane(), torch.tensor([[0.5, 1.25], [1.0, 1.5], [2.0, 2.0]], dtype=torch.float64)
    before = made(points)
    made.module.slopes = SLOPES
    x = points[:, 1]
    centre, half = (sum(made.ends) / 2.0), (made.ends[1] - made.ends[0]) / 2.0
    envelope = torch.exp(((points - centre) / half) @ torch.tensor(SLOPES, dtype=torch.float64))
    assert torch.allclose(made(points)[:, 0], before[:, 0] * envelope)
    assert torch.allclose(made(points)[:, 1], x + (before[:, 1] - x) * envelope)


def test_its_derivatives_are_exact() -> None:
    made = membrane()
    made.module.slopes = SLOPES
    problem = made.problem()
    theta, step = problem.theta, 1e-3
    direction = torch.randn(len(theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, jacobian = problem.linearise(theta, dtype=torch.float64)
    below, here, above = (problem.residual(theta + s * direction) for s in (-step, 0.0, step))
    slope, bend = jacobian.dense() @ direction, problem.second_derivative(theta, direction, dtype=torch.float64)
    assert torch.allclose(slope, (above - below) / (2.0 * step), rtol=1e-3, atol=1e-4 * float(slope.abs().max()))
    found = (above - 2.0 * here + below) / step**2
    assert torch.allclose(bend, found, rtol=1e-3, atol=1e-4 * float(bend.abs().max()))


def test_a_run_goes_on_with_the_envelope_of_its_start(tmp_path: Path) -> None:
    first, second = decaying(6.0), decaying(6.0)
    before = gd.fit(first, max_steps=3, checkpoint=tmp_path)
    after = gd.fit(second, max_steps=6, checkpoint=tmp_path)
    assert first.module.slopes == second.module.slopes != ()
    assert after.cost <= before.cost and after.cost0 == before.cost0


def test_a_fitted_network_keeps_it() -> None:
    made, t = decaying(6.0), torch.linspace(0.0, 1.0, 9, dtype=torch.float64)[:, None]
    gd.fit(made, max_steps=20)
    before, slopes = made(t), made.module.slopes
    chosen = made.choose_start(seconds=0.0)
    assert chosen is not None and chosen.chosen.slopes == slopes != () and not chosen.changed
    assert torch.equal(made(t), before)


def test_a_folder_from_before_there_was_one_is_read() -> None:
    made = decaying(6.0)
    made.begin_as({"activations": ["sin"]})
    assert made.module.slopes == () and math.isfinite(made.problem().cost(made.problem().theta))


@pytest.mark.parametrize("slopes", [[1.0, 2.0], "1", [None]])
def test_one_of_another_system_is_refused(tmp_path: Path, slopes: object) -> None:
    gd.fit(decaying(0.0), max_steps=2, checkpoint=tmp_path)
    (tmp_path / "start.json").write_text(json.dumps({"activations": ["tanh"], "slopes": slopes}))
    with pytest.raises(gd.InputError, match=r"start\.json is not of this system"):
        gd.fit(decaying(0.0), max_steps=4, checkpoint=tmp_path)
