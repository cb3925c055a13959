"""Conditioning is paid in parameters, not in time (1.3).

docs/theory/conditioning.md says what it means.
"""

import math

import numpy as np
import pytest
import torch
from support.laws import naive_jacobian
from support.theorems import F64, Linear, adapted, full_rank, lifted_problem, with_spectrum

import geodescent as gd


@pytest.mark.slow
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6])
def test_1_3_the_rate_does_not_see_the_conditioning(condition: float) -> None:
    """Nor does the number of steps: the error of a step is measured in the outputs, and solves are refined with D."""
    rows = with_spectrum(torch.logspace(0.0, -math.log10(condition), 6, dtype=F64), 9)
    flow = gd.flow(Linear(9), rows, torch.randn(6, 1, dtype=F64), until=4.0)
    assert flow.certificate.condition == pytest.approx(condition, rel=1e-6)
    assert flow.stats["evaluations"] < 1000
    assert float(np.max(np.abs(flow.cost / (flow.cost[0] * np.exp(-2.0 * flow.time)) - 1.0))) < 1e-8


def test_1_3_conditioning_is_paid_in_parameter_space() -> None:
    """`‖θ̇‖ ≤ ‖x − y‖/σ_min`, with equality along the weakest direction."""
    _, dense, residual, velocity = lifted_problem("full rank")
    smallest = float(torch.linalg.svdvals(dense)[-1])
    assert float(torch.linalg.vector_norm(velocity)) <= float(torch.linalg.vector_norm(residual)) / smallest
    model, x, _ = full_rank()
    left, values, _ = torch.linalg.svd(naive_jacobian(model, x), full_matrices=False)
    worst = gd.Problem.of(model, x, model(x).detach() - left[:, -1:])
    speed = float(torch.linalg.vector_norm(adapted(worst, worst.theta)))
    assert speed == pytest.approx(1.0 / float(values[-1]), rel=1e-8)
