"""Convex costs of the outputs, against autograd and against torch's losses (THEORY 2.4)."""

import math

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn

from geodescent import InputError
from geodescent import costs as gc


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 2, 1, 2, 0])
OUTPUTS = 2.0 * normal(5, 3)
PROBABILITIES = gc.smoothed(LABELS, 3, 0.1)
# cost, targets, torch's loss summed over outputs and averaged over samples
COSTS = {
    "squared": (gc.SquaredError(), normal(5, 3, seed=1), lambda x, y: 0.5 * (x - y).square().sum(1).mean()),
    "cross entropy": (gc.CrossEntropy(), PROBABILITIES, nn.functional.cross_entropy),
    "huber": (gc.Huber(0.7), normal(5, 3, seed=1), lambda x, y: 3.0 * nn.functional.huber_loss(x, y, delta=0.7)),
    "poisson": (gc.Poisson(), normal(5, 3).abs(), lambda x, y: 3.0 * nn.functional.poisson_nll_loss(x, y)),
    "logistic": (
        gc.Logistic(),
        torch.sigmoid(normal(5, 3, seed=1)),
        lambda x, y: 3.0 * nn.functional.binary_cross_entropy_with_logits(x, y),
    ),
}


@pytest.mark.parametrize("name", COSTS)
def test_value_gradient_and_hessian_are_those_of_torchs_loss(name: str) -> None:
    cost, targets, loss = COSTS[name]
    n = len(OUTPUTS)
    assert cost.value(OUTPUTS, targets) == pytest.approx(float(loss(OUTPUTS, targets)), rel=1e-12)
    assert_close(cost.gradient(OUTPUTS, targets), n * torch.func.grad(lambda x: loss(x, targets))(OUTPUTS), 1e-12)
    whole = n * torch.func.jacrev(torch.func.grad(lambda x: loss(x, targets)))(OUTPUTS)
    assert_close(cost.hessian(OUTPUTS, targets), torch.stack([whole[i, :, i] for i in range(n)]), 1e-12)
    assert bool((torch.linalg.eigvalsh(cost.hessian(OUTPUTS, targets)) > -1e-14).all())


def test_the_hessian_of_cross_entropy_has_its_null_direction_exactly() -> None:
    """Also where a probability is 1 to rounding: p − p² alone would leave it to rounding."""
    outputs = torch.tensor([[40.0, 0.0, -3.0], [25.0, 1.0, 2.0]], dtype=torch.float64)
    block = gc.CrossEntropy().hessian(outputs, PROBABILITIES[:2])
    sizes = block.abs().sum((1, 2))
    assert bool((block.sum(2).abs() <= 1e-15 * sizes[:, None]).all())


def test_2_4_the_minimiser_is_the_one_on_its_fibre() -> None:
    """Gradient zero, sums as asked; every other point of the fibre costs more."""
    sums = normal(5, seed=4)
    minimiser = gc.cross_entropy_minimiser(PROBABILITIES, sums)
    assert_close(minimiser.sum(1), sums, 1e-13)
    assert float(gc.CrossEntropy().gradient(minimiser, PROBABILITIES).abs().max()) < 1e-15
    off = normal(5, 3, seed=5)
    off = off - off.mean(1, keepdim=True)
    least = gc.CrossEntropy().value(minimiser, PROBABILITIES)
    assert all(gc.CrossEntropy().value(minimiser + t * off, PROBABILITIES) > least for t in (-0.1, 0.1, 1.0))


def test_2_4_the_gap_of_the_logits_is_known() -> None:
    """`log(Q(1−ε)/ε + 1)` between the label and the rest."""
    minimiser = gc.cross_entropy_minimiser(PROBABILITIES, torch.zeros(5).double())
    gaps = minimiser.gather(1, LABELS[:, None])[:, 0] - minimiser.min(1).values
    assert_close(gaps, torch.full((5,), math.log(3.0 * 0.9 / 0.1 + 1.0), dtype=torch.float64), 1e-13)


def test_2_4_smoothing_is_torchs() -> None:
    expected = nn.functional.cross_entropy(OUTPUTS, LABELS, label_smoothing=0.1)
    assert gc.CrossEntropy().value(OUTPUTS, PROBABILITIES) == pytest.approx(float(expected), rel=1e-12)


def test_2_4_the_output_flow_conserves_each_samples_sum() -> None:
    assert float(gc.CrossEntropy().gradient(OUTPUTS, PROBABILITIES).sum(1).abs().max()) < 1e-15


def test_what_has_no_minimum_is_refused() -> None:
    with pytest.raises(InputError, match=r"smoothing = 0\.0"):
        gc.smoothed(LABELS, 3, 0.0)
    with pytest.raises(InputError, match="from 0 to 1"):
        gc.smoothed(LABELS, 2, 0.1)
    with pytest.raises(InputError, match="a probability is zero"):
        gc.cross_entropy_minimiser(torch.eye(3).double(), torch.zeros(3).double())
    with pytest.raises(InputError, match="delta = -1"):
        gc.Huber(-1.0)
