"""The condition at the start (1.9).

docs/theory/margin.md says what it means.
"""

import math

import numpy as np
import pytest
import torch
from support.theorems import F64
from torch import Tensor, nn

import geodescent as gd


class Parabola(nn.Module):
    """`x = σθ − Lθ²/2`: where the condition is sharp."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=F64))

    def forward(self, rows: Tensor) -> Tensor:
        return rows[:, :1] * self.theta - 0.5 * rows[:, 1:] * self.theta**2


@pytest.mark.slow
def test_1_9_a_margin_above_one_keeps_the_flow_in_its_ball() -> None:
    """`‖θ − θ₀‖ ≤ (σ₀ − √(σ₀² − 2L‖x₀ − y‖))/L`, sharp for the parabola."""
    sigma, curvature, y = 1.5, 0.8, 1.2
    rows, target = torch.tensor([[sigma, curvature]], dtype=F64), torch.tensor([[y]], dtype=F64)
    certificate = gd.certify(Parabola(), rows, target, lipschitz=curvature, metric="flow")
    assert certificate.margin == pytest.approx(sigma**2 / (2.0 * curvature * y), rel=1e-12)
    assert certificate.guaranteed is True
    bound = (sigma - math.sqrt(sigma**2 - 2.0 * curvature * y)) / curvature
    assert certificate.way_bound == pytest.approx(bound, rel=1e-12)
    flow = gd.flow(Parabola(), rows, target, until=8.0)
    assert np.all(flow.displacement <= bound)
    assert flow.displacement[-1] == pytest.approx(bound, rel=1e-3)
    assert flow.max_relative_deviation < 1e-8
