"""What part of the cost of a noisy fit is noise, as its certificate says."""

import json
import pickle

import pytest
import torch
from torch import nn

import geodescent as gd


def noisy(n, spread, seed=1):
    """Samples of sin(3a) + b² with noise, and a network of 40 units."""
    torch.manual_seed(seed)
    X = torch.rand(n, 2, dtype=torch.float64) * 2.0 - 1.0
    y = torch.sin(3.0 * X[:, :1]) + X[:, 1:] ** 2 + spread * torch.randn(n, 1, dtype=torch.float64)
    return nn.Sequential(nn.Linear(2, 40), nn.Tanh(), nn.Linear(40, 1)).double(), X, y


@pytest.mark.slow
@pytest.mark.parametrize(("n", "spread"), [(200, 0.3), (500, 0.3), (200, 1.0)])
def test_the_noise_of_a_fit_that_validation_ended_is_that_of_the_data(n, spread):
    """The half of its variance, to a fifth; samples left out cost what new ones do."""
    model, X, y = noisy(n, spread)
    noise = gd.fit(model, X, y, stop="validation", initialise=True).certificate.noise
    _, new, measured = noisy(5000, spread, seed=2)
    with torch.no_grad():
        cost = float((model(new) - measured).square().mean()) / 2.0
    assert noise.noise == pytest.approx(0.5 * spread**2, rel=0.2)
    assert noise.left_out == pytest.approx(cost, rel=0.25)
    assert noise.cost <= noise.noise <= noise.left_out


@pytest.fixture(scope="module")
def certificate():
    model, X, y = noisy(80, 0.3)
    return gd.fit(model, X, y, stop="validation", initialise=True).certificate


def test_the_certificate_says_so_in_plain_words_and_does_not_send_people_on(certificate):
    words = " ".join(str(certificate).split())
    assert "is noise, or less, as what the fit has not learnt counts with it" in words and "no model" not in words
    assert certificate.meaning.startswith("About ") and "new data of the same kind cost about" in certificate.meaning
    assert "Use the model as it is" in certificate.advice and "Go on" not in str(certificate)
    assert json.loads(json.dumps(certificate.as_dict()))["noise"]["share"] == certificate.noise.share


def test_without_validation_data_nothing_is_said_of_noise():
    model, X, y = noisy(30, 0.3)
    certificate = gd.fit(model, X, y, max_steps=3).certificate
    assert certificate.noise is None and "noise" not in str(certificate)


def test_data_without_noise_have_no_estimate_of_noise():
    """What is left of them where validation ends the fit is the fit's own."""
    model, X, y = noisy(200, 0.0)
    solution = gd.fit(model, X, y, stop="validation")
    assert 0.0 < solution.cost < 1e-6
    assert solution.certificate.noise is None and "noise" not in solution.certificate.meaning


def test_weighted_samples_have_no_estimate_of_noise():
    model, X, y = noisy(40, 0.3)
    weights = torch.linspace(0.5, 1.5, 40, dtype=torch.float64)
    assert gd.fit(model, X, y, weights=weights, stop="validation", max_steps=5).certificate.noise is None


def test_of_a_fit_that_steps_ended_the_noise_is_an_upper_estimate_and_more_is_to_be_learnt():
    """After three steps most of what is missed can still be learnt."""
    model, X, y = noisy(200, 0.03)
    certificate = gd.fit(model, X, y, stop="validation", max_steps=3).certificate
    assert certificate.noise.noise > 5.0 * 0.5 * 0.03**2 and "or less" in certificate.meaning
    assert certificate.noise.cost == certificate.noise.left_out
    assert "where steps or time ended the fit, go on" in certificate.advice


LOOKS_NOISY = "the data look noisy, or are too few for this model"


def shown(solution):
    return " ".join(str(solution).split())


def test_a_fit_to_the_end_of_noisy_data_says_so_with_ways_out():
    model, X, y = noisy(120, 0.5)
    solution = gd.fit(model, X, y)
    assert LOOKS_NOISY in shown(solution)
    assert "gd.fit_posterior(X, y)" in shown(solution) and "validation=(X_val, y_val)" in shown(solution)
    assert LOOKS_NOISY in shown(pickle.loads(pickle.dumps(solution)))
    assert LOOKS_NOISY not in shown(gd.fit(*noisy(120, 0.5), stop="validation"))


def test_of_several_outputs_the_posterior_is_no_way_out():
    _, X, y = noisy(60, 1.0)
    model = nn.Sequential(nn.Linear(2, 60), nn.Tanh(), nn.Linear(60, 2)).double()
    text = shown(gd.fit(model, X, torch.cat([y, y.flip(0)], 1)))
    assert LOOKS_NOISY in text and "fit_posterior" not in text and "validation=" in text


@pytest.mark.parametrize("case", ["no noise", "few steps", "weights"])
def test_where_samples_left_out_do_not_tell_of_noise_nothing_is_said(case):
    model, X, y = noisy(120, 0.0 if case == "no noise" else 0.5)
    weights = torch.linspace(0.5, 1.5, 120, dtype=torch.float64) if case == "weights" else None
    solution = gd.fit(model, X, y, weights=weights, max_steps=3 if case == "few steps" else 60)
    assert LOOKS_NOISY not in shown(solution)


def test_the_sentence_costs_nothing_until_it_is_printed(monkeypatch):
    monkeypatch.setattr("geodescent.certificate._noise.left_out_outputs", None)
    solution = gd.fit(*noisy(40, 0.5))
    assert repr(solution) and solution.certificate.noise is None


def test_a_module_that_was_changed_since_is_not_judged():
    model, X, y = noisy(120, 0.5)
    solution = gd.fit(model, X, y)
    assert solution.certificate.rank is not None
    model[1] = nn.ReLU()
    assert LOOKS_NOISY not in shown(solution)
