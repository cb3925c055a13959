"""Posteriors at the edges: no rows, no numbers, the random state, inference mode, pickles, weights of any size."""

import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent._deadline import within
from geodescent.constructive import wide
from geodescent.generalisation import class_posterior_of, reach_of
from geodescent.generalisation.posterior._scaling import Standardised
from geodescent.geometry import deep_relu


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noisy(n: int) -> tuple[Tensor, Tensor]:
    x = drawn(n, 2)
    return x, torch.sin(2.0 * x[:, 0]) + 0.3 * drawn(n, seed=1)


def test_the_random_state_is_left_as_it_was() -> None:
    """Also by what comes back from a file, by the plain network, by classes, and by networks made of formulas."""
    x, y = noisy(30)
    state = torch.get_rng_state()
    posterior = gd.fit_posterior(x, y, starts=2)
    gd.Posterior.from_tensors(posterior.tensors())
    posterior.network()
    class_posterior_of(x, (y > 0.0).long(), torch.ones(30, dtype=torch.float64), seed=0)
    deep_relu(x[:5], 1, 2)
    wide(x, y[:, None])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("starts", [1, 2])
def test_no_rows_are_predicted_without_a_word(starts: int) -> None:
    posterior = gd.fit_posterior(*noisy(20), starts=starts)
    for found in (*posterior.moments(torch.ones(0, 2)), *posterior.interval(torch.ones(0, 2))):
        assert found.shape == (0,)


def test_what_is_no_number_is_refused_in_new_rows_too() -> None:
    posterior = gd.fit_posterior(*noisy(20), starts=1)
    for predicted in (posterior.predict, posterior.moments, posterior.interval):
        with pytest.raises(gd.InputError, match="X holds 2 NaN or infinite values"):
            predicted([[1.0, math.nan], [math.inf, 1.0], [0.0, 0.0]])


