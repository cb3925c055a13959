"""scikit-learn's idiom: estimators that need no argument."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from geodescent._deadline import within
from geodescent._errors import InputError
from geodescent._settings import ANY_SEED, POSITIVE, SHARE_INSIDE, OrNone
from geodescent._threads import one_thread_for_few
from geodescent.doors import fit, fit_posterior, initialise
from geodescent.generalisation import class_posterior_of, left_out_outputs, reach_of
from geodescent.outputs import SampleMap

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as missing:
    raise ImportError(
        f"the estimators need scikit-learn 1.6 or later ({missing}): pip install 'geodescent[app]'."
    ) from missing

FEWEST_SAMPLES_OF_A_FIT = 3  # Rows without which there is nothing to learn from.
MODES = ("auto", "posterior", "exact")
UNITS = 64  # Of each of two hidden layers of a network that interpolates.
EXACT_COST, EXACT_STEPS, EXACT_SECONDS = 1e-24, 300, 30.0
"""Where interpolation ends, in units of the targets' variance, and its most steps and seconds."""
Floats = NDArray[np.float64]
"""Arrays of numbers."""


class GeoRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Regression with error bars: the posterior of `gd.fit_posterior` in the idiom of scikit-learn.

        regressor = GeoRegressor().fit(X, y)
        mean, deviation = regressor.predict(X_new, return_std=True)
        lower, upper = regressor.predict_interval(X_new, level=0.9)
        regressor.left_out_score_                     # R² of rows left out: what `score` of new rows comes to

    Args:
        mode: "posterior"; "exact", a network through all targets, by `gd.fit`, for data without noise; or "auto", which
            takes "exact" where the evidence finds no noise, rows left out are predicted to a hundredth of the spread,
            and the network misses them by less than the posterior does.
        starts: networks whose posteriors are averaged.
        max_seconds: when tuning ends and no further start is added, and how long a network is fitted.
        random_state: of the starts, a whole number; two fits of the same rows agree.

    Attributes:
        posterior_: what `gd.fit_posterior` returns.
        mode_: "posterior" or "exact".
        network_: of the exact mode, on standardised columns; it predicts in the place of the posterior then.
        missed_: of the exact mode, by how much the network misses rows left out: its error bars, as wide everywhere.
        left_out_score_: R² of each row predicted without it, by what predicts, averaged over outputs.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Raises: InputError, a ValueError: with the numbers and what to do.
    Cost: as `gd.fit_posterior`.
    """

    def __init__(
        self, *, mode: str = "auto", starts: int = 5, max_seconds: float | None = None, random_state: int = 0
    ) -> None:
        self.mode = mode
        self.starts = starts
        self.max_seconds = max_seconds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "GeoRegressor":
        """Fits to inputs (N, d) and targets (N,) or (N, Q); a row of weight w counts as w rows.

        Rows that are repeated exactly tell of little noise: divide importances by the largest of them.
        """
        if self.mode not in MODES:
            raise InputError(f"mode = {self.mode!r}: one of {', '.join(map(repr, MODES))} is needed.")
        seed = ANY_SEED.of("random_state", self.random_state)
        checked, targets = _checked(self, X, y, multi_output=True, y_numeric=True)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, checked, dtype=np.float64)
        self.posterior_ = fit_posterior(
            checked,
            targets,
            weights=weights,
            starts=self.starts,
            seed=seed,
            max_seconds=self.max_seconds,
        )
        self.mode_, self.left_out_score_ = "posterior", self.posterior_.left_out_score
        for name in ("network_", "missed_"):  # of a fit before this one
            self.__dict__.pop(name, None)
        if self.mode == "exact" or (self.mode == "auto" and self.posterior_.is_noise_free):
            self._interpolate()
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """The mean, shaped as y; with `return_std` the standard deviation of a new target too, noise included."""
        inputs = _again(self, X)
        if self.mode_ == "exact":
            mean = self._interpolated(inputs)
            return (mean, self._in_units(self.missed_.rmse.expand(len(inputs), -1))) if return_std else mean
        if return_std:
            mean, deviation = (values.numpy() for values in self.posterior_.moments(inputs))
            return mean, deviation
        found: Floats = self.posterior_.predict(inputs).numpy()
        return found

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper ends, each shaped as `predict`'s mean, between which a share `level` of new targets lies."""
        inputs = _again(self, X)
        if self.mode_ != "exact":
            lower, upper = (ends.numpy() for ends in self.posterior_.interval(inputs, level))
            return lower, upper
        mean, reach = self._interpolated(inputs), self._in_units(self.missed_.reach(level).expand(len(inputs), -1))
        return mean - reach, mean + reach

    def _interpolated(self, inputs: Floats) -> Floats:
        """What the network says."""
        with torch.no_grad():
            outputs = self.network_(self.posterior_.inputs(torch.from_numpy(inputs)))
        return self._shaped(self.posterior_.targets.undone(outputs))

    def _in_units(self, values: Tensor) -> Floats:
        """Distances between standardised targets, (n, Q), in the units and the shape of y."""
        return self._shaped(values * self.posterior_.targets.deviation)

    def _shaped(self, values: Tensor) -> Floats:
        """(n,) where y had one axis."""
        found: Floats = (values[:, 0] if self.posterior_.rows.flat else values).numpy()
        return found

    def _interpolate(self) -> None:
        """Fits a network to all digits, and keeps it where it was asked for, or misses rows left out by less.

        Posterior and network are judged by the same rows, each left out in turn: on data without noise either of them
        can be a hundred times closer to new rows than the other.
        """
        rows = self.posterior_.rows
        x, y, weights = rows.x, rows.y, rows.weights
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            layers = [nn.Linear(x.shape[1], UNITS), nn.Linear(UNITS, UNITS), nn.Linear(UNITS, y.shape[1])]
        network = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2]).to("cpu", torch.float64)
        initialise(network, x, y, weights=weights)
        outputs = SampleMap(network, x)
        start, time = outputs.theta.clone(), self.max_seconds or EXACT_SECONDS
        fit(network, x, y, weights=weights, target_cost=EXACT_COST, max_steps=EXACT_STEPS, max_seconds=time)
        places, predicted = left_out_outputs(outputs, outputs.theta, start, y, interpolates=True)
        missed = MissedRows((predicted - y[places]).abs(), weights[places])
        if self.mode == "exact" or missed.score > self.posterior_.left_out_score:
            self.network_, self.missed_ = network, missed
            self.mode_, self.left_out_score_ = "exact", missed.score


