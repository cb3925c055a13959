"""scikit-learn's idiom: estimators that need no argument."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodescent._errors import InputError
from geodescent.doors import fit_posterior

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as missing:
    raise ImportError(
        f"the estimators need scikit-learn 1.6 or later ({missing}): pip install 'geodescent[app]'."
    ) from missing

Floats = NDArray[np.float64]


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
        checked, targets = _checked(self, X, y)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, checked, dtype=np.float64)
        self.posterior_ = fit_posterior(
            checked,
            targets,
            weights=weights,
            starts=self.starts,
            seed=self.random_state,
            max_seconds=self.max_seconds,
        )
        off = self.posterior_.left_out.numpy().reshape(len(self.posterior_.weights), -1)
        share = self.posterior_.weights.numpy() / float(self.posterior_.weights.sum())
        spread = self.posterior_.targets.deviation.numpy() ** 2
        self.left_out_score_ = float(np.mean(1.0 - share @ off**2 / spread))
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


def _checked(estimator: BaseEstimator, X: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Both as arrays of float64; raises InputError for columns of text, with what makes numbers of them."""
    try:
        inputs, targets = validate_data(
            estimator, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=3
        )
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise InputError(
            f"X holds text ({error}): make numbers of these columns first, make_pipeline(make_column_transformer((One"
            'HotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough"), GeoRegressor()).'
        ) from error
    return inputs, np.asarray(targets, dtype=np.float64)


def _again(estimator: BaseEstimator, X: ArrayLike) -> Floats:
    """Inputs to predict, with the columns that were fitted."""
    check_is_fitted(estimator)
    inputs: Floats = validate_data(estimator, X, dtype=np.float64, reset=False)
    return inputs
