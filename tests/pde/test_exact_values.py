"""Measured values that turn out to be exact are weighed as exact ones, and only these."""

import math
from dataclasses import replace

import pytest
import torch

import geodescent as gd
from geodescent import pde
from geodescent.descent import MeasuredExactly, planned_stages
from geodescent.problem import EXACT_VALUES, VALUES_WEIGHT, FixedSource, PartSource, are_exact, with_exact_values

F64 = torch.float64
RATE = 0.7


def decay(noise: float = 0.0, weight: float | None = None, mask: torch.Tensor | None = None) -> pde.System:
    """`u' = −ku`, whose rate k is found from 12 values of `3 exp(−0.7 t)`."""
    torch.manual_seed(0)
    t = torch.linspace(0.0, 2.0, 12, dtype=F64)[:, None]
    target = 3.0 * torch.exp(-RATE * t[:, 0])
    terms = [
        pde.Term("decay", lambda u, k: u.t + k * u, pde.Box(t=(0.0, 2.0)).inside(20)),
        pde.Term(
            "sensors",
            lambda u: u,
            t,
            target=target * (1.0 + noise * torch.cos(9.0 * t[:, 0])),
            weight=weight,
            weights=mask,
        ),
    ]
    return pde.System(pde.mlp(1, [6]), terms, coordinates=("t",), unknowns={"k": 1.0})


def said(solution: gd.Solution) -> bool:
    return any("as exact ones are" in note for note in solution.stats["notes"])


def test_exact_values_give_a_coefficient_to_all_digits() -> None:
    """Steps go by other weights then; C stays that of the system."""
    system = decay()
    solution = gd.fit(system, max_seconds=20.0)
    assert said(solution)
    assert abs(solution.unknowns["k"].value - RATE) < 1e-12
    problem = system.problem()
    assert problem.blocks[1].weight < 1.0
    assert solution.cost == problem.cost(solution.theta) == min(solution.history["cost"])


@pytest.mark.parametrize("noise", [1e-7, 1e-3])
def test_values_with_errors_keep_their_small_weight(noise: float) -> None:
    """However long the fit goes on: where no step is found, it ends, and does not take the values for exact."""
    system = decay(noise)
    solution = gd.fit(system, max_steps=70, max_seconds=20.0)
    assert not said(solution)
    error = solution.unknowns["k"].standard_error
    assert abs(solution.unknowns["k"].value - RATE) < 3.0 * error < 3.0 * noise
    source = FixedSource(system.problem())
    (stage,) = (s for s in planned_stages(system.problem()) if any(isinstance(r, MeasuredExactly) for r in s.leave))
    assert stage.stages_without_step == 0 and stage.source.first is source.first


class Cubic(torch.nn.Module):
    """`Σ w_i t^i`, i from 0 to 3: linear in its weights, so that a fit ends at a critical point."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1, dtype=F64)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([t, t**2, t**3], 1))


@pytest.mark.parametrize("noise", [1e-3, 1e-1])
def test_the_end_is_a_minimum_of_the_cost_by_the_weights_of_the_terms(noise: float) -> None:
    system = decay(noise)
    system = pde.System(Cubic(), system.terms, coordinates=("t",), unknowns={"k": 1.0})
    solution = gd.fit(system, max_seconds=20.0)
    assert solution.result is gd.Result.stationary and not said(solution)
    assert solution.cost <= min(solution.history["cost"]) * (1.0 + 1e-9)
    residual, jacobian = system.problem().linearise(solution.theta)
    D = jacobian.dense()
    assert float((D.T @ residual).norm() / (D.norm() * residual.norm())) < 1e-7


def test_the_note_names_what_was_raised_and_float32_raises_nothing() -> None:
    torch.manual_seed(0)
    t = torch.linspace(0.0, 2.0, 6, dtype=F64)[:, None]
    terms = [
        pde.Term("light", lambda u: u, t, target=t[:, 0]),
        pde.Term("heavy", lambda u: u, t, target=t[:, 0], weight=1000.0),
        pde.Term("line", lambda u: u.tt, t),
    ]
    solution = gd.fit(pde.System(pde.mlp(1, [4]), terms, coordinates=("t",)), max_steps=60, max_seconds=20.0)
    (note,) = (note for note in solution.stats["notes"] if "as exact ones are" in note)
    assert "'light'" in note and "heavy" not in note
    single = pde.System(
        pde.mlp(1, [4]).float(), [replace(term, target=t[:, 0].float()) for term in terms], coordinates="t"
    )
    assert single.problem().dtype is torch.float32 and with_exact_values(single.problem()) is None


def test_only_measured_values_of_less_weight_are_raised() -> None:
    problem = decay().problem()
    raised = with_exact_values(problem)
    assert raised is not None and [block.weight for block in raised.blocks] == [1.0, VALUES_WEIGHT]
    assert raised.blocks[1].map is problem.blocks[1].map and raised.unknowns == problem.unknowns
    assert with_exact_values(decay(weight=VALUES_WEIGHT).problem()) is None
    assert with_exact_values(replace(problem, measured=())) is None
    data = gd.RowBlock("data", gd.FunctionMap(lambda theta: theta, torch.ones(2)), torch.zeros(2))
    assert with_exact_values(gd.Problem((data,), measured=("data",))) is None
    *_, last = planned_stages(problem)
    assert isinstance(last.source, PartSource) and [b.weight for b in last.source.drawn.blocks] == [1.0, VALUES_WEIGHT]
    assert len(planned_stages(decay(weight=VALUES_WEIGHT).problem())) == len(planned_stages(problem)) - 1


def test_exact_is_a_share_of_the_values_that_are_asked() -> None:
    """A value of weight zero, however large, is none that is met."""
    mask = torch.ones(12, dtype=F64)
    for system in (decay(), decay(mask=mask * (torch.arange(12) > 0))):
        problem = system.problem()
        asked = problem.blocks[1].target[-11 if system.terms[1].weights is not None else 0 :]
        size = float(asked.square().mean().sqrt())
        for factor in (0.9, 1.1):
            assert are_exact(problem, {"decay": 1.0, "sensors": factor * EXACT_VALUES * size}) == (factor < 1.0)
        assert not are_exact(problem, {"decay": 0.0, "sensors": math.nan})
