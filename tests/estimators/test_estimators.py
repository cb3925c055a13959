"""The estimators in scikit-learn's idiom: their own checks, and what they do not look at."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import geodescent as gd

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")


@parametrize_with_checks([gd.GeoRegressor(starts=2), gd.GeoClassifier()])
def test_scikit_learns_own_checks(estimator: object, check: object) -> None:
    """None is expected to fail."""
    assert callable(check)
    check(estimator)


def test_error_bars_and_the_score_of_rows_left_out() -> None:
    X, y = load_diabetes(return_X_y=True)
    regressor = gd.GeoRegressor().fit(X[::2], y[::2])
    mean, deviation = regressor.predict(X[1::2], return_std=True)
    lower, upper = regressor.predict_interval(X[1::2], level=0.9)
    assert mean.shape == deviation.shape == lower.shape == upper.shape == (221,)
    assert 0.85 < ((lower <= y[1::2]) & (y[1::2] <= upper)).mean() < 0.96
    assert regressor.score(X[1::2], y[1::2]) == pytest.approx(regressor.left_out_score_, abs=0.1)
    assert regressor.score(X[1::2], y[1::2]) > 0.4


def test_it_goes_into_pipelines_searches_and_files() -> None:
    X, y = make_regression(60, 3, noise=5.0, random_state=0)
    pipeline = make_pipeline(StandardScaler(), gd.GeoRegressor(starts=1))
    search = GridSearchCV(pipeline, {"georegressor__starts": [1, 2]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.8
    assert cross_val_score(gd.GeoRegressor(starts=1), X, y, cv=3).min() > 0.8
    fitted = gd.GeoRegressor(starts=1).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict(X), fitted.predict(X))
    assert np.array_equal(clone(fitted).fit(X, y).predict(X), fitted.predict(X))
    assert not np.array_equal(gd.GeoRegressor(starts=1, random_state=1).fit(X, y).predict(X), fitted.predict(X))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_several_outputs_have_their_shape(n_outputs: int) -> None:
    X, y = make_regression(50, 3, n_targets=n_outputs, random_state=0)
    regressor = gd.GeoRegressor(starts=1).fit(X, y)
    assert regressor.predict(X).shape == regressor.predict_interval(X)[0].shape == y.shape


def test_columns_of_text_are_refused_with_a_way_out() -> None:
    X = np.array([["red", 1.0], ["blue", 2.0], ["red", 3.0], ["blue", 4.0]], dtype=object)
    with pytest.raises(gd.InputError, match="make_column_transformer"):
        gd.GeoRegressor().fit(X, [1.0, 2.0, 3.0, 4.0])


def test_a_classifier_keeps_labels_of_any_kind() -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    classifier = gd.GeoClassifier().fit(X[::2], names[::2])
    assert classifier.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert classifier.score(X[1::2], names[1::2]) > 0.9
    assert classifier.predict_proba(X[1::2]).shape == (75, 3)
    assert 0.0 < classifier.left_out_log_loss_ < 0.3


def test_one_class_is_refused() -> None:
    with pytest.raises(gd.InputError, match="one class only"):
        gd.GeoClassifier().fit(np.arange(8.0).reshape(4, 2), [1, 1, 1, 1])
