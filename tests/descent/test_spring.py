"""SPRING on a small network: what it predicts of its own steps, and what it keeps from one to the next."""

import pytest
import torch
from support.small_nets import at, smooth

import geodescent as gd
from geodescent.descent import CostLevels, Damping, Linearised, SpringState, Trial

WALK = gd.EulerWalk(0.5)


def step(here: Linearised, state: SpringState) -> tuple[Trial, SpringState]:
    taken = gd.Spring(momentum=0.6).step(here, WALK, state, CostLevels(here.cost, here.cost))
    assert taken is not None
    return taken


def test_what_is_predicted_is_the_linear_models_cost_of_the_step_itself() -> None:
    """With and without momentum, and the step is `hφ/√(1 − β^{2k})`."""
    here = at(*smooth())
    state = SpringState(Damping(here.total_square, here.total_square))
    for scale in (1.0, 1.0 / (1.0 - 0.6**4) ** 0.5):
        trial, state = step(here, state)
        moved = trial.theta - here.theta
        linear = here.cost_of(here.residual + here.jacobian.mv(moved))
        assert trial.predicted == pytest.approx(linear, rel=1e-9)
        assert state.momentum is not None
        assert torch.allclose(moved, 0.5 * scale * state.momentum, rtol=1e-9)
    assert state.steps == 2
