"""What both functions of SciPy's idiom check of their arguments."""

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from geodescent._errors import InputError
from geodescent.curves._parameters import Parameters
from geodescent.curves._solve import Limits

UNLIMITED = (-math.inf, math.inf)
WAYS_OUT = {
    "method": "the descent chooses its steps itself: leave it out",
    "xtol": "a run goes on to rounding, which is closer: leave it out, or pass ftol",
    "gtol": "a run goes on to rounding, which is closer: leave it out, or pass ftol",
    "tr_solver": "the linear problems are solved exactly: leave it out",
    "tr_options": "the linear problems are solved exactly: leave it out",
    "jac_sparsity": "D is formed as a dense matrix: leave it out",
    "verbose": "nothing is printed: leave it out and print the result's report()",
    "workers": "calls are made one after the other: leave it out",
}
"""An argument of SciPy's that is not supported → what to do."""


@runtime_checkable
class BoundsObject(Protocol):
    """SciPy's `Bounds`: what is read of it."""

    lb: object
    ub: object


def refuse(given: Mapping[str, object]) -> None:
    """Raises InputError for an argument of SciPy's that would be ignored."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} = {value!r} is not supported: {WAYS_OUT[name]}.")


def require_functions(function: object, name: str, call: str, jac: object = None) -> None:
    """Raises InputError where the formula, or its derivative, is none.

    Args:
        call: how the formula is passed.
    """
    if not callable(function):
        raise InputError(f"{name} is a {type(function).__name__}: a function is needed, {call}.")
    if not (jac is None or isinstance(jac, str) or callable(jac)):
        raise InputError(f"jac is {jac!r}: pass a function, '2-point' or '3-point', or leave it out.")


def limits_of(max_nfev: int | None, ftol: float | None, max_seconds: float | None) -> Limits:
    """When the run ends."""
    return Limits(max_nfev=max_nfev, max_seconds=max_seconds, ftol=0.0 if ftol is None else ftol)


def bounds_of(bounds: object, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds, (k,), of a pair or of SciPy's `Bounds`. Raises InputError for anything else."""
    pair = (bounds.lb, bounds.ub) if isinstance(bounds, BoundsObject) else bounds
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise InputError(
            f"bounds is {bounds!r}: a pair (lower, upper) is needed, each a number or {k} of them. A pair "
            "for each parameter becomes that by tuple(zip(*bounds))."
        )
    try:
        low, high = (np.broadcast_to(np.asarray(side, dtype=np.float64), (k,)) for side in pair)
    except (TypeError, ValueError) as error:
        raise InputError(f"bounds do not fit {k} parameters: each side is a number or {k} of them.") from error
    if np.isnan(low).any() or np.isnan(high).any():
        raise InputError("bounds hold NaN: use -np.inf and np.inf where there is no bound.")
    return low, high


def is_default(bounds: object) -> bool:
    """Whether no bounds were passed."""
    return isinstance(bounds, tuple) and bounds == UNLIMITED


def named(names: tuple[str, ...], values: np.ndarray, bounds: object) -> Parameters:
    """Parameters of a plain start, with the bounds of a plain pair."""
    low, high = bounds_of(bounds, len(names))
    return Parameters(
        dict(zip(names, values.tolist(), strict=True)),
        lower=dict(zip(names, low.tolist(), strict=True)),
        upper=dict(zip(names, high.tolist(), strict=True)),
    )
