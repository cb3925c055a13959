"""More rows than have one factor: conjugate gradients, rows left out by random signs, variances through some rows."""

import pytest
import torch
from torch import Tensor

from geodescent._deadline import within
from geodescent.generalisation import Posterior, posterior_of
from geodescent.generalisation.posterior._conditioning import most_rows
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._induced import Induced
from geodescent.generalisation.posterior._iterated import by_conjugate_gradients, rounded_gram
from geodescent.generalisation.posterior._member import Member
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers

HERE = "geodescent.generalisation.posterior"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def setting(n: int) -> tuple[PriorRows, Tensor, PriorNumbers, Tensor]:
    """Rows with steps, their noise, numbers, and targets of two columns."""
    figures = [0.7, 0.7, 0.3, 0.4, 0.3, 0.2, 0.1, 0.05, 0.5, 0.4, 0.6, 0.3]
    numbers, x = PriorNumbers.of(torch.tensor(figures, dtype=torch.float64).log(), 3), drawn(n, 3)
    rows = PriorRows.of(drawn_layers(3, 0), x, 1.2 * x, numbers).detached()
    weights = 0.5 + torch.rand(n, generator=torch.Generator().manual_seed(2)).double()
    y = torch.stack([torch.sin(2.0 * x[:, 0]), torch.sign(x[:, 1])], 1) + 0.3 * drawn(n, 2, seed=1)
    return rows, numbers.noise / weights, numbers, y


def dense(rows: PriorRows, noise: Tensor, numbers: PriorNumbers) -> Tensor:
    return covariance(rows, rows, numbers) + torch.diag(noise)


