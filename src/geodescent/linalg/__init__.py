"""Linear algebra of tensors: factors, iterative solves with their stopping rules, and sums."""

from geodescent.linalg._factors import (
    CholeskyFactor,
    EighFactor,
    Factor,
    Reflectors,
    cholesky,
    definite,
    eigh,
    factor,
    reflected,
)
from geodescent.linalg._krylov import Iterations, Operator, conjugate_gradients, lanczos_extremes, lsmr
from geodescent.linalg._stopping import (
    LEAST,
    SEEN,
    STEP_ITERATIONS,
    Enough,
    Pace,
    either,
    fall_test,
    gap_test,
    residual_test,
)
from geodescent.linalg._sums import dot, norm, total

__all__ = [
    "LEAST",
    "SEEN",
    "STEP_ITERATIONS",
    "CholeskyFactor",
    "EighFactor",
    "Enough",
    "Factor",
    "Iterations",
    "Operator",
    "Pace",
    "Reflectors",
    "cholesky",
    "conjugate_gradients",
    "definite",
    "dot",
    "eigh",
    "either",
    "factor",
    "fall_test",
    "gap_test",
    "lanczos_extremes",
    "lsmr",
    "norm",
    "reflected",
    "residual_test",
    "total",
]
