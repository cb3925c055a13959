"""The last digits: undamped steps of many data sets at once, and what is known where they end."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent.curves.batched._box import held, restricted
from geodescent.curves.batched._descent import DESCENDED, EXACT_FIT, Ends
from geodescent.curves.batched._factor import ColumnFactor, back_substituted
from geodescent.curves.batched._problem import Problems
from geodescent.curves.batched._step import free_gain

SHRINKING = 0.9  # Share of the last undamped step that the next must stay below.
POLISHES = 30  # Undamped steps at most.
NO_LONGER = 1e-11  # Share of the parameters' length: shorter undamped steps change no digit that data can have.
STANDS_STILL = 1e-8  # Share of the parameters' length: where the undamped step is shorter, the descent has converged.
LEVEL_COST = 1.0 + 1e-9  # Factor: rounding of the cost, within which undamped steps may raise it.


@dataclass(frozen=True)
class Polished:
    """The last points.

    Attributes:
        theta: (b, K).
        cost: ‖r‖², (b,).
        factor: of the derivatives there.
        move: the undamped step from there, (b, K).
        length: its length in the metric of the columns, (b,).
    """

    theta: Tensor
    cost: Tensor
    factor: ColumnFactor
    move: Tensor
    length: Tensor


def polished(problems: Problems, ends: Ends) -> tuple[Polished, Tensor, Tensor]:
    """Undamped steps while each is clearly shorter than the last; where it converged; evaluations.

    A cost has sixteen digits, and so θ has eight by any test of the cost; the steps themselves go on shrinking.
    """
    factor, cost = problems.linearised(ends.theta)
    scale = problems.in_order(factor.r.square().sum(1).sqrt())
    best = Polished(ends.theta.clone(), cost, factor, *_undamped(problems, ends.theta, factor, scale))
    evaluated, size = ends.evaluated + 1, (scale * ends.theta).square().sum(1).sqrt()
    rows = torch.arange(len(size), device=size.device)
    for _ in range(POLISHES):
        rows = rows[best.length[rows] > NO_LONGER * size[rows]]
        if not len(rows):
            break
        some = problems[rows]
        theta = some.within(best.theta[rows] + best.move[rows])
        factor, cost = some.linearised(theta)
        move, length = _undamped(some, theta, factor, scale[rows])
        evaluated[rows] += 1
        kept = (length <= SHRINKING * best.length[rows]) & (cost <= LEVEL_COST * best.cost[rows])
        rows = rows[kept]
        _write(best, rows, Polished(theta[kept], cost[kept], factor[kept], move[kept], length[kept]))
    gain = free_gain(problems, best.theta, best.factor)
    converged = (gain <= DESCENDED * best.cost) | (best.length <= STANDS_STILL * size)
    converged |= best.cost <= EXACT_FIT * problems.weighted(problems.y).square().sum(1)
    return best, converged, evaluated


def _undamped(problems: Problems, theta: Tensor, factor: ColumnFactor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The Gauss-Newton step with parameters held at bounds staying there, and its length."""
    free = ~held(factor.r, factor.c, *problems.room(theta))
    least = restricted(factor.r, factor.c, free)
    move = problems.in_order(-back_substituted(least.r, least.c))
    return move, (scale * move).square().sum(1).sqrt()


def _write(best: Polished, rows: Tensor, new: Polished) -> None:
    best.theta[rows], best.cost[rows] = new.theta, new.cost
    best.move[rows], best.length[rows] = new.move, new.length
    best.factor.put(rows, new.factor)


def covariance(problems: Problems, factor: ColumnFactor) -> tuple[Tensor, Tensor]:
    """`(JᵀJ)⁻¹ = R⁻¹R⁻ᵀ` (b, K, K), infinite where a column depends on the others; and where none does, (b,)."""
    order, eye = problems.order, torch.eye(factor.c.shape[1], dtype=factor.c.dtype, device=factor.c.device)
    inverse = torch.stack([back_substituted(factor.r, unit.expand_as(factor.c)) for unit in eye], 2)
    matrix = torch.empty_like(inverse)
    place = torch.tensor(order, device=matrix.device)
    matrix[:, place[:, None], place] = inverse @ inverse.mT
    determined = (factor.r.diagonal(dim1=1, dim2=2) > 0.0).all(1)
    return torch.where(determined[:, None, None], matrix, torch.inf), determined
