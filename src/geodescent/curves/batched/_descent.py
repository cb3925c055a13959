"""The descent of many data sets at once; those that are done leave."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from geodescent.curves.batched._factor import ColumnFactor
from geodescent.curves.batched._problem import Problems
from geodescent.curves.batched._step import damped_step, free_gain

INITIAL_DAMPING = 1.0  # Without unit, against columns of length one.
LEAST_FALL = 0.1  # Factor: the smallest by which a step lowers the damping.
FIRST_RISE = 2.0  # Factor on the damping after a refused step, doubled with each further one (Nielsen 1999).
LEAST_RATIO = 1e-4  # Share of the promised fall of the cost that a step must keep (Moré 1978).
DESCENDED = 1e-12  # Share of the cost: where the linear model promises less, undamped steps take over.
ROUNDING_FALL = 1e-13  # Share of the cost: a refused step that promised less was refused by rounding.
EXACT_FIT = 1e-26  # Share of ‖wy‖²: a sum of squares below it is rounding.
A_STEP = 3  # Points at which one step evaluates the formula: its bend, its end, the derivatives there.


@dataclass(frozen=True)
class Fits:
    """Where the data sets that still descend stand; the first axis of every tensor runs over them.

    Attributes:
        rows: their numbers, (b,).
        theta, cost: (b, K); ‖r‖², (b,).
        factor: of the derivatives at θ.
        damping, rise: μ and by what the next refusal raises it, (b,).
        scale: the largest length so far of each column that is not of a linear parameter.
        evaluated: the points at which the formula was evaluated, (b,).
    """

    rows: Tensor
    theta: Tensor
    cost: Tensor
    factor: ColumnFactor
    damping: Tensor
    rise: Tensor
    scale: Tensor
    evaluated: Tensor

    def __getitem__(self, rows: Tensor) -> "Fits":
        return replace(self, **{part.name: getattr(self, part.name)[rows] for part in fields(self)})


@dataclass(frozen=True)
class Ends:
    """Where all data sets ended, in their order.

    Attributes:
        theta: (b, K).
        evaluated: (b,).
    """

    theta: Tensor
    evaluated: Tensor


def descend(problems: Problems, start: Tensor, most: int) -> Ends:
    """Levenberg-Marquardt steps in the metric of the columns' lengths, from start (b, K).

    A step may evaluate f at `A_STEP` points; a data set ends before it exceeds `most`.

    Source: Moré (1978) for the metric, Nielsen (IMM-REP-1999-05) for the damping.
    """
    fits = _begun(problems, start)
    ends = Ends(fits.theta.clone(), fits.evaluated.clone())
    negligible = EXACT_FIT * problems.weighted(problems.y).square().sum(1)
    finished = torch.zeros_like(fits.rows, dtype=torch.bool)
    while True:
        gain = free_gain(problems, fits.theta, fits.factor)
        finished |= (gain <= DESCENDED * fits.cost) | (fits.cost <= negligible[fits.rows])
        finished |= (fits.evaluated + A_STEP > most) | ~torch.isfinite(gain + fits.cost)
        if finished.any():
            ends.theta[fits.rows], ends.evaluated[fits.rows] = fits.theta, fits.evaluated
            stay = ~finished
            fits, problems = fits[stay], problems[stay]
        if not len(fits.rows):
            return ends
        fits, finished = _stepped(problems, fits)


def _begun(problems: Problems, start: Tensor) -> Fits:
    settled, cost = problems.settled(start)
    theta = torch.where(torch.isfinite(cost)[:, None], settled, start)
    factor, cost = problems.linearised(theta)
    rows = torch.arange(len(theta), device=theta.device)
    return Fits(
        rows=rows,
        theta=theta,
        cost=cost,
        factor=factor,
        damping=torch.full_like(cost, INITIAL_DAMPING),
        rise=torch.full_like(cost, FIRST_RISE),
        scale=_lengths(problems, factor),
        evaluated=torch.full_like(rows, 2),
    )


def _lengths(problems: Problems, factor: ColumnFactor) -> Tensor:
    """Lengths of the columns of parameters that are not linear, projected onto what the linear ones leave."""
    first = len(problems.linear)
    return factor.r[:, first:, first:].square().sum(1).sqrt()


def _stepped(problems: Problems, fits: Fits) -> tuple[Fits, Tensor]:
    """A step tried for every data set; and which can go no further, by rounding."""
    scale = torch.where(fits.scale > 0.0, fits.scale, 1.0)
    step = damped_step(problems, fits.theta, fits.factor, fits.damping, scale)
    theta, cost = problems.settled(step.theta)
    ratio = (fits.cost - cost) / step.promised
    taken = step.straight & (ratio > LEAST_RATIO) & torch.isfinite(cost)
    stopped = ~taken & (step.promised <= ROUNDING_FALL * fits.cost)
    fall = (1.0 - (2.0 * ratio - 1.0) ** 3).clamp(LEAST_FALL, FIRST_RISE)
    moved = replace(
        fits,
        theta=torch.where(taken[:, None], theta, fits.theta),
        cost=torch.where(taken, cost, fits.cost),
        damping=fits.damping * torch.where(taken, fall, fits.rise),
        rise=torch.where(taken, FIRST_RISE, 2.0 * fits.rise),
        evaluated=fits.evaluated + torch.where(taken, A_STEP, A_STEP - 1),
    )
    return _relinearised(problems, moved, taken), stopped


def _relinearised(problems: Problems, fits: Fits, taken: Tensor) -> Fits:
    """The factors at new points; where no step was taken, the old ones."""
    if taken.all():
        factor, cost = problems.linearised(fits.theta)
    else:
        factor, cost = fits.factor, fits.cost.clone()
        if taken.any():
            new, cost[taken] = problems[taken].linearised(fits.theta[taken])
            factor.put(taken, new)
    return replace(fits, factor=factor, cost=cost, scale=torch.maximum(fits.scale, _lengths(problems, factor)))
