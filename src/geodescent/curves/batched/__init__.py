"""One formula fitted to many data sets at once, each with a damping of its own.

Levenberg-Marquardt for a batch: linear parameters are solved for, finished data sets leave it, undamped steps end it.
"""

from geodescent.curves.batched._curve_fit_batched import BatchedFit, curve_fit_batched

__all__ = ["BatchedFit", "curve_fit_batched"]
