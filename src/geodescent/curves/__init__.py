"""SciPy's idiom: `least_squares` and `curve_fit` for any formula, in torch or in NumPy, with standard errors.

A formula becomes an output map, which `gd.fit` descends on; bounds are kept by a control of their own, robust losses by
a change of each residual. `curve_fit_batched` fits one formula to many data sets at once.
"""

from geodescent.curves._box_control import BoxControl
from geodescent.curves._curve_fit import curve_fit
from geodescent.curves._least_squares import least_squares
from geodescent.curves._parameters import Parameters
from geodescent.curves._results import CurveFit, LeastSquaresResult
from geodescent.curves._statistics import Statistics
from geodescent.curves.batched import BatchedFit, curve_fit_batched

__all__ = [
    "BatchedFit",
    "BoxControl",
    "CurveFit",
    "LeastSquaresResult",
    "Parameters",
    "Statistics",
    "curve_fit",
    "curve_fit_batched",
    "least_squares",
]
