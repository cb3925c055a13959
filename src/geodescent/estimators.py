"""scikit-learn's idiom: estimators that need no argument."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from geodescent._errors import InputError
from geodescent.doors import fit_posterior
from geodescent.generalisation import class_posterior_of

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as missing:
    raise ImportError(
        f"the estimators need scikit-learn 1.6 or later ({missing}): pip install 'geodescent[app]'."
    ) from missing

FEWEST_SAMPLES_OF_A_FIT = 3  # Rows without which there is nothing to learn from.
Floats = NDArray[np.float64]
"""Arrays of numbers."""


class GeoRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Regression with error bars: the posterior of `gd.fit_posterior` in the idiom of scikit-learn.

        regressor = GeoRegressor().fit(X, y)
        mean, deviation = regressor.predict(X_new, return_std=True)
        lower, upper = regressor.predict_interval(X_new, level=0.9)
        regressor.left_out_score_                     # R² of rows left out: what `score` of new rows comes to

    Args:
        starts: networks whose posteriors are averaged.
        max_seconds: when tuning ends and no further start is added.
        random_state: of the starts, a whole number; two fits of the same rows agree.

    Attributes:
        posterior_: what was fitted.
        left_out_score_: R² of each row predicted without it, averaged over outputs.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Raises: InputError, a ValueError: with the numbers and what to do.
    Cost: as `gd.fit_posterior`.
    """

    def __init__(self, *, starts: int = 5, max_seconds: float | None = None, random_state: int = 0) -> None:
        self.starts = starts
        self.max_seconds = max_seconds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "GeoRegressor":
        """Fits to inputs (N, d) and targets (N,) or (N, Q); a row of weight w counts as w rows."""
        checked, targets = _checked(self, X, y, multi_output=True, y_numeric=True)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, checked, dtype=np.float64)
        self.posterior_ = fit_posterior(
            checked,
            targets,
            weights=weights,
            starts=self.starts,
            seed=self.random_state,
            max_seconds=self.max_seconds,
        )
        self.left_out_score_ = self.posterior_.left_out_score
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """The mean, shaped as y; with `return_std` the standard deviation of a new target too, noise included."""
        inputs = _again(self, X)
        mean: Floats = self.posterior_.predict(inputs).numpy()
        return (mean, self.posterior_.standard_deviation(inputs).numpy()) if return_std else mean

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper ends, each shaped as `predict`'s mean, between which a share `level` of new targets lies."""
        lower, upper = self.posterior_.interval(_again(self, X), level)
        return lower.numpy(), upper.numpy()


class GeoClassifier(ClassifierMixin, BaseEstimator):
    """Classification with calibrated probabilities: a posterior of latent functions in the idiom of scikit-learn.

        classifier = GeoClassifier().fit(X, y)
        classifier.predict_proba(X_new)               # calibrated on rows left out: no row was held out
        classifier.left_out_log_loss_                 # what the log loss of new rows comes to

    A latent function for each class, or one for two, has the prior of `gd.fit_posterior`; its numbers maximise the
    evidence, linearised at the mode; the amplitude and two numbers of the calibration are chosen by rows left out.

    Args:
        random_state: of the start, a whole number; two fits of the same rows agree.

    Attributes:
        posterior_: what was fitted.
        classes_: the labels, in the order of the columns of `predict_proba`.
        left_out_log_loss_: the mean log loss of each row predicted without it.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Raises: InputError, a ValueError: with the numbers and what to do.
    Cost: some 10 N³ multiply-adds for each class and each of eight amplitudes: 0.6 s for 320 rows on one core. Of more
        than 3,000 rows 3,000 are drawn.
    Source: Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), chapter 3.
    """

    def __init__(self, *, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "GeoClassifier":
        """Fits to inputs (N, d) and labels (N,); a row of weight w counts as w rows."""
        checked, labels = _checked(self, X, y)
        check_classification_targets(labels)
        weights = np.ones(len(checked)) if sample_weight is None else _check_sample_weight(sample_weight, checked)
        kept = weights > 0.0
        self.classes_, places = np.unique(labels[kept], return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y holds one class only, {self.classes_}: two or more classes are needed.")
        inputs, counts = (torch.from_numpy(np.array(a[kept], np.float64, order="C")) for a in (checked, weights))
        self.posterior_ = class_posterior_of(inputs, torch.from_numpy(places), counts, seed=self.random_state)
        self.left_out_log_loss_ = self.posterior_.left_out_log_loss
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities of the classes, (n, C)."""
        inputs = _again(self, X)
        found: Floats = self.posterior_.probabilities(inputs).numpy()
        return found

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:
        """The most probable class of each row, (n,)."""
        inputs = _again(self, X)
        labels: NDArray[np.generic] = self.classes_[self.posterior_.probabilities(inputs).argmax(1).numpy()]
        return labels


def _checked(
    estimator: BaseEstimator, X: ArrayLike, y: ArrayLike, *, multi_output: bool = False, y_numeric: bool = False
) -> tuple[Floats, NDArray[np.generic]]:
    """Both as arrays; raises InputError for columns of text, with what makes numbers of them."""
    try:
        inputs, targets = validate_data(
            estimator,
            X,
            y,
            dtype=np.float64,
            multi_output=multi_output,
            y_numeric=y_numeric,
            ensure_min_samples=FEWEST_SAMPLES_OF_A_FIT,
        )
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        name = type(estimator).__name__
        raise InputError(
            f"X holds text ({error}): make numbers of these columns first, make_pipeline(make_column_transformer((One"
            f'HotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough"), {name}()).'
        ) from error
    return inputs, targets


def _again(estimator: BaseEstimator, X: ArrayLike) -> Floats:
    """Inputs to predict, with the columns that were fitted."""
    check_is_fitted(estimator)
    inputs: Floats = validate_data(estimator, X, dtype=np.float64, reset=False)
    return inputs
