"""scikit-learn's estimators, for the held-out table only: other model classes are no race to a training cost."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import Task
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

Fitted = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """One estimator: `fit(inputs, targets, classes=…, **setting)` returns inputs → outputs; and a small grid."""

    name: str
    fit: Callable[..., Fitted]
    settings: tuple[dict[str, Any], ...] = ({},)

    def figures(self, task: Task, setting: dict[str, Any], *, classes: bool) -> dict[str, Any]:
        """Seconds of the fit, cost, held-out cost and, for classes, accuracy."""
        x, y = task.inputs.numpy(), task.targets.numpy()
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations that ran out: shown by the cost
            outputs = self.fit(x, y, classes=classes, **setting)
        seconds = time.perf_counter() - begin
        out = outputs(task.held_out_inputs.numpy()).reshape(task.held_out_targets.shape)
        truth = task.held_out_targets.numpy()
        figures = {"seconds": seconds, "cost": cost(outputs(x), y), "held_out": cost(out, truth), "result": "fitted"}
        return figures | ({"held_out_accuracy": float((out.argmax(1) == truth.argmax(1)).mean())} if classes else {})


def cost(outputs: np.ndarray, targets: np.ndarray) -> float:
    """`C = ‖x − y‖²/(2N)`."""
    return float(((outputs.reshape(targets.shape) - targets) ** 2).sum() / (2 * len(targets)))


def perceptron(x: np.ndarray, y: np.ndarray, *, classes: bool, **setting: Any) -> Fitted:
    """MLPRegressor, or MLPClassifier and its probabilities."""
    if classes:
        return MLPClassifier(random_state=0, **setting).fit(x, y.argmax(1)).predict_proba
    return MLPRegressor(random_state=0, **setting).fit(x, y.squeeze(1) if y.shape[1] == 1 else y).predict


def gaussian_process(x: np.ndarray, y: np.ndarray, *, classes: bool, scale: float, learnt: bool) -> Fitted:
    """GaussianProcessRegressor with an RBF kernel: of fixed scale and almost exact, or learnt with a noise level."""
    if learnt:
        kernel = ConstantKernel() * RBF(np.full(x.shape[1], scale)) + WhiteKernel(1e-2)
        return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(x, y).predict
    return GaussianProcessRegressor(RBF(scale), alpha=1e-12, optimizer=None, normalize_y=True).fit(x, y).predict


def ridge(x: np.ndarray, y: np.ndarray, *, classes: bool) -> Fitted:
    """RidgeCV."""
    return RidgeCV(alphas=np.logspace(-6, 3, 10)).fit(x, y).predict


def boosting(x: np.ndarray, y: np.ndarray, *, classes: bool, **setting: Any) -> Fitted:
    """Gradient boosting over histograms; one model for each output where these are not classes."""
    if classes:
        return HistGradientBoostingClassifier(random_state=0, **setting).fit(x, y.argmax(1)).predict_proba
    return MultiOutputRegressor(HistGradientBoostingRegressor(random_state=0, **setting)).fit(x, y).predict


ESTIMATORS: dict[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        Estimator("MLP of scikit-learn", perceptron, ({}, {"solver": "lbfgs", "max_iter": 2000})),
        Estimator(
            "Gaussian process",
            gaussian_process,
            (
                {"scale": 1.0, "learnt": False},
                {"scale": 0.1, "learnt": False},
                {"scale": 1.0, "learnt": True},
            ),
        ),
        Estimator("RidgeCV", ridge),
        Estimator("gradient boosting", boosting, ({}, {"max_iter": 500, "learning_rate": 0.05})),
    )
}
