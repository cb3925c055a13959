"""Linear algebra of tensors, without networks: factors of matrices, iterative solves and their stopping rules, sums.

A factor is computed once and used for many solves. Sums over rows and sums over parameters are different functions,
so that rows could be spread over several processes.
"""

from geodescent.linalg._cgls import LeastSquares, conjugate_least_squares, paced
from geodescent.linalg._factors import (
    EIGH_FLOPS,
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
from geodescent.linalg._products import outer_square
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
from geodescent.linalg._sums import (
    PARAMETERS,
    ROWS,
    Space,
    dot,
    norm,
    row_dot,
    row_norm,
    row_total,
    sum_of_squares,
    total,
)
from geodescent.linalg._svd import singular_values, svd

__all__ = [
    "EIGH_FLOPS",
    "PARAMETERS",
    "ROWS",
    "SEEN",
    "STEP_ITERATIONS",
    "CholeskyFactor",
    "EighFactor",
    "Enough",
    "Factor",
    "Iterations",
    "LeastSquares",
    "Operator",
    "Pace",
    "Reflectors",
    "Space",
    "cholesky",
    "conjugate_gradients",
    "conjugate_least_squares",
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
    "outer_square",
    "paced",
    "reflected",
    "residual_test",
    "row_dot",
    "row_norm",
    "row_total",
    "singular_values",
    "sum_of_squares",
    "svd",
    "total",
]
