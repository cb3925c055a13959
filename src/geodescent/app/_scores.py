"""How well rows are predicted, and what plain methods of scikit-learn make of the same rows."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geodescent.app.fitted import Predicted, Rows
from geodescent.app.report import TestRows, row_errors
from geodescent.app.tables import PreparedTable

RIDGES = np.logspace(-4.0, 4.0, 29)
"""Penalties that ridge regression chooses among, on standardised columns."""
PENALTIES = 10  # That logistic regression chooses among.
CONSTANTS = ("mean", "shares of the classes")
"""Names of the baselines that say the same of every row."""
ITERATIONS = 2000  # Of logistic regression, at most.


def measured_beside(predicted: Predicted, targets: Rows) -> TestRows:
    """Rows with what was measured, (n,), and what was predicted of them."""
    return TestRows(targets, predicted.mean, predicted.lower, predicted.upper, predicted.level, predicted.probabilities)


@dataclass(frozen=True)
class Baseline:
    """A plain method on the same rows.

    Attributes:
        name: for people.
        predicted: of the test rows.
    """

    name: str
    predicted: Predicted


def difference(ours: TestRows, other: TestRows) -> tuple[float, float]:
    """Our error minus the other's, and its standard error over rows: of the root mean square error, or the log loss.

    Of root mean squares a and b, `a − b = mean(d)/(a + b)`, d the difference of a row's squared errors.
    """
    own, others = row_errors(ours), row_errors(other)
    apart, scale = own - others, 1.0
    if ours.probabilities is None:
        scale = float(np.sqrt(own.mean()) + np.sqrt(others.mean())) or 1.0
    return float(apart.mean()) / scale, float(apart.std()) / np.sqrt(len(apart)) / scale


def baselines(table: PreparedTable) -> tuple[list[Baseline], list[str]]:
    """The mean or the classes' shares, a linear model and boosted trees, and sentences on those that failed.

    Each is trained on the training part, with standardised columns, and predicts the test part.
    """
    n_classes, found, notes = len(table.target.classes), list[Baseline](), list[str]()
    train, test = table.split.train, table.split.test
    for name, predict in (_of_classes(n_classes) if n_classes else _of_numbers()).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of scikit-learn's own convergence: it is the baseline that counts
                predicted = predict(table.inputs[train], table.targets[train], table.inputs[test])
            found.append(Baseline(name, predicted))
        except ValueError as error:
            notes.append(f"There is no baseline of {name}: {error}.")
    return found, notes


Method = Callable[[Rows, Any, Rows], Predicted]


def _of_numbers() -> Mapping[str, Method]:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def regression(model: Any) -> Method:
        return lambda X, y, new: Predicted(model.fit(X, y).predict(new))

    return {
        "mean": lambda X, y, new: Predicted(np.full(len(new), y.mean())),
        "ridge regression": regression(make_pipeline(StandardScaler(), RidgeCV(RIDGES))),
        "gradient boosting": regression(HistGradientBoostingRegressor(random_state=0)),
    }


def _of_classes(n_classes: int) -> Mapping[str, Method]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def shares(X: Rows, y: Any, new: Rows) -> Predicted:
        return Predicted.of_classes(np.tile(np.bincount(y, minlength=n_classes) / len(y), (len(new), 1)))

    def classification(model: Any) -> Method:
        def predicted(X: Rows, y: Any, new: Rows) -> Predicted:
            found = model.fit(X, y).predict_proba(new)
            of_all = np.zeros((len(new), n_classes))
            of_all[:, model.classes_] = found
            return Predicted.of_classes(of_all)

        return predicted

    logistic = LogisticRegressionCV(Cs=PENALTIES, scoring="neg_log_loss", max_iter=ITERATIONS)
    return {
        "shares of the classes": shares,
        "logistic regression": classification(make_pipeline(StandardScaler(), logistic)),
        "gradient boosting": classification(HistGradientBoostingClassifier(random_state=0)),
    }
