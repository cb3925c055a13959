"""`gd.fit_posterior`: the evidence and its slope, the covariance, rows left out, repetitions, units and error bars."""

import math

import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent.generalisation.posterior import Evidence, PriorNumbers
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._member import Member
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._ranks import Ranks


def noisy(n: int, d: int = 3, *, seed: int = 0, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Inputs, and a smooth function of two of them with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    y = torch.sin(2.0 * x[:, 0]) + 0.5 * x[:, 1] ** 2
    return x, y + noise * torch.randn(n, dtype=torch.float64, generator=generator)


def evidence(n: int = 25, d: int = 3, n_outputs: int = 2) -> tuple[Evidence, Tensor]:
    """With weights, and logarithms that are not the most probable ones."""
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(n, k, dtype=torch.float64, generator=generator) for k in (d, n_outputs))
    weights = 0.5 + 2.0 * torch.rand(n, dtype=torch.float64, generator=generator)
    found = Evidence(drawn_layers(d, 0), x, y, weights)
    mean = found.beliefs.mean
    return found, mean + 0.3 * torch.randn(len(mean), dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("steps", [True, False])
def test_the_slope_of_the_evidence_is_its_derivative(steps: bool) -> None:
    of, logarithms = evidence()
    _, slope = of(logarithms, steps=steps) or (0.0, logarithms)
    for i in range(len(logarithms)):
        change = torch.zeros_like(logarithms)
        change[i] = 1e-5
        ahead, behind = (of(logarithms + sign * change, steps=steps) for sign in (1.0, -1.0))
        assert ahead is not None
        assert behind is not None
        if steps or not bool(of.beliefs.of_steps[i]):
            assert float(slope[i]) == pytest.approx((ahead[0] - behind[0]) / 2e-5, rel=1e-5, abs=1e-6)


def test_the_evidence_is_that_of_a_normal_distribution() -> None:
    """Weights of one, one output: `−log N(y | 0, G + σ²)` but for the constant."""
    of, logarithms = evidence(n_outputs=1)
    of = Evidence(of.network, of.x, of.y, torch.ones_like(of.weights))
    numbers = PriorNumbers.of(logarithms, 3)
    rows = PriorRows.of(of.network, of.x, Ranks.of(of.x, of.weights)(of.x), numbers).detached()
    total = covariance(rows, rows, numbers) + numbers.noise * torch.eye(25, dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(torch.zeros(25, dtype=torch.float64), total)
    expected = -normal.log_prob(of.y[:, 0]) - 12.5 * math.log(2.0 * math.pi) + of.beliefs.cost(logarithms)
    found = of(logarithms)
    assert found is not None
    assert found[0] == pytest.approx(float(expected), rel=1e-10)


def test_the_evidence_of_a_row_of_weight_two_is_that_of_two_rows() -> None:
    """But for a constant."""
    of, logarithms = evidence()
    weights = torch.ones(25, dtype=torch.float64)
    weights[:10] = 2.0
    weighed = Evidence(of.network, of.x, of.y, weights)
    x, y = torch.cat([of.x, of.x[:10]]), torch.cat([of.y, of.y[:10]])
    repeated = Evidence(of.network, x, y, torch.ones(35, dtype=torch.float64))
    ours, theirs = weighed(logarithms), repeated(logarithms)
    assert ours is not None
    assert theirs is not None
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-8, atol=1e-10)


def test_the_covariance_of_the_layers_is_that_of_the_linearised_network() -> None:
    """`D diag(pv) Dᵀ` by an output map of the same network."""
    of, logarithms = evidence()
    numbers = PriorNumbers.of(logarithms, 3)
    rows = PriorRows.of(of.network, of.x, of.x, numbers).detached()
    network = drawn_layers(3, 0).requires_grad_()
    outputs = gd.SampleMap(network, rows.scaled)
    parts = list[Tensor]()
    for name, parameter in network.named_parameters():
        layer = int(name.split(".")[0]) // 2
        fan_in = 1.0 if layer == 0 or name.endswith("bias") else float(parameter.shape[1])
        parts.append(torch.full((parameter.numel(),), float(numbers.layers[layer]) / fan_in, dtype=torch.float64))
    of_layers = outputs.linearise()[1].scaled(columns=torch.cat(parts).sqrt()).gram()
    linear = 1.0 + numbers.linear * of.x @ of.x.T / 3
    found = covariance(rows, rows, numbers, steps=False)
    torch.testing.assert_close(found, of_layers + linear, rtol=1e-12, atol=1e-12)
    whole = covariance(rows, rows, numbers)
    torch.testing.assert_close(whole.diagonal(), variances(rows, numbers), rtol=1e-12, atol=1e-12)


def member(of: Evidence, numbers: PriorNumbers, ranks: Tensor, rest: Tensor) -> Member:
    """Conditioned on these rows alone."""
    rows = PriorRows.of(of.network, of.x[rest], ranks[rest], numbers).detached()
    return Member.of(of.network, rows, of.y[rest], numbers.noise / of.weights[rest], numbers)


def test_what_is_left_out_is_what_the_other_rows_predict() -> None:
    of, logarithms = evidence()
    numbers, ranks = PriorNumbers.of(logarithms, 3), Ranks.of(of.x, of.weights)(of.x)
    whole = member(of, numbers, ranks, torch.arange(25))
    for i in (0, 7, 24):
        rest = torch.arange(25) != i
        other = member(of, numbers, ranks, rest)
        row = other.at(of.x[~rest], ranks[~rest])
        torch.testing.assert_close(whole.left_out[i], of.y[i] - other.mean(row)[0], rtol=1e-8, atol=1e-10)
        expected = other.variance(row)[0] + numbers.noise[0] / of.weights[i]
        torch.testing.assert_close(whole.left_out_variance[i], expected, rtol=1e-8, atol=1e-10)


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    x, y = noisy(60)
    weights = torch.ones(60, dtype=torch.float64)
    weights[:20], weights[-5:] = 2.0, 0.0
    one = gd.fit_posterior(x, y, weights=weights, starts=2)
    other = gd.fit_posterior(torch.cat([x[:55], x[:20]]), torch.cat([y[:55], y[:20]]), starts=2)
    asked = noisy(9, seed=5)[0]
    torch.testing.assert_close(one.predict(asked), other.predict(asked), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.standard_deviation(asked), other.standard_deviation(asked), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.interval(asked), other.interval(asked), rtol=1e-6, atol=1e-6)
    assert one.left_out_rmse == pytest.approx(float(other.left_out.square().mean().sqrt()))


@pytest.mark.parametrize(("of_x", "of_y", "shift"), [(1e6, 1e9, 0.0), (1e-6, 1e-9, 0.0), (1.0, 1.0, 1e4)])
def test_units_change_nothing(of_x: float, of_y: float, shift: float) -> None:
    x, y = noisy(50)
    asked = noisy(9, seed=5)[0]
    plain = gd.fit_posterior(x, y, starts=2)
    scaled = gd.fit_posterior(of_x * x, of_y * y + shift, starts=2)
    expected = of_y * plain.predict(asked) + shift
    torch.testing.assert_close(scaled.predict(of_x * asked), expected, rtol=1e-6, atol=1e-6 * of_y)
    assert scaled.left_out_rmse == pytest.approx(of_y * float(plain.left_out_rmse), rel=1e-5)


def test_ranks_are_those_of_any_monotone_change() -> None:
    x = noisy(40)[0]
    weights = torch.ones(40, dtype=torch.float64)
    torch.testing.assert_close(Ranks.of(x, weights)(x), Ranks.of(x.exp(), weights)(x.exp()))
    assert float(Ranks.of(x, weights)(x).square().mean()) == pytest.approx(1.0, abs=0.01)


def test_ties_have_their_middle_rank_and_between_two_values_it_is_interpolated() -> None:
    """Three rows, the first of weight two: its rank is ¼, those of the others ⅝ and ⅞; a constant is in the middle."""
    x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]], dtype=torch.float64)
    ranks = Ranks.of(x, torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    asked = torch.tensor([[0.0, 4.0], [1.0, 5.0], [2.0, 6.0], [3.0, 5.0], [9.0, 5.0]], dtype=torch.float64)
    found = ranks(asked) / math.sqrt(12.0) + 0.5
    assert found[:, 0].tolist() == pytest.approx([0.25, 0.25, 0.625, 0.75, 0.875])
    assert found[:, 1].tolist() == pytest.approx([0.5] * 5)


def test_error_bars_are_true() -> None:
    """Of 2,000 new targets nine in ten lie inside, and the error is what the rows left out say."""
    posterior = gd.fit_posterior(*noisy(200))
    x, y = noisy(2000, seed=7)
    lower, upper = posterior.interval(x)
    inside = float(((lower <= y) & (y <= upper)).double().mean())
    assert 0.86 <= inside <= 0.95
    rmse = float((posterior.predict(x) - y).square().mean().sqrt())
    assert rmse == pytest.approx(float(posterior.left_out_rmse), rel=0.15)
    assert rmse < 0.45
    assert 0.5 < posterior.noise * float(y.var()) / 0.09 < 1.7


def test_more_columns_than_rows_are_no_surprise() -> None:
    """Of targets that are noise alone the left-out error is about their spread."""
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.randn(60, *shape, dtype=torch.float64, generator=generator) for shape in ((150,), ()))
    posterior = gd.fit_posterior(x, y, starts=2)
    assert 0.8 < float(posterior.left_out_rmse) / float(y.std()) < 1.7


