"""A damped step of many data sets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.curves.batched._box import above_zeros, held, restricted, within_box
from geodescent.curves.batched._factor import ColumnFactor, back_substituted, times
from geodescent.curves.batched._problem import Problems

BEND_STEP = 0.1  # Share of the step: the difference quotient of the bend (Transtrum and Sethna 2012, section 4.2).
STEEPEST_BEND = 1.0  # ‖a‖/‖v‖: above it the second-order path is no approximation, and the step is refused.


@dataclass(frozen=True)
class DampedStep:
    """A step and what is known of it.

    Attributes:
        theta: θ + v + a within the bounds, (b, K).
        promised: by how much ‖r‖² falls along v in the linear model, (b,).
        straight: ‖a‖/‖v‖ is small enough for a second-order path, (b,).
    """

    theta: Tensor
    promised: Tensor
    straight: Tensor


def free_gain(problems: Problems, theta: Tensor, factor: ColumnFactor) -> Tensor:
    """By how much ‖r‖² falls in the linear model without damping, parameters held at bounds staying there, (b,)."""
    free = ~held(factor.r, factor.c, *problems.room(theta))
    return restricted(factor.r, factor.c, free).c.square().sum(1)


def damped_step(problems: Problems, theta: Tensor, factor: ColumnFactor, damping: Tensor, scale: Tensor) -> DampedStep:
    """`v = −(RᵀR + μS²)⁻¹Rᵀc` in the box, bent by `a = −½(RᵀR + μS²)⁻¹RᵀQᵀ d²r[v, v]`; R that of the bent parameters.

    With the linear ones first, that part of R is of columns projected onto what the linear ones leave (Kaufman, BIT 15,
    1975). The linear ones follow undamped, in the linear model.

    Args:
        problems, theta, factor: where the step begins.
        damping: μ (b,), without unit, since S carries it.
        scale: S (b, number of bent parameters), lengths of columns.

    Source: Transtrum and Sethna, arXiv:1201.5885, for the bend and its difference quotient.
    """
    first, (low, high) = len(problems.linear), problems.room(theta)
    free = ~held(factor.r, factor.c, low, high)
    free[:, first:] = True
    here = restricted(factor.r, factor.c, free)
    r, c, box = here.r[:, first:, first:], here.c[:, first:], (low[:, first:], high[:, first:])
    velocity, damped, movable = within_box(r, c, damping.sqrt()[:, None] * scale, *box)
    shifted = here.c[:, :first] + times(here.r[:, :first, first:], velocity)
    full = torch.cat([-back_substituted(here.r[:, :first, :first], shifted), velocity], 1)
    ahead = problems.residual(theta + BEND_STEP * problems.in_order(full))
    curved = here.coefficients(factor.coefficients(ahead)) - here.c - BEND_STEP * times(here.r, full)
    second = (2.0 / BEND_STEP**2) * curved[:, first:]
    bend = -0.5 * movable * back_substituted(damped.r, damped.coefficients(above_zeros(second)))
    straight = (scale * bend).square().sum(1) <= STEEPEST_BEND**2 * (scale * velocity).square().sum(1)
    promised = c.square().sum(1) - (c + times(r, velocity)).square().sum(1)
    full = torch.cat([full[:, :first], velocity + bend], 1)
    return DampedStep(problems.within(theta + problems.in_order(full)), promised, straight)
