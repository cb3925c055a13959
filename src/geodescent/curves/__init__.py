"""Formulas fitted to data, in SciPy's idiom.

One formula is fitted to many data sets at once.
"""

from geodescent.curves._batched import BatchedFit, curve_fit_batched

__all__ = ["BatchedFit", "curve_fit_batched"]
