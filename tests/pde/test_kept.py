"""What is kept of a solved system: its state_dict has all that a choice of the start changed beside the parameters."""

import json
from pathlib import Path

import pytest
import torch

import geodescent as gd
from geodescent import pde


def wave(seed: int, *, built_in: bool = True, widths: tuple[int, ...] = (12, 12)) -> pde.System:
    """`u'' + 400 u = 0`, u(0) = 1, u'(0) = 0."""
    torch.manual_seed(seed)
    terms = [pde.Term("wave", lambda u: u.tt + 400.0 * u, pde.Box(t=(0.0, 1.0)).inside(80, "chebyshev"))]
    terms += [] if built_in else [pde.Term("start", lambda u: (u - 1.0, u.t), [[0.0]])]
    transform = (lambda net, t: 1.0 + 400.0 * t**2 * net) if built_in else None
    return pde.System(pde.mlp(1, widths, 1), terms, coordinates="t", transform=transform)


@pytest.mark.parametrize("built_in", [True, False], ids=["with an envelope", "without"])
def test_a_file_gives_another_process_the_same_fields(built_in: bool, tmp_path: Path) -> None:
    solved, t = wave(0, built_in=built_in), torch.linspace(0.0, 1.0, 9, dtype=torch.float64)[:, None]
    start = {"activations": ["sin", "sin"], "slopes": [-1.5] if built_in else []}
    solved.begin_as(start)
    gd.fit(solved, max_steps=5, initialise=False)
    assert solved.module.start == start
    torch.save(solved.module.state_dict(), tmp_path / "wave.pt")
    other = wave(1, built_in=built_in)
    assert not torch.allclose(other(t), solved(t))
    other.module.load_state_dict(torch.load(tmp_path / "wave.pt"))
    assert torch.equal(other(t), solved(t)) and other.module.start == start
    assert not other.is_fresh


@pytest.mark.parametrize(
    "state", [{}, {"activations": ["sin"]}, {"activations": ["sin", "cosh"]}, {"activations": [], "slopes": 1.0}]
)
def test_a_state_of_other_fields_is_refused(state: dict[str, object]) -> None:
    made = wave(0)
    before = made.module.start
    kept = made.module.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in kept.values())
    for wrong in (state, torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8), torch.ones(3)):
        with pytest.raises(gd.InputError, match="not that of these fields"):
            made.module.load_state_dict({**kept, "_extra_state": wrong})
        assert made.module.start == before


@pytest.mark.parametrize("built_in", [True, False])
def test_derivatives_at_new_points_are_those_of_autograd(built_in: bool) -> None:
    solved = wave(0, built_in=built_in)
    solved.begin_as({"activations": ["sin", "sin"], "slopes": [-1.5] if built_in else []})
    t = torch.linspace(-0.1, 1.1, 7, dtype=torch.float64)[:, None].requires_grad_()
    u = solved.module(t)
    (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), t)
    found = solved.evaluate(lambda u, t: (u, u.t, t * u.tt), t.detach())
    assert found.shape == (7, 3) and not found.requires_grad
    torch.testing.assert_close(found, torch.cat([u, slope, t * bend], 1).detach(), rtol=1e-12, atol=1e-10)
    assert solved.evaluate(lambda u: u.t, pde.Box(t=(0.0, 1.0)).inside(5)).shape == (5, 1)


def test_a_quantity_that_fails_is_told_in_words() -> None:
    made = wave(0)
    for wrong, says in ((lambda v: v.t, "v"), (lambda u: u.tx, "tx"), (lambda u: 1.0, "evaluate")):
        with pytest.raises(gd.InputError, match=says):
            made.evaluate(wrong, [[0.5]])
    with pytest.raises(gd.InputError, match=r"system\.evaluate"):
        made.evaluate(lambda u: u.t, [[0.5, 0.5]])


def test_the_module_of_another_system_is_no_network() -> None:
    made = wave(0)
    with pytest.raises(gd.InputError, match=r"scales its inputs: pass its network, net=module\.net"):
        pde.System(made.module, made.terms, coordinates="t")
    pde.System(made.module.net, made.terms, coordinates="t")


def test_solutions_and_systems_are_told_apart() -> None:
    made = wave(0)
    solution = gd.fit(made, max_steps=2)
    for call in (lambda: pde.plot(made), lambda: pde.plot(made, solution)):
        with pytest.raises(gd.InputError, match=r"a System is no solution: pde\.plot\(solution\)"):
            call()
    with pytest.raises(gd.InputError, match=r"reference is a Tensor: a function of points"):
        pde.plot(solution, torch.zeros(3))
    with pytest.raises(gd.InputError, match=r"a Solution and a System came in: .* pde\.refine\(system, solution\)"):
        pde.refine(solution, made)