def test_several_outputs_have_their_own_error_bars() -> None:
    x, y = noisy(80)
    posterior = gd.fit_posterior(x, torch.stack([y, 100.0 * y.roll(1), x[:, 2]], 1), starts=2)
    lower, upper = posterior.interval(x)
    assert posterior.predict(x).shape == lower.shape == posterior.left_out.shape == (80, 3)
    assert bool((lower < upper).all())
    assert float((upper - lower)[:, 1].mean()) > 50.0 * float((upper - lower)[:, 0].mean())


def test_more_rows_than_fit_are_drawn_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geodescent.generalisation.posterior._conditioning.MOST_ROWS", 50)
    posterior = gd.fit_posterior(*noisy(70), starts=1)
    assert len(posterior.left_out) == 50
    assert any("Of the 70 rows 50 were drawn" in note for note in posterior.notes)


def test_rows_that_do_not_fit_into_memory_are_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "geodescent.generalisation.posterior._conditioning"
    monkeypatch.setattr(f"{here}.MOST_FACTORED", 40)
    monkeypatch.setattr(f"{here}.fits", lambda n_bytes, device: n_bytes < 6.0 * 70.0**2)
    assert any("Of the 70 rows 40 were drawn" in note for note in gd.fit_posterior(*noisy(70), starts=1).notes)
    assert gd.fit_posterior(*noisy(69), starts=1).rows_used == 69


