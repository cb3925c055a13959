"""The posterior of classes: Laplace's mode, rows left out, the slope of the evidence, calibrated probabilities."""

import math

import pytest
import torch
from torch import Tensor

from geodescent.generalisation import class_posterior_of
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior.classes._calibration import Calibration, shrunk
from geodescent.generalisation.posterior.classes._class_conditioning import TriedAmplitude, chosen_of
from geodescent.generalisation.posterior.classes._class_evidence import ClassEvidence, factor_of, linearised_at
from geodescent.generalisation.posterior.classes._laplace import LatentMode, mode_of


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def setting(n_classes: int, n: int = 14) -> tuple[Tensor, Tensor, Tensor]:
    """A covariance, targets and weights."""
    x = drawn(n, 2)
    gram = 2.0 * torch.exp(-0.5 * torch.cdist(x, x).square()) + 0.1 * torch.eye(n, dtype=torch.float64)
    labels = torch.arange(n) % n_classes
    targets = torch.nn.functional.one_hot(labels, n_classes).double()
    weights = 0.5 + torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return gram, targets[:, 1:] if n_classes == 2 else targets, weights


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_the_density_is_stationary_at_the_mode(n_classes: int) -> None:
    """`w (y − p) = K⁻¹ f`."""
    gram, targets, weights = setting(n_classes)
    mode = mode_of(gram, targets, weights)
    expected = weights[:, None] * (targets - mode.shares)
    torch.testing.assert_close(mode.dual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_posterior_covariance_is_the_inverse_of_the_curvature(n_classes: int) -> None:
    """`(K⁻¹ + W)⁻¹`, of all rows and classes at once; its diagonal blocks."""
    gram, targets, weights = setting(n_classes)
    mode = mode_of(gram, targets, weights)
    p, (n, c) = mode.shares, targets.shape
    curvature = weights[:, None, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None])
    full = torch.zeros(n, c, n, c, dtype=torch.float64)
    for i in range(n):
        full[i, :, i] = curvature[i]
    prior = torch.einsum("ij,ab->iajb", gram, torch.eye(c, dtype=torch.float64)).reshape(n * c, n * c)
    covariance = torch.linalg.inv(torch.linalg.inv(prior) + full.reshape(n * c, n * c)).reshape(n, c, n, c)
    blocks = torch.stack([covariance[i, :, i] for i in range(n)])
    eye = torch.eye(c, dtype=torch.float64)
    found = gram.diagonal()[:, None, None] * eye - mode.reduction(gram)
    torch.testing.assert_close(found, blocks, rtol=1e-6, atol=1e-8)


