"""How good the predictions of the test rows are: every metric that the page shows comes from here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodescent.app.report._facts import Floats, TestRows

CALIBRATION_BINS = 10  # Of equal width between 0 and 1, the custom for the expected calibration error.
LEAST_PROBABILITY = 2.0**-52
"""A probability below it counts as this much, as in scikit-learn's log loss: one row never makes the mean infinite."""


@dataclass(frozen=True)
class CalibrationBins:
    """What was claimed beside what came true, for each of the bins that hold rows.

    Attributes:
        counts: rows in the bin, (b,).
        claimed: mean probability of the most probable class, (b,).
        right: share of the rows whose most probable class is the measured one, (b,).
    """

    counts: NDArray[np.int64]
    claimed: Floats
    right: Floats


def metrics_of(rows: TestRows) -> dict[str, float]:
    """The metrics of the test rows by name; empty where there are no rows, NaN where one is not defined.

    Of a regression `rmse`, `r2 = 1 − Σ(y − ŷ)² / Σ(y − ȳ)²` and, with intervals, `coverage`, the share of rows inside.
    Of classes `accuracy`, `log_loss` and `ece`, the mean distance between claimed and true shares over ten bins.
    """
    if not len(rows.measured):
        return {}
    if rows.probabilities is not None:
        bins = calibration_of(rows.probabilities, rows)
        apart = float(np.sum(bins.counts * np.abs(bins.right - bins.claimed))) / len(rows.measured)
        accuracy = float(np.mean(rows.measured == rows.mean))
        return {"accuracy": accuracy, "log_loss": error_of(rows)[0], "ece": apart}
    inside = inside_intervals(rows)
    covered = {} if inside is None else {"coverage": float(np.mean(inside))}
    return {"rmse": error_of(rows)[0], "r2": _explained(rows), **covered}


def error_of(rows: TestRows) -> tuple[float, float]:
    """The error that runs are compared by, and its standard error over test rows.

    The root mean square error of a regression, with `s(e²) / (2 rmse √n)`, or the log loss of classes, with `s / √n`.
    The standard error is NaN of a single row.
    """
    n = len(rows.measured)
    with np.errstate(all="ignore"):
        each = row_errors(rows)
        mean = np.mean(each)
        spread = np.std(each, ddof=1) / np.sqrt(n) if n > 1 else np.float64("nan")
        if rows.probabilities is not None:
            return float(mean), float(spread)
        return float(np.sqrt(mean)), float(spread / (2.0 * np.sqrt(mean))) if mean > 0.0 else 0.0


def row_errors(rows: TestRows) -> Floats:
    """Of each row its squared error, or `−log p` of its class, (n,)."""
    if rows.probabilities is not None:
        return log_losses(rows.probabilities, rows)
    found: Floats = (rows.measured - rows.mean) ** 2
    return found


def log_losses(probabilities: Floats, rows: TestRows) -> Floats:
    """−log of the probability given to the measured class, (n,)."""
    found: Floats = -np.log(np.clip(of_measured_class(probabilities, rows), LEAST_PROBABILITY, 1.0))
    return found


def of_measured_class(probabilities: Floats, rows: TestRows) -> Floats:
    """The probability given to the measured class, (n,)."""
    found: Floats = probabilities[np.arange(len(rows.measured)), rows.measured.astype(np.int64)]
    return found


def calibration_of(probabilities: Floats, rows: TestRows) -> CalibrationBins:
    """Rows in ten bins of equal width by the probability of the most probable class; empty bins are left out."""
    top = probabilities.max(axis=1)
    right = (rows.measured == rows.mean).astype(np.float64)
    bins = np.clip((np.nan_to_num(top) * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    held = counts > 0
    claimed, came_true = (np.bincount(bins, values, CALIBRATION_BINS)[held] / counts[held] for values in (top, right))
    return CalibrationBins(counts[held], claimed, came_true)


def confusion_of(rows: TestRows, n_classes: int) -> NDArray[np.int64]:
    """Rows counted by measured class (down) and predicted class (across), (C, C)."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (rows.measured.astype(np.int64), rows.mean.astype(np.int64)), 1)
    return counts


def inside_intervals(rows: TestRows) -> NDArray[np.bool_] | None:
    """Which rows lie within their interval, ends included, (n,); None where there are no intervals."""
    if rows.lower is None or rows.upper is None:
        return None
    return (rows.lower <= rows.measured) & (rows.measured <= rows.upper)


def _explained(rows: TestRows) -> float:
    """R², NaN where all measured values are the same."""
    with np.errstate(all="ignore"):
        spread = np.sum((rows.measured - np.mean(rows.measured)) ** 2)
        left = np.sum((rows.measured - rows.mean) ** 2)
        return float(1.0 - left / spread) if spread > 0.0 else float("nan")
