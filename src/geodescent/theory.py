"""What is known of the flow before the first step: the cost curve, and the time at which it reaches a target."""

import math
from typing import TypeVar

import numpy as np

from geodescent._errors import InputError

Time = TypeVar("Time", float, np.ndarray)


def predicted_cost(cost0: float, time: Time, *, floor: float = 0.0) -> Time:
    """`C(τ) = F + (C₀ − F) e^{−2τ}`: the cost along the adapted flow while the projector P is constant.

    Args:
        cost0: C₀, the cost at τ = 0.
        time: τ ≥ 0, in e-folds of the residual.
        floor: F, the instant floor; 0 where the Jacobian has full row rank.

    Source: arXiv:2311.15487 for F = 0; with F from dC/dτ = −‖P(x − y)‖²/N.
    """
    cost: Time = floor + (cost0 - floor) * np.exp(-2.0 * time)
    return cost


def stopping_time(cost0: float, target_cost: float, *, floor: float = 0.0) -> float:
    """`τ = ½ ln((C₀ − F)/(ε − F))`: when the flow's cost reaches ε; the paper's time is s = Nτ.

    Args:
        cost0: C₀ > 0.
        target_cost: ε, in the units of C; above the floor F.
        floor: F, the instant floor.

    Raises:
        InputError: the target is not above the floor, so that no time reaches it.

    Source: arXiv:2311.15487; inverse of `predicted_cost`.
    """
    if not (math.isfinite(cost0) and math.isfinite(target_cost)):
        raise InputError(f"cost0 and target_cost must be finite: got {cost0} and {target_cost}.")
    if target_cost <= floor:
        raise InputError(
            f"target_cost = {target_cost:.3g} is not above the floor {floor:.3g}: no time reaches it. "
            "Ask for a target above the floor."
        )
    if cost0 <= target_cost:
        return 0.0
    return 0.5 * math.log((cost0 - floor) / (target_cost - floor))