@dataclass(frozen=True)
class MissedRows:
    """By how much rows that a network leaves out in turn are missed, in standard deviations of the targets.

    Attributes:
        distances: |y − x|, (n, Q).
        weights: how often each row counts, (n,).
    """

    distances: Tensor
    weights: Tensor

    @property
    def rmse(self) -> Tensor:
        """Root of the mean square, (Q,)."""
        return (self.weights @ self.distances.square() / self.weights.sum()).sqrt()

    @property
    def score(self) -> float:
        """R², averaged over outputs."""
        return float(1.0 - self.rmse.square().mean())

    def reach(self, level: float) -> Tensor:
        """Half the width of an interval of each output, (Q,)."""
        return reach_of(self.distances, self.weights, SHARE_INSIDE.of("level", level))


class GeoClassifier(ClassifierMixin, BaseEstimator):
    """Classification with calibrated probabilities: a posterior of latent functions in the idiom of scikit-learn.

        classifier = GeoClassifier().fit(X, y)
        classifier.predict_proba(X_new)               # calibrated on rows left out: no row was held out
        classifier.left_out_log_loss_                 # what the log loss of new rows comes to

    A latent function for each class, or one for two, has the prior of `gd.fit_posterior`; its numbers maximise the
    evidence, linearised at the mode; the amplitude and the calibration are chosen by rows left out. Probabilities of
    three starts are averaged.

    Args:
        max_seconds: when tuning ends, and no further amplitude or start is tried.
        random_state: of the start, a whole number; two fits of the same rows agree.

    Attributes:
        posterior_: what was fitted.
        classes_: the labels, in the order of the columns of `predict_proba`.
        left_out_log_loss_: the mean log loss of each row predicted without it.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Raises: InputError, a ValueError: with the numbers and what to do.
    Cost: some 30 to 100 N³ multiply-adds for each class: 0.6 s for 320 rows on one core, a minute for 3,000 rows of
        three classes on two. Of more than 3,000 rows 3,000 are drawn.
    Source: Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), chapter 3.
    """

    def __init__(self, *, max_seconds: float | None = None, random_state: int = 0) -> None:
        self.max_seconds = max_seconds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "GeoClassifier":
        """Fits to inputs (N, d) and labels (N,); a row of weight w counts as w rows."""
        checked, labels = _checked(self, X, y)
        check_classification_targets(labels)
        seed = ANY_SEED.of("random_state", self.random_state)
        weights = np.ones(len(checked)) if sample_weight is None else _check_sample_weight(sample_weight, checked)
        if (weights < 0.0).any():
            raise InputError(f"sample_weight holds {(weights < 0.0).sum()} numbers below 0: w ≥ 0 is needed.")
        kept = weights > 0.0
        self.classes_, places = np.unique(labels[kept], return_inverse=True)
        if len(self.classes_) < 2:
            found = f"y holds {len(self.classes_)} classes of positive weight, {self.classes_}"
            raise InputError(f"{found}: two or more are needed.")
        inputs, counts = (torch.from_numpy(np.array(a[kept], np.float64, order="C")) for a in (checked, weights))
        OrNone(POSITIVE).of("max_seconds", self.max_seconds)
        with torch.inference_mode(False), within(self.max_seconds), one_thread_for_few(len(inputs)):
            self.posterior_ = class_posterior_of(inputs, torch.from_numpy(places), counts, seed=seed)
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
    except np.exceptions.DTypePromotionError as error:
        raise InputError(
            "X mixes numbers with columns of another kind, such as dates: make numbers of these first, for example "
            "days, (X.date - X.date.min()).dt.days."
        ) from error
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        name, columns = type(estimator).__name__, _columns_of_text(X)
        raise InputError(
            f"X holds text ({error}): make numbers of these columns first, make_pipeline(make_column_transformer((One"
            f'HotEncoder(handle_unknown="ignore"), {columns}), remainder="passthrough"), {name}()).'
        ) from error
    return inputs, targets


def _columns_of_text(X: ArrayLike) -> list[str] | list[int]:
    """Names, or places where there are no names, of the columns that are not all numbers."""
    names = [str(name) for name in getattr(X, "columns", ())]
    columns = np.asarray(X, dtype=object).T
    wrong = [place for place, column in enumerate(columns) if not _is_numeric(column)]
    return [names[place] for place in wrong] if names else wrong


def _is_numeric(column: NDArray[np.object_]) -> bool:
    """Whether all of it can be converted."""
    try:
        column.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _again(estimator: BaseEstimator, X: ArrayLike) -> Floats:
    """Inputs to predict, with the columns that were fitted."""
    check_is_fitted(estimator)
    inputs: Floats = validate_data(estimator, X, dtype=np.float64, reset=False)
    return inputs
