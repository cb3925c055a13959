"""How many samples a step on a batch is taken on: few at first, more where few say too little of the others."""

import math

from geodescent.descent._state import BatchState
from geodescent.jacobian import CALL_FLOPS, Jacobian

FIRST_BATCH = 128  # Samples: fewer hardly cost less, since kernels are called as often.
COMPARED_STEPS = 8  # Steps over which the falls on new samples and on own ones are compared.

FIRST = BatchState(FIRST_BATCH)
"""The state before the first step."""


def after_step(state: BatchState, jacobian: Jacobian, cost: float, own: float) -> BatchState:
    """The state after a step on a batch, whose size doubles where that lowers the cost faster.

    A step lowers ln C of its own batch by f, and that of new samples by g ≤ f, which the costs of the next batches show
    before their own steps. What f has over g is noise, and twice the samples halve it: a step would bring (f + 3g)/4,
    at τ times the price. So the size doubles where that is more than τ g, which is f > (4τ − 3) g.

    Args:
        jacobian: of the batch, for τ.
        cost, own: C of the batch before and after its step.
    """
    fall = math.log(cost / own) if own > 0.0 else math.inf
    costs, falls = (*state.costs, cost)[-COMPARED_STEPS:], (*state.falls, fall)[-COMPARED_STEPS:]
    if len(costs) == COMPARED_STEPS:
        earlier, later = sum(costs[: COMPARED_STEPS // 2]), sum(costs[COMPARED_STEPS // 2 :])
        fresh = math.log(earlier / later) / (COMPARED_STEPS // 2) if later > 0.0 else math.inf
        if sum(falls) / COMPARED_STEPS > (4.0 * _price_of_double(jacobian) - 3.0) * fresh:
            return BatchState(2 * state.size)
    return BatchState(state.size, costs, falls)


def _price_of_double(jacobian: Jacobian) -> float:
    """τ: what products with twice the rows cost over those with these; kernels are called as often."""
    calls = CALL_FLOPS * sum(len(block.columns) for block in jacobian.blocks)
    return 2.0 - calls / jacobian.product_flops()
