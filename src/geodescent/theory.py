"""What is known of the flow before the first step: the cost curve, and the time at which it reaches a target."""

import math
from typing import TypeVar

import numpy as np

from geodescent._errors import InputError
from geodescent._settings import Number

START = Number("a cost must be finite and not below zero", lambda cost: 0.0 <= cost < math.inf, 1.0)
FINITE_COST = Number("a cost must be finite", math.isfinite, 1e-9)
Time = TypeVar("Time", float, np.ndarray)


def predicted_cost(cost0: float, time: Time, *, floor: float = 0.0) -> Time:
    """`C(τ) = F + (C₀ − F) e^{−2τ}`: the cost along the adapted flow while the projector P is constant.

    Args:
        cost0: C₀, the cost at τ = 0.
        time: τ ≥ 0, in e-folds of the residual; a number or an array.
        floor: F ≤ C₀, the instant floor; 0 where the Jacobian has full row rank.

    Raises: InputError, for a cost or a time below zero, and for a floor above C₀.
    Source: arXiv:2311.15487 for F = 0; with F from dC/dτ = −‖P(x − y)‖²/N.
    """
    begin, low = _costs(cost0, floor)
    _require_times(time)
    cost: Time = low + (begin - low) * np.exp(-2.0 * time)
    return cost


def stopping_time(cost0: float, target_cost: float, *, floor: float = 0.0) -> float:
    """`τ = ½ ln((C₀ − F)/(ε − F))`: when the flow's cost reaches ε; the paper's time is s = Nτ.

    Args:
        cost0: C₀ ≥ 0.
        target_cost: ε, in the units of C; above the floor F.
        floor: F ≤ C₀, the instant floor.

    Raises:
        InputError: the target is not above the floor, so that no time reaches it; or a cost is below zero.

    Source: arXiv:2311.15487; inverse of `predicted_cost`.
    """
    begin, low = _costs(cost0, floor)
    target = FINITE_COST.of("target_cost", target_cost)
    if target <= low:
        raise InputError(
            f"target_cost = {target:.3g} is not above the floor {low:.3g}: no time reaches it. "
            "Ask for a target above the floor."
        )
    if begin <= target:
        return 0.0
    return 0.5 * math.log((begin - low) / (target - low))


def _costs(cost0: float, floor: float) -> tuple[float, float]:
    """C₀ and F as plain numbers."""
    begin, low = START.of("cost0", cost0), START.such_as(0.0).of("floor", floor)
    if low > begin:
        raise InputError(
            f"floor = {low:.6g} is above cost0 = {begin:.6g}: pass a floor from 0 to cost0, or leave it out."
        )
    return begin, low


def _require_times(time: object) -> None:
    """Raises InputError, where times are no numbers of zero or above."""
    if isinstance(time, list | tuple):
        raise InputError(f"time is a {type(time).__name__}: pass time=np.asarray(time).")
    try:
        times = np.asarray(time)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"time is no number and no array, {error}: pass for example time=1.0.") from error
    if times.dtype.kind not in "iuf":
        raise InputError(f"time holds {times.dtype}: real numbers are needed, for example time=1.0.")
    if not np.all(times >= 0.0):
        raise InputError(f"the least time is {np.min(times)}: zero or above is needed, for example time=1.0.")
