"""By how much rows are missed by posteriors that never saw them, their numbers of prior and noise included."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from geodescent._deadline import seconds_left
from geodescent.generalisation.posterior._covariance import PriorRows
from geodescent.generalisation.posterior._evidence import Evidence
from geodescent.generalisation.posterior._member import Member
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._rows import FittedRows
from geodescent.generalisation.posterior._tuning import Tuning

PARTS_LEFT_OUT = 3  # Intervals are as true with five (docs/decisions.md), for twice the time.
SHARE_OF_ITERATIONS = 0.3  # Of those that the numbers of all rows take: intervals are as true as with all of them.
FEWEST_FOLDED, MOST_FOLDED = 30, 1000
"""Rows: with fewer a fold says nothing, with more the numbers hardly depend on which rows chose them."""


def missed_in_folds(rows: FittedRows, draw: Callable[[int, int], nn.Module], seed: int) -> Tensor | None:
    """`|y − x|/√(var + σ²)` of each row, (N, Q), by a posterior of the other folds; None where not asked.

    Rows left out in closed form have chosen prior and noise with the others: with few rows and many columns they are
    missed by less than new ones, and intervals by them alone are too short.

    Cost: what tuning takes, once for each of three folds of two thirds of the rows.
    """
    n_rows, d = rows.x.shape
    if not FEWEST_FOLDED <= n_rows <= MOST_FOLDED:
        return None
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(0), device="cpu")
    missed = torch.empty_like(rows.y)
    for fold in order.chunk(PARTS_LEFT_OUT):
        if seconds_left() <= 0.0:
            return None
        others = torch.ones(n_rows, dtype=torch.bool, device="cpu")
        others[fold] = False
        missed[fold] = missed_of(rows, others, fold, draw(d, seed))
    return missed


def missed_of(rows: FittedRows, others: Tensor, fold: Tensor, network: nn.Module) -> Tensor:
    """Of the rows of a fold, (n, Q)."""
    x, y, weights = rows.x[others], rows.y[others], rows.weights[others]
    _, logarithms = Evidence(network, x, y, weights).tuned(Tuning(), share=SHARE_OF_ITERATIONS)
    numbers, ranks = PriorNumbers.of(logarithms, x.shape[1]), Ranks.of(x, weights)
    seen = PriorRows.of(network, x, ranks(x), numbers).detached()
    member = Member.of(network, seen, y, numbers.noise / weights, numbers)
    new = member.at(rows.x[fold], ranks(rows.x[fold]))
    deviation = (member.variance(new) + numbers.noise).sqrt()
    return (rows.y[fold] - member.mean(new)).abs() / deviation[:, None]