def test_inference_mode_changes_nothing() -> None:
    (x, y), asked = noisy(30), drawn(5, 2, seed=2)
    posterior = gd.fit_posterior(x, y, starts=1)
    with torch.inference_mode():
        again = gd.fit_posterior(x.clone(), y.clone(), starts=1)
        found = posterior.interval(asked.clone())
    for ours, theirs in zip(posterior.interval(asked), found, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(again.predict(asked), posterior.predict(asked))


def test_a_pickle_holds_no_factors() -> None:
    """They are made again when a standard deviation is asked for, with the same digits."""
    (x, y), asked = noisy(60), drawn(5, 2, seed=2)
    regression = gd.fit_posterior(x, y, starts=2)
    classes = class_posterior_of(x, (y > 0.0).long(), torch.ones(60, dtype=torch.float64), seed=0, starts=1)
    for posterior, predicted in ((regression, "standard_deviation"), (classes, "probabilities")):
        before = len(pickle.dumps(posterior))
        expected = getattr(posterior, predicted)(asked)
        kept = pickle.dumps(posterior)
        assert len(kept) == before
        assert torch.equal(getattr(pickle.loads(kept), predicted)(asked), expected)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_the_unit_of_a_constant_does_not_matter(unit: float) -> None:
    """Neither of targets that are all the same, nor of a column that is, when new rows have another number there."""
    x, y = noisy(30)
    constant = gd.fit_posterior(x, torch.full_like(y, 7.0 * unit), starts=1)
    assert constant.predict(x).tolist() == pytest.approx([7.0 * unit] * 30, abs=0.0)
    assert float(constant.standard_deviation(x).max()) < 0.1 * unit
    x = torch.cat([x, torch.full((30, 1), 7.0, dtype=torch.float64)], 1)
    asked = x[:4] + torch.tensor([0.0, 0.0, 0.5])
    units = torch.tensor([1.0, 1.0, unit], dtype=torch.float64)
    expected = gd.fit_posterior(x, y, starts=1).standard_deviation(asked)
    torch.testing.assert_close(gd.fit_posterior(x * units, y, starts=1).standard_deviation(asked * units), expected)


def test_a_column_of_zeros_is_left_as_it_is() -> None:
    zeros = torch.zeros(5, 1, dtype=torch.float64)
    assert float(Standardised.of(zeros, torch.ones(5, dtype=torch.float64)).deviation) == 1.0


@pytest.mark.parametrize("level", [0.07, 0.5, 0.55, 0.9, 0.905, 0.99])
def test_an_interval_reaches_as_far_as_so_many_rows_are_off(level: float) -> None:
    """99 rows: ⌈level·100⌉ of them, also where level·100 is rounded up in floating point; and weights are counts."""
    missed, ones = drawn(99, 2).abs(), torch.ones(99, dtype=torch.float64)
    place = math.ceil(100.0 * level - 1e-6) - 1
    assert torch.equal(reach_of(missed, ones, level), missed.sort(0).values[place])
    weights = 1.0 + (torch.arange(99) % 3).double()
    repeated = missed.repeat_interleave(weights.long(), 0)
    expected = reach_of(repeated, torch.ones(len(repeated), dtype=torch.float64), level)
    assert torch.equal(reach_of(missed, weights, level), expected)


def test_of_few_rows_an_interval_reaches_the_one_that_is_missed_most() -> None:
    missed = torch.tensor([[3.0], [1.0], [2.0]], dtype=torch.float64)
    assert reach_of(missed, torch.full((3,), 0.1, dtype=torch.float64), 0.9).tolist() == [3.0]


def test_rows_left_out_are_measured_by_the_noise_of_a_new_target() -> None:
    """Not by that of their weight: of rows of weight w it is σ²/w, and of a new target σ²."""
    x, y = noisy(25)
    weights = torch.where(torch.arange(25) % 2 == 0, 0.25, 1.0).double()
    posterior = gd.fit_posterior(x, y, weights=weights, starts=1)
    (member,) = posterior.members
    assert posterior.noise > 0.01
    without = member.left_out_variance - posterior.noise / posterior.rows.weights
    scaled = posterior.left_out.abs()[posterior.rows.places.argsort()] / posterior.targets.deviation
    scaled = scaled / (without + posterior.noise).sqrt()
    expected = reach_of(scaled[:, None], posterior.rows.weights, 0.5)
    torch.testing.assert_close(posterior.reach(0.5), expected)


def test_weights_that_leave_no_noise_are_said() -> None:
    x, y = noisy(40)
    posterior = gd.fit_posterior(x, y, weights=np.full(40, 3.0), starts=1)
    assert any("rows count 3 times on average" in note for note in posterior.notes)
    assert not gd.fit_posterior(x, y, weights=np.full(40, 0.9), starts=1).notes


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("total", [0.5, 1.0, 2.0])
def test_classes_take_weights_of_any_sum(n_classes: int, total: float) -> None:
    x = drawn(30, 2)
    labels = (x[:, 0] > 0.0).long() + (n_classes > 2) * (x[:, 1] > 0.7).long()
    posterior = class_posterior_of(x, labels, torch.full((30,), total / 30.0, dtype=torch.float64), seed=0)
    assert bool(torch.isfinite(posterior.probabilities(x)).all())


@pytest.mark.parametrize("n_classes", [2, 4])
def test_variances_of_latents_are_the_diagonal_of_their_covariance(n_classes: int) -> None:
    x = drawn(30, 2)
    labels = torch.arange(30) % n_classes
    posterior = class_posterior_of(x, labels, torch.ones(30, dtype=torch.float64), seed=0, starts=1)
    mode = posterior.members[0].mode
    across = mode.gram[:, :7]
    torch.testing.assert_close(mode.explained(across), mode.reduction(across).diagonal(dim1=1, dim2=2))


def test_time_that_ran_out_is_said_of_classes_too() -> None:
    x = drawn(40, 2)
    with within(1e-3):
        posterior = class_posterior_of(x, (x[:, 0] > 0.0).long(), torch.ones(40, dtype=torch.float64), seed=0)
    assert posterior.notes == ["The time ran out: 1 of 3 starts are averaged."]
