"""How well rows are predicted, and what plain methods of scikit-learn make of the same rows."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geodescent.app.fitted import Predicted, Rows
from geodescent.app.tables import PreparedTable

BINS = 10  # Of equal width, of the top probability: for the expected calibration error.
RIDGES = np.logspace(-4.0, 4.0, 29)
"""Penalties that ridge regression chooses among, on standardised columns."""
PENALTIES = 10  # That logistic regression chooses among.
ITERATIONS = 2000  # Of logistic regression, at most.
LEAST = float(np.finfo(np.float64).eps)
"""Of a probability in the log loss, as in scikit-learn: a certain row that is wrong costs 36."""


def metrics_of(predicted: Predicted, targets: Rows) -> dict[str, float]:
    """`{rmse, r2, coverage}` of a regression, `{log_loss, accuracy, ece}` of classes.

    Args:
        predicted: of n rows.
        targets: numbers, or numbers of classes, (n,).
    """
    if predicted.probabilities is not None:
        right = predicted.mean == targets
        return {
            "log_loss": float(losses_of(predicted, targets).mean()),
            "accuracy": float(right.mean()),
            "ece": calibration_error(predicted.probabilities.max(axis=1), right),
        }
    squares, spread = losses_of(predicted, targets), float(targets.var())
    found = {"rmse": float(squares.mean()) ** 0.5, "r2": 1.0 - float(squares.mean()) / spread if spread else np.nan}
    if predicted.lower is not None and predicted.upper is not None:
        found["coverage"] = float(((predicted.lower <= targets) & (targets <= predicted.upper)).mean())
    return found


def losses_of(predicted: Predicted, targets: Rows) -> Rows:
    """Of each row: its squared error, or `−log p` of its class, (n,)."""
    if predicted.probabilities is None:
        squares: Rows = (predicted.mean - targets) ** 2
        return squares
    places, width = targets.astype(np.int64), predicted.probabilities.shape[1]
    own = np.where(places < width, predicted.probabilities[np.arange(len(targets)), np.minimum(places, width - 1)], 0.0)
    losses: Rows = -np.log(np.clip(own, LEAST, 1.0))
    return losses


def calibration_error(top: Rows, right: Rows) -> float:
    """`Σ_b n_b/n |share right − mean top probability|` over ten bins of equal width."""
    bins = np.minimum((top * BINS).astype(np.int64), BINS - 1)
    parts = [(bins == b) for b in range(BINS) if (bins == b).any()]
    return float(sum(abs(right[part].mean() - top[part].mean()) * part.mean() for part in parts))


@dataclass(frozen=True)
class Baseline:
    """A plain method on the same rows.

    Attributes:
        name: for people.
        predicted: of the test rows.
    """

    name: str
    predicted: Predicted


def difference(ours: Predicted, other: Predicted, targets: Rows) -> tuple[float, float]:
    """Our error minus the other's, and its standard error over rows: of the root mean square error, or the log loss.

    Of root mean squares a and b, `a − b = mean(d)/(a + b)`, d the difference of a row's squared errors.
    """
    own, others = losses_of(ours, targets), losses_of(other, targets)
    apart = own - others
    scale = 1.0 if ours.probabilities is not None else float(np.sqrt(own.mean()) + np.sqrt(others.mean())) or 1.0
    return float(apart.mean()) / scale, float(apart.std()) / np.sqrt(len(apart)) / scale


def baselines(table: PreparedTable) -> tuple[list[Baseline], list[str]]:
    """The mean or the classes' shares, a linear model and boosted trees, and sentences on those that failed.

    Each is trained on the training part, with standardised columns, and predicts the test part.
    """
    kinds = _of_classes if table.target.classes else _of_numbers
    found, notes = list[Baseline](), list[str]()
    train, test = table.split.train, table.split.test
    for name, predict in kinds().items():
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


def _of_classes() -> Mapping[str, Method]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def shares(X: Rows, y: Any, new: Rows) -> Predicted:
        return Predicted.of_classes(np.tile(np.bincount(y) / len(y), (len(new), 1)))

    def classification(model: Any) -> Method:
        def predicted(X: Rows, y: Any, new: Rows) -> Predicted:
            found = model.fit(X, y).predict_proba(new)
            of_all = np.zeros((len(new), int(y.max()) + 1))
            of_all[:, model.classes_] = found
            return Predicted.of_classes(of_all)

        return predicted

    logistic = LogisticRegressionCV(Cs=PENALTIES, scoring="neg_log_loss", max_iter=ITERATIONS)
    return {
        "shares of the classes": shares,
        "logistic regression": classification(make_pipeline(StandardScaler(), logistic)),
        "gradient boosting": classification(HistGradientBoostingClassifier(random_state=0)),
    }
