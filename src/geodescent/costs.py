"""Convex costs of the outputs beside the squared error, and the closed-form minimiser of cross-entropy (THEORY 2.4)."""

from geodescent._costs import (
    CrossEntropy,
    Huber,
    Logistic,
    OutputCost,
    Poisson,
    SquaredError,
    cross_entropy_minimiser,
    smoothed,
)

__all__ = [
    "CrossEntropy",
    "Huber",
    "Logistic",
    "OutputCost",
    "Poisson",
    "SquaredError",
    "cross_entropy_minimiser",
    "smoothed",
]
