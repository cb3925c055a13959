"""Linear algebra of tensors, without networks: factors of matrices, iterative solves and their stopping rules, sums.

A factor is a value that is made once and solved with many times. Sums over rows and sums over parameters have two
names, because several processes share rows and each holds all parameters.
"""

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
from geodescent.linalg._krylov import Iterations, Operator, conjugate_gradients, lanczos_extremes
from geodescent.linalg._lsmr import lsmr
from geodescent.linalg._stopping import (
    SEEN,
    STEP_ITERATIONS,
    Enough,
    Pace,
    either,
    fall_test,
    gap_test,
    residual_test,
)
from geodescent.linalg._sums import PARAMETERS, ROWS, Space, dot, norm, row_dot, row_norm, row_total, total

__all__ = [
    "PARAMETERS",
    "ROWS",
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
    "Space",
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
    "row_dot",
    "row_norm",
    "row_total",
    "total",
]
