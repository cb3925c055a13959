"""Metrics and baselines of the command, beside those of scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error

from geodescent.app._scores import baselines, difference, measured_beside
from geodescent.app.fitted import Predicted
from geodescent.app.report import metrics_of
from geodescent.app.tables import prepare


@pytest.fixture
def numbers():
    random = np.random.default_rng(0)
    targets = 5.0 + 3.0 * random.normal(size=200)
    mean = targets + random.normal(size=200)
    return targets, Predicted(mean, np.ones(200), mean - 1.5, mean + 1.5)


@pytest.fixture
def classes():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1.0, 2.0, 0.5], size=300)
    labels = np.array([random.choice(3, p=p) for p in probabilities])
    return labels, Predicted.of_classes(probabilities)


def test_metrics_of_a_regression_are_those_of_scikit_learn(numbers):
    targets, predicted = numbers
    found = metrics_of(measured_beside(predicted, targets))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(targets, predicted.mean), rel=1e-12)
    assert found["r2"] == pytest.approx(r2_score(targets, predicted.mean), rel=1e-12)
    assert found["coverage"] == np.mean(np.abs(targets - predicted.mean) <= 1.5)


def test_metrics_of_classes_are_those_of_scikit_learn(classes):
    labels, predicted = classes
    found = metrics_of(measured_beside(predicted, labels))
    assert found["log_loss"] == pytest.approx(log_loss(labels, predicted.probabilities), rel=1e-12)
    assert found["accuracy"] == accuracy_score(labels, predicted.probabilities.argmax(axis=1))


def test_the_calibration_error_is_that_of_its_definition():
    """Three bins: .95 with all right, .55 with half right, .35 with none right."""
    shares = np.array([[0.95, 0.05, 0.0]] * 2 + [[0.55, 0.45, 0.0]] * 2 + [[0.35, 0.33, 0.32]])
    rows = measured_beside(Predicted.of_classes(shares), np.array([0.0, 0.0, 0.0, 1.0, 2.0]))
    assert metrics_of(rows)["ece"] == pytest.approx(0.4 * 0.05 + 0.4 * 0.05 + 0.2 * 0.35)


def test_the_difference_of_root_mean_squares_is_exact_and_its_error_that_of_resampling(numbers):
    targets, ours = numbers
    other = Predicted(ours.mean + 0.8 * np.sin(np.arange(200.0)))
    apart, error = difference(measured_beside(ours, targets), measured_beside(other, targets))
    rmse = [root_mean_squared_error(targets, one.mean) for one in (ours, other)]
    assert apart == pytest.approx(rmse[0] - rmse[1], rel=1e-12)
    random, drawn = np.random.default_rng(1), []
    for _ in range(2000):
        rows = random.integers(0, 200, 200)
        a, b = (root_mean_squared_error(targets[rows], one.mean[rows]) for one in (ours, other))
        drawn.append(a - b)
    assert error == pytest.approx(np.std(drawn), rel=0.1)


def test_the_difference_of_log_losses_has_the_error_of_a_mean(classes):
    labels, ours = classes
    other = Predicted.of_classes(np.full((300, 3), 1.0 / 3.0))
    apart, error = difference(measured_beside(ours, labels), measured_beside(other, labels))
    own = -np.log(ours.probabilities[np.arange(300), labels]) - np.log(3.0)
    assert apart == pytest.approx(own.mean()) and error == pytest.approx(own.std() / np.sqrt(300))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diabetes", "iris"])
def test_baselines_are_a_constant_a_linear_model_and_boosted_trees(name):
    table = prepare(name, test_size=0.25, seed=0)
    found, notes = baselines(table)
    targets = table.targets[table.split.test]
    assert notes == [] and len(found) == 3
    first, *better = (metrics_of(measured_beside(one.predicted, targets)) for one in found)
    error = "rmse" if name == "diabetes" else "log_loss"
    assert all(one[error] < first[error] for one in better)
    if name == "diabetes":
        training = table.targets[table.split.train]
        assert first["rmse"] == pytest.approx(np.sqrt(np.mean((targets - training.mean()) ** 2)))


def test_a_baseline_that_fails_is_a_sentence(monkeypatch):
    from sklearn.linear_model import RidgeCV

    def fail(*arguments):
        raise ValueError("no ridge today")

    monkeypatch.setattr(RidgeCV, "fit", fail)
    found, notes = baselines(prepare("diabetes", test_size=0.25, seed=0))
    assert [one.name for one in found] == ["mean", "gradient boosting"]
    assert notes == ["There is no baseline of ridge regression: no ridge today."]