def rest_of(mode: LatentMode, i: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of row i's latents by the mode of all other rows."""
    rest = torch.arange(len(mode.weights)) != i
    other = mode_of(mode.gram[rest][:, rest], mode.targets[rest], mode.weights[rest])
    mean, variance = other.predicted(mode.gram[rest][:, ~rest], mode.gram.diagonal()[~rest])
    return mean[0], variance[0]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_left_out_are_as_without_them(n_classes: int) -> None:
    """To the order of Laplace's approximation: small covariances make it exact."""
    gram, targets, weights = setting(n_classes)
    mode = mode_of(0.02 * gram, targets, weights)
    means, variances = mode.left_out()
    for i in (0, 5, 13):
        mean, variance = rest_of(mode, i)
        torch.testing.assert_close(means[i], mean, rtol=1e-2, atol=1e-4)
        torch.testing.assert_close(variances[i], variance, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_slope_of_the_evidence_of_classes_is_its_derivative(n_outputs: int) -> None:
    x = drawn(15, 2)
    weights = torch.ones(15, dtype=torch.float64)
    of = ClassEvidence(drawn_layers(2, 0), x, Ranks.of(x, weights)(x), weights)
    begin = of.beliefs.mean + 0.2 * drawn(len(of.beliefs.mean), seed=3)
    z, noise = drawn(15, n_outputs, seed=4), 0.5 + drawn(15, n_outputs, seed=5).abs()
    found = of(begin, z, noise, factor=2.0, share=0.6)
    assert found is not None
    for i in range(len(begin)):
        change = torch.zeros_like(begin)
        change[i] = 1e-5
        ahead, behind = (of(begin + sign * change, z, noise, factor=2.0, share=0.6) for sign in (1.0, -1.0))
        assert ahead is not None
        assert behind is not None
        assert float(found[1][i]) == pytest.approx((ahead[0] - behind[0]) / 2e-5, rel=1e-5, abs=1e-6)


def noisy_classes(n: int, n_classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = drawn(n, 3, seed=seed)
    logits = torch.stack([(k + 1.0) * torch.sin(x[:, 0] + k) + x[:, 1] * (k - 1.0) for k in range(n_classes)], 1)
    share = torch.softmax(2.0 * logits, 1)
    return x, torch.multinomial(share, 1, generator=torch.Generator().manual_seed(seed + 1))[:, 0]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_true(n_classes: int) -> None:
    """Better than the shares of the classes, as good as rows left out say, and as often right as they say."""
    x, labels = noisy_classes(200, n_classes)
    posterior = class_posterior_of(x, labels, torch.ones(200, dtype=torch.float64), seed=0)
    x, labels = noisy_classes(2000, n_classes, seed=9)
    p = posterior.probabilities(x)
    torch.testing.assert_close(p.sum(1), torch.ones(2000, dtype=torch.float64))
    loss = float(-p[torch.arange(2000), labels].log().mean())
    shares = torch.bincount(labels) / 2000.0
    assert loss < 0.85 * float(-(shares * shares.log()).sum())
    assert loss == pytest.approx(posterior.left_out_log_loss, abs=0.08)
    right = (p.argmax(1) == labels).double().mean()
    assert float(right) == pytest.approx(float(p.amax(1).mean()), abs=0.05)


def test_a_calibration_undoes_what_was_done_to_the_logits() -> None:
    """Up to its prior, which counts as one row or so."""
    latents = 3.0 * drawn(4000, 1)
    chance = torch.rand(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = (chance < torch.sigmoid(0.5 * latents + 0.7)).long()[:, 0]
    found = Calibration.of(latents, labels, torch.ones(4000, dtype=torch.float64))
    assert float(found.slope) == pytest.approx(0.5, abs=0.06)
    assert float(found.shift[0]) == pytest.approx(0.7, abs=0.12)
    assert math.isfinite(float(found.losses(latents, labels).mean()))


def test_a_regression_on_the_linearised_classes_has_the_same_mode() -> None:
    """Of two classes exactly, weights included: `K (K + 1/(w W'))⁻¹ z = f`."""
    gram, targets, weights = setting(2)
    mode = mode_of(gram, targets, weights)
    z, noise = linearised_at(mode)
    found = gram @ torch.linalg.solve(gram + torch.diag(noise[:, 0]), z)
    torch.testing.assert_close(found, mode.latents, rtol=1e-5, atol=1e-6)


def test_one_latent_function_of_two_classes_is_the_difference_of_two() -> None:
    gram, targets, weights = setting(2)
    one = mode_of(factor_of(targets) * gram, targets, weights)
    two = mode_of(factor_of(both := torch.cat([1.0 - targets, targets], 1)) * gram, both, weights)
    torch.testing.assert_close(one.shares[:, 0], two.shares[:, 1], rtol=1e-5, atol=1e-6)


def test_a_shrunk_latent_function_has_the_mean_probability() -> None:
    """`σ(f/√(1 + πv/8)) ≈ E σ(f + √v ε)`, to two per cent."""
    normal = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(9999).double() + 1.0) / 10000.0)
    for mean, variance in ((1.0, 0.5), (-2.0, 3.0), (0.5, 8.0), (3.0, 20.0)):
        expected = float(torch.sigmoid(mean + math.sqrt(variance) * normal).mean())
        found = torch.sigmoid(shrunk(*torch.tensor([mean, variance], dtype=torch.float64)))
        assert float(found) == pytest.approx(expected, abs=0.02)


def test_fitted_rows_are_predicted_by_mode_and_posterior_covariance() -> None:
    x, labels = noisy_classes(40, 2)
    posterior = class_posterior_of(x, labels, torch.ones(40, dtype=torch.float64), seed=0, starts=1)
    (member,) = posterior.members
    mode = member.mode
    variance = mode.gram.diagonal()[:, None] - mode.reduction(mode.gram).diagonal(dim1=1, dim2=2)
    expected = member.calibration.probabilities(shrunk(mode.latents, variance))
    assert member.amplitude != pytest.approx(1.0)
    torch.testing.assert_close(member.probabilities(member.rows.x, posterior.ranks(member.rows.x)), expected)


def test_of_amplitudes_that_are_as_good_the_one_nearest_to_the_evidence_is_chosen() -> None:
    x, labels = noisy_classes(10, 2)
    (member,) = class_posterior_of(x, labels, torch.ones(10, dtype=torch.float64), seed=0, starts=1).members
    losses, ones = drawn(10).abs(), torch.ones(10, dtype=torch.float64)
    tried = [TriedAmplitude(times, member, losses, losses) for times in (8.0, 2.0, 0.25)]
    assert chosen_of(tried, ones).times == 2.0
    worse = TriedAmplitude(1.0, member, losses, losses + 1.0)
    assert chosen_of([worse, *tried], ones).times == 2.0
