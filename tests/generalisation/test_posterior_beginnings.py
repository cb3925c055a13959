"""Where the search for prior and noise begins: what a linear function leaves, and the columns a linear one uses."""

import pytest
import torch
from torch import Tensor

from geodescent.generalisation import class_posterior_of, posterior_of
from geodescent.generalisation.posterior._linear_part import RIDGE_PENALTIES, unexplained
from geodescent.generalisation.posterior._numbers import Beliefs
from geodescent.generalisation.posterior.classes._laplace import mode_of
from geodescent.generalisation.posterior.classes._linear_begin import linear_coefficients


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ones(n: int) -> Tensor:
    return torch.ones(n, dtype=torch.float64)


def ridge(x: Tensor, y: Tensor, weights: Tensor, penalty: float) -> Tensor:
    """Coefficients by the normal equations, the constant's penalised like the others."""
    wide = torch.cat([x, ones(len(x))[:, None]], 1)
    normal = wide.T @ (weights[:, None] * wide) + penalty * torch.eye(wide.shape[1], dtype=torch.float64)
    return torch.linalg.solve(normal, wide.T @ (weights[:, None] * y))


def test_what_a_linear_function_leaves_is_that_of_refits_without_a_repetition_of_each_row() -> None:
    x, weights = drawn(12, 3, seed=0), 0.5 + drawn(12, seed=1).abs()
    y = x[:, :2] + 0.7 * drawn(12, 2, seed=2)
    shares = list[float]()
    for penalty in RIDGE_PENALTIES:
        missed = 0.0
        for i in range(12):
            rest = weights.clone()
            rest[i] = (rest[i] - 1.0).clamp(min=0.0)
            told = torch.cat([x[i], ones(1)]) @ ridge(x, y, rest, penalty)
            missed += float(weights[i] * (y[i] - told).square().sum())
        shares.append(missed / float((weights[:, None] * y.square()).sum()))
    assert unexplained(x, y, weights) == pytest.approx(min(shares), rel=1e-10)


def test_noise_is_left_whole() -> None:
    assert unexplained(drawn(30, 20, seed=0), drawn(30, 1, seed=1), ones(30)) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.3), (0.3, 0.3), (0.01, 0.01), (0.0, 1e-6)])
def test_layers_and_steps_are_not_believed_to_be_more_than_a_linear_function_leaves(
    share: float, expected: float
) -> None:
    means = Beliefs.of(2, 3, share).mean.exp()
    torch.testing.assert_close(means[2:5], expected * ones(3))
    assert float(means[-3]) == pytest.approx(expected)


def payments(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A column with a quarter of its entries missing, which alone shifts the target by 40, and small linear effects."""
    generator = torch.Generator().manual_seed(seed)
    absent = (torch.rand(n, dtype=torch.float64, generator=generator) < 0.25).double()
    income, size, others = drawn(n, seed=seed + 1), drawn(n, seed=seed + 2), drawn(n, 4, seed=seed + 3)
    given, skewed = torch.where(absent > 0.0, 1.0, (0.6 * income).exp()), (0.6 * size).exp()
    noise = 0.2 * drawn(n, seed=seed + 4)
    y = 40.0 * absent + 0.7 * skewed + 0.5 * others[:, 0] + 0.3 * others[:, 1] + noise
    return torch.stack([given, absent, skewed, *others.T], 1), y


def test_a_column_whose_missing_entries_decide_nearly_all_does_not_hide_the_rest() -> None:
    """The error of a linear truth is its noise, 0.2: the network and the steps do not follow the noise."""
    errors = list[float]()
    for seed in (0, 10, 20):
        x, y = payments(120, seed)
        new, expected = payments(600, seed + 1000)
        found = posterior_of(x, y, ones(120), starts=1, seed=0)
        errors.append(float((found.predict(new) - expected).square().mean()))
    assert (sum(errors) / 3.0) ** 0.5 < 0.2 * 1.06


def flats(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Price and area, skewed, and eight columns of noise; the class is told by the price of a square metre."""
    area, metre = (4.0 + 0.8 * drawn(n, seed=seed)).exp(), 0.2 * drawn(n, seed=seed + 1)
    labels = torch.bucketize(metre, torch.tensor([-0.086, 0.086], dtype=torch.float64))
    return torch.cat([(area * metre.exp())[:, None], area[:, None], drawn(n, 8, seed=seed + 2)], 1), labels


def test_classes_are_told_by_the_ratio_of_two_columns() -> None:
    """Three rows of four are right; by the usual beginning alone hardly more than by the shares of the classes."""
    right = list[Tensor]()
    for seed in (0, 10):
        x, labels = flats(150, seed)
        new, expected = flats(600, seed + 1000)
        found = class_posterior_of(x, labels, ones(150), seed=0, starts=1)
        right.append((found.probabilities(new).argmax(1) == expected).double())
    assert all(float(share.mean()) > 0.75 for share in right)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_coefficients_are_those_of_the_most_probable_linear_functions(n_classes: int) -> None:
    """Where a coefficient has the variance 1: `w = Xᵀ (y − p)`, the score of logistic regression with a penalty."""
    x = drawn(60, 3, seed=0)
    labels = (x[:, 0] - x[:, 1] + 0.8 * drawn(60, seed=1)).argsort().argsort() * n_classes // 60
    targets = torch.nn.functional.one_hot(labels, n_classes).double()[:, 1 if n_classes == 2 else 0 :]
    found = linear_coefficients(x, targets, ones(60))
    mode = mode_of(x @ x.T + 1.0, targets, ones(60))
    torch.testing.assert_close(x.T @ mode.dual, x.T @ (targets - mode.shares), rtol=1e-4, atol=1e-4)
    size = found.norm(dim=1)
    assert min(size[0], size[1]) > 3.0 * size[2]
    assert bool((found[0] * found[1] <= 0.05).all())