def test_it_says_what_it_is() -> None:
    posterior = gd.fit_posterior(*noisy(50), starts=2)
    assert repr(posterior).startswith("Posterior(50 rows of 3 columns, R² of rows left out 0.")
    lines = str(posterior).splitlines()
    assert lines[0] == "posterior of 50 rows of 3 columns, 2 starts averaged"
    assert lines[1].startswith("error to expect of new rows, by rows left out: 0.")
    assert max(map(len, lines)) <= 80


def test_time_ends_the_starts() -> None:
    posterior = gd.fit_posterior(*noisy(150), starts=40, max_seconds=1e-3)
    assert any("of 40 starts" in note for note in posterior.notes)


WRONG = {
    "one axis": ((torch.ones(9), torch.ones(9)), "X.reshape"),
    "other rows": ((torch.ones(9, 2), torch.ones(8)), "one target a row"),
    "images": ((torch.ones(9, 1, 4, 4), torch.ones(9)), r"X.reshape\(len\(X\), -1\). A model of images"),
    "NaN": ((torch.full((9, 2), math.nan), torch.ones(9)), "NaN or infinite"),
    "two rows": ((torch.ones(2, 2), torch.ones(2)), "too few"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_refused(name: str) -> None:
    (x, y), said = WRONG[name]
    with pytest.raises(gd.InputError, match=said):
        gd.fit_posterior(x, y)


def test_weights_below_zero_are_refused() -> None:
    with pytest.raises(gd.InputError, match="weights hold 2 numbers below 0"):
        gd.fit_posterior(*noisy(4), weights=[1.0, -1.0, 2.0, -0.5])


def test_other_columns_are_refused() -> None:
    posterior = gd.fit_posterior(*noisy(30), starts=1)
    with pytest.raises(gd.InputError, match="3 columns were fitted"):
        posterior.predict(torch.ones(4, 2))
    with pytest.raises(gd.InputError, match="level = 90"):
        posterior.interval(torch.ones(4, 3), level=90)
