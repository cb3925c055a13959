"""`posterior.network()`: at the maximum of its own posterior, in raw units, a module like any other."""

import copy

import torch
from torch import Tensor

from geodescent.generalisation import posterior_of
from geodescent.generalisation.posterior._covariance import PriorRows, covariance
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._plain_network import Branch, most_probable
from geodescent.generalisation.posterior._rows import FittedRows


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def numbers(d: int) -> PriorNumbers:
    """Not the ones that suit anything."""
    logarithms = torch.cat([torch.full((d,), 0.5), torch.tensor([0.4, 0.3, 0.2, 1.5, 0.1, 0.3]), torch.ones(d)])
    return PriorNumbers.of(logarithms.double().log(), d)


def rows(n: int, d: int) -> FittedRows:
    x, weights = drawn(n, d), 0.5 + torch.rand(n, generator=torch.Generator().manual_seed(3)).double()
    return FittedRows(x, torch.sin(2.0 * x[:, :2]), weights, torch.arange(n), flat=False)


def test_the_gradient_of_the_objective_vanishes() -> None:
    """`Σ w (y − x)²/σ² + Σ (θ − θ₀)²/pv`, by autograd through the module."""
    data, of, output = rows(30, 3), numbers(3), 1
    branch = most_probable(drawn_layers(3, 0), of, data, output, settled=1e-15, most_steps=300)
    start = Branch(drawn_layers(3, 0), of.scales)
    values, first = ([p for p in one.parameters() if p.requires_grad] for one in (branch, start))
    apart = torch.cat([(a - b).reshape(-1) for a, b in zip(values[: len(first)], first, strict=True)])
    misfit = (data.weights * (branch(data.x)[:, 0] - data.y[:, output]).square()).sum() / of.noise[0]
    objective = misfit + (apart.square() / start.prior_variances(of)).sum()
    gradients = torch.autograd.grad(objective, values[: len(first)])
    before = torch.autograd.grad((data.weights * (start(data.x)[:, 0] - data.y[:, output]).square()).sum(), first)
    size = max(float(g.abs().max()) for g in before) / float(of.noise)
    assert max(float(g.abs().max()) for g in gradients) < 1e-6 * size


def test_the_first_step_is_the_linearised_posterior() -> None:
    """Of a prior so narrow that the network stays linear: the mean of the Gaussian process without steps."""
    data, of = rows(30, 3), numbers(3)
    narrow = PriorNumbers(of.scales, 1e-6 * of.layers, 1e-6 * of.linear, 1e4 * of.noise, of.steps, of.rates)
    network = drawn_layers(3, 0)
    branch = most_probable(network, narrow, data, 0)
    asked = drawn(7, 3, seed=9)
    here, there = (PriorRows.of(network, x, x, narrow).detached() for x in (data.x, asked))
    total = covariance(here, here, narrow, steps=False)
    total.diagonal().add_(narrow.noise / data.weights)
    mean = covariance(there, here, narrow, steps=False) @ torch.linalg.solve(total, data.y[:, 0])
    found = branch(asked)[:, 0].detach()
    apart, expected = found - found.mean(), mean - mean.mean()  # the constant has a prior that is not narrow
    torch.testing.assert_close(apart / expected.std(), expected / expected.std(), rtol=1e-3, atol=1e-3)


def test_it_takes_and_gives_raw_numbers() -> None:
    """Other units of inputs and targets change nothing, and it predicts about as well as the posterior."""
    x = drawn(80, 3)
    y = torch.stack([torch.sin(2.0 * x[:, 0]), x[:, 1] ** 2], 1) + 0.2 * drawn(80, 2, seed=1)
    ones, asked = torch.ones(80, dtype=torch.float64), drawn(200, 3, seed=5)
    plain = posterior_of(x, y, ones, starts=1, seed=0).network()
    scaled = posterior_of(1e3 * x + 5.0, 1e-2 * y - 7.0, ones, starts=1, seed=0).network()
    with torch.no_grad():
        found, other = plain(asked), scaled(1e3 * asked + 5.0)
    torch.testing.assert_close(other, 1e-2 * found - 7.0, rtol=1e-5, atol=1e-5)
    truth = torch.stack([torch.sin(2.0 * asked[:, 0]), asked[:, 1] ** 2], 1)
    assert bool(((found - truth).square().mean(0) < 0.2 * truth.var(0)).all())


def test_it_is_a_module_like_any_other() -> None:
    x = drawn(30, 2)
    posterior = posterior_of(x, x[:, 0], torch.ones(30, dtype=torch.float64), starts=2, seed=0)
    network = posterior.network()
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter.data)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), network(x))
    assert network(x).shape == (30, 1)
    assert not any(parameter.requires_grad for parameter in posterior.members[0].network.parameters())