def test_through_all_rows_the_covariance_is_exact() -> None:
    rows, noise, numbers, y = setting(40)
    near, total = Induced.of(rows, torch.arange(40), noise, numbers), dense(rows, noise, numbers)
    torch.testing.assert_close(near.inverse(y), torch.linalg.solve(total, y), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(near.inverse_diagonal(), torch.linalg.inv(total).diagonal(), rtol=1e-5, atol=1e-5)
    others = PriorRows.of(drawn_layers(3, 0), drawn(9, 3, seed=4), drawn(9, 3, seed=4), numbers).detached()
    across = covariance(rows, others, numbers)
    explained = (across * torch.linalg.solve(total, across)).sum(0)
    torch.testing.assert_close(near.factors.explained(others), explained, rtol=1e-5, atol=1e-5)


def test_through_some_rows_it_is_exact_on_the_diagonal() -> None:
    """`V Vᵀ + Λ` by its formula; what new rows are told is what a Gaussian process of that covariance is."""
    rows, noise, numbers, y = setting(40)
    picked = torch.arange(0, 40, 4)
    near, some = Induced.of(rows, picked, noise, numbers), rows.part(picked)
    gram, across = covariance(some, some, numbers), covariance(some, rows, numbers)
    low = across.T @ torch.linalg.solve(gram, across)
    total = low + torch.diag(variances(rows, numbers) - low.diagonal() + noise)
    torch.testing.assert_close(total.diagonal(), dense(rows, noise, numbers).diagonal())
    torch.testing.assert_close(near.inverse(y), torch.linalg.solve(total, y), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(near.inverse_diagonal(), torch.linalg.inv(total).diagonal(), rtol=1e-5, atol=1e-5)
    others = PriorRows.of(drawn_layers(3, 0), drawn(9, 3, seed=4), drawn(9, 3, seed=4), numbers).detached()
    to_others = across.T @ torch.linalg.solve(gram, covariance(some, others, numbers))
    explained = (to_others * torch.linalg.solve(total, to_others)).sum(0)
    torch.testing.assert_close(near.factors.explained(others), explained, rtol=1e-5, atol=1e-5)


def test_the_covariance_in_float32_is_the_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{HERE}._iterated.ROWS_AT_ONCE", 7)
    rows, _, numbers, _ = setting(40)
    found = rounded_gram(rows, numbers)
    torch.testing.assert_close(found, found.T, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.double(), covariance(rows, rows, numbers), rtol=1e-5, atol=1e-5)


def test_conjugate_gradients_solve_each_column() -> None:
    """Of zeros too; with the inverse itself in front one step is enough."""
    rows, noise, numbers, y = setting(40)
    total = dense(rows, noise, numbers)
    right = torch.cat([y, torch.zeros(40, 1, dtype=torch.float64)], 1)
    for inverse in (torch.eye(40, dtype=torch.float64), torch.linalg.inv(total)):
        found = by_conjugate_gradients(total.matmul, inverse.matmul, right, tolerance=1e-10)
        torch.testing.assert_close(found, torch.linalg.solve(total, right), rtol=1e-7, atol=1e-8)


def test_many_rows_are_conditioned_on_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean to the tolerance, what is left out to a few per cent by 64 random signs."""
    monkeypatch.setattr(f"{HERE}._iterated.INDUCING", 60)
    rows, noise, numbers, y = setting(300)
    network, x = drawn_layers(3, 0), drawn(50, 3, seed=4)
    exact = Member.of(network, rows, y, noise, numbers)
    iterated = Member.by_iteration(network, rows, y, noise, numbers, seed=0)
    others = exact.at(x, x)
    torch.testing.assert_close(iterated.mean(others), exact.mean(others), rtol=0.0, atol=5e-3)
    apart = iterated.left_out - exact.left_out
    assert float(apart.square().mean().sqrt()) < 0.08 * float(exact.left_out.square().mean().sqrt())
    ours, theirs = float(iterated.left_out.square().mean()), float(exact.left_out.square().mean())
    assert ours == pytest.approx(theirs, rel=0.05)
    assert bool((iterated.variance(others) > exact.variance(others) - 1e-6).all())
    assert len(iterated.picked) == 60


def test_through_all_rows_what_is_left_out_varies_as_with_one_factor() -> None:
    """Fewer rows than are picked: near is the covariance itself."""
    rows, noise, numbers, y = setting(40)
    network = drawn_layers(3, 0)
    exact, iterated = (
        Member.of(network, rows, y, noise, numbers),
        Member.by_iteration(network, rows, y, noise, numbers, 0),
    )
    torch.testing.assert_close(iterated.left_out_variance, exact.left_out_variance, rtol=1e-4, atol=1e-5)


def many(monkeypatch: pytest.MonkeyPatch, *, noise: float = 0.3) -> Posterior:
    """Of 500 rows where 200 are already many."""
    for file, name, value in (
        ("_conditioning", "MOST_FACTORED", 200),
        ("_posterior", "MOST_FACTORED", 200),
        ("_conditioning", "MOST_ROWS", 1000),
        ("_conditioning", "TUNED_ON", 200),
        ("_iterated", "INDUCING", 100),
    ):
        monkeypatch.setattr(f"{HERE}.{file}.{name}", value)
    x = drawn(500, 3)
    y = torch.sin(2.0 * x[:, 0]) + 0.5 * x[:, 1] ** 2 + noise * drawn(500, seed=1)
    return posterior_of(x, y, torch.ones(500, dtype=torch.float64), starts=5, seed=0)


@pytest.mark.slow
def test_error_bars_of_many_rows_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior, x = many(monkeypatch), drawn(2000, 3, seed=7)
    y = torch.sin(2.0 * x[:, 0]) + 0.5 * x[:, 1] ** 2 + 0.3 * drawn(2000, seed=8)
    lower, upper = posterior.interval(x)
    assert 0.87 <= float(((lower <= y) & (y <= upper)).double().mean()) <= 0.94
    rmse = float((posterior.predict(x) - y).square().mean().sqrt())
    assert rmse == pytest.approx(float(posterior.left_out_rmse), rel=0.1)
    assert rmse < 0.36
    assert "500 rows are more than 200" in posterior.notes[0]
    assert "4 of 5 starts can be afforded" in posterior.notes[0]


def test_rows_for_which_there_is_no_time_are_not_used() -> None:
    assert most_rows(30_000) == 20_000
    with within(10.0):
        assert most_rows(30_000) == 5_000
        assert most_rows(6_000) == 6_000


@pytest.mark.slow
def test_a_posterior_of_many_rows_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior, asked = many(monkeypatch), drawn(9, 3, seed=5)
    back = Posterior.from_tensors(posterior.tensors())
    assert torch.equal(posterior.predict(asked), back.predict(asked))
    ours, theirs = posterior.standard_deviation(asked), back.standard_deviation(asked)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0.0)
    assert posterior.network()(asked).shape == (9, 1)


@pytest.mark.slow
def test_many_rows_without_noise_are_no_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The covariance is rounded to float32: its rounding takes the place of the noise."""
    posterior, x = many(monkeypatch, noise=0.0), drawn(200, 3, seed=7)
    y = torch.sin(2.0 * x[:, 0]) + 0.5 * x[:, 1] ** 2
    assert float((posterior.predict(x) - y).square().mean().sqrt()) < 0.1
    assert bool(torch.isfinite(posterior.standard_deviation(x)).all())
