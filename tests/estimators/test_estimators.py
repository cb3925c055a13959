"""The estimators in scikit-learn's idiom: their own checks, and what they do not look at."""

import pickle

import numpy as np
import polars
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import geodescent as gd
from geodescent.estimators import MissedRows

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
    with pytest.raises(gd.InputError, match=r"make_column_transformer.*, \[0\]\)"):
        gd.GeoRegressor().fit(X, [1.0, 2.0, 3.0, 4.0])
    frame = polars.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "colour": list(X[:, 0])})
    with pytest.raises(gd.InputError, match=r"text.*\['colour'\]"):
        gd.GeoClassifier().fit(frame, [0, 1, 0, 1])


def test_columns_of_dates_are_refused_with_a_way_out() -> None:
    pandas = pytest.importorskip("pandas")
    days = pandas.to_datetime(["2024-01-01", "2024-01-02", "2024-01-05"])
    with pytest.raises(gd.InputError, match="such as dates: make numbers of these first"):
        gd.GeoRegressor().fit(pandas.DataFrame({"day": days, "size": [1.0, 2.0, 3.0]}), [1.0, 2.0, 3.0])


def test_a_classifier_keeps_labels_of_any_kind() -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    classifier = gd.GeoClassifier().fit(X[::2], names[::2])
    assert classifier.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert classifier.score(X[1::2], names[1::2]) > 0.9
    assert classifier.predict_proba(X[1::2]).shape == (75, 3)
    assert 0.0 < classifier.left_out_log_loss_ < 0.3


def test_one_class_is_refused() -> None:
    with pytest.raises(gd.InputError, match="1 classes of positive weight"):
        gd.GeoClassifier().fit(np.arange(8.0).reshape(4, 2), [1, 1, 1, 1])


def smooth(n: int, *, seed: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.uniform(-1.0, 1.0, (n, 2))
    return X, np.sin(2.0 * X[:, 0]) * np.cos(X[:, 1]) + noise * generator.normal(size=n)


def test_data_without_noise_are_interpolated() -> None:
    (X, y), (X_new, y_new) = smooth(300, seed=0), smooth(500, seed=1)
    regressor = gd.GeoRegressor(starts=2).fit(X, y)
    assert regressor.mode_ == "exact"
    off = np.sqrt(((regressor.predict(X_new) - y_new) ** 2).mean()) / y_new.std()
    assert off < 1e-6
    lower, upper = regressor.predict_interval(X_new)
    assert ((lower <= y_new) & (y_new <= upper)).mean() > 0.85
    assert np.array_equal(clone(regressor).fit(X, y).predict(X_new), regressor.predict(X_new))


def test_a_network_takes_the_place_of_the_posterior_only_where_it_misses_rows_left_out_by_less() -> None:
    """A plane without noise: a network through all rows is far from it between them, the posterior is not."""
    generator = np.random.default_rng(0)
    X, X_new, slopes = generator.random((60, 4)), generator.random((500, 4)), np.arange(1.0, 5.0)
    regressor = gd.GeoRegressor(starts=1).fit(X, X @ slopes)
    assert regressor.posterior_.is_noise_free and regressor.mode_ == "posterior"
    exact = gd.GeoRegressor(starts=1, mode="exact").fit(X, X @ slopes)
    off, off_exact = (np.abs(fitted.predict(X_new) - X_new @ slopes).mean() for fitted in (regressor, exact))
    assert off < 0.01 * off_exact
    assert regressor.left_out_score_ > exact.left_out_score_


@pytest.mark.slow
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_intervals_and_deviations_of_the_exact_mode_are_those_of_its_network(n_outputs: int) -> None:
    generator = np.random.default_rng(1)
    X = generator.random((1200, 3))
    y = np.column_stack([np.sin(6.0 * X[:, 0]) * X[:, 1], X[:, 2] ** 2 * X[:, 1]])[:, :n_outputs].squeeze()
    exact = gd.GeoRegressor(starts=1, mode="exact").fit(X[:200], y[:200])
    mean, deviation = exact.predict(X[200:], return_std=True)
    lower, upper = exact.predict_interval(X[200:], level=0.9)
    assert mean.shape == deviation.shape == lower.shape == upper.shape == y[200:].shape
    assert 0.85 < ((lower <= y[200:]) & (y[200:] <= upper)).mean() <= 1.0
    off = np.sqrt(((mean - y[200:]) ** 2).mean(0))
    assert (off < 2.0 * deviation[0]).all() and (deviation[0] < 8.0 * off).all()


def test_noisy_data_are_not_and_the_mode_can_be_chosen() -> None:
    X, y = smooth(60, seed=0, noise=0.05)
    assert gd.GeoRegressor(starts=1).fit(X, y).mode_ == "posterior"
    exact = gd.GeoRegressor(starts=1, mode="exact").fit(X, y)
    assert np.abs(exact.predict(X) - y).max() < 1e-6
    with pytest.raises(gd.InputError, match="mode = 'Auto'"):
        gd.GeoRegressor(mode="Auto").fit(X, y)


def test_weights_count_as_rows_in_intervals_of_the_exact_mode() -> None:
    distances, weights = torch.tensor([[3.0], [1.0], [2.0], [4.0]]), torch.tensor([1.0, 5.0, 1.0, 1.0])
    assert MissedRows(distances, weights).reach(0.5).tolist() == [1.0]
    assert MissedRows(distances, weights).rmse.tolist() == pytest.approx([(34.0 / 8.0) ** 0.5])
    assert MissedRows(distances, torch.ones(4)).reach(0.5).tolist() == [3.0]


def test_a_second_fit_leaves_nothing_of_the_first() -> None:
    X, y = smooth(30, seed=0)
    regressor = gd.GeoRegressor(starts=1, mode="exact").fit(X, y)
    regressor.set_params(mode="posterior").fit(X, y)
    assert not hasattr(regressor, "network_")
    assert not hasattr(regressor, "missed_")


@pytest.mark.parametrize("estimator", [gd.GeoRegressor, gd.GeoClassifier])
def test_a_seed_that_is_none_is_refused_by_its_name(estimator: type) -> None:
    with pytest.raises(gd.InputError, match=r"random_state = None .* for example random_state=0"):
        estimator(random_state=None).fit([[1.0], [2.0], [3.0]], [0, 1, 0])
