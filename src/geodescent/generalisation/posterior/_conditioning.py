"""How a posterior comes about: rows, the numbers of prior and noise, and what each start says."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from geodescent._budget import fits
from geodescent._deadline import is_affordable, seconds_left
from geodescent.generalisation.posterior._covariance import PriorRows
from geodescent.generalisation.posterior._evidence import Evidence
from geodescent.generalisation.posterior._folds import missed_in_folds
from geodescent.generalisation.posterior._iterated import INDUCING
from geodescent.generalisation.posterior._member import Member
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._posterior import MOST_FACTORED, MOST_ROWS, NOISE_FREE, Posterior
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._rows import FittedRows, drawn_rows, merged
from geodescent.generalisation.posterior._scaling import Standardised
from geodescent.generalisation.posterior._tuning import Tuning, TuningRecord

TUNED_ON = 1000  # Rows by which prior and noise are chosen, at most.
BYTES_A_PAIR, FLOPS_A_PAIR = 6.0, 500.0
"""Of two of many rows: 4 bytes for their covariance in float32, the rest for what makes it; measured at 20,000 rows."""


def posterior_of(
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    *,
    starts: int,
    seed: int,
    draw: Callable[[int, int], nn.Module] = drawn_layers,
    callback: Callable[[TuningRecord], None] | None = None,
) -> Posterior:
    """From inputs (N, d), targets (N,) or (N, Q) and how often each row counts, (N,), all in float64.

    Prior and noise are chosen with the first start; the others take them over.

    Args:
        draw: the network of so many inputs for a seed.
        callback: called with each record of the search for the numbers.
    """
    notes, generator, tuning = list[str](), torch.Generator().manual_seed(seed), Tuning(callback)
    most = most_rows(len(x))
    if len(x) > most:
        notes.append(
            f"Of the {len(x)} rows {most} were drawn for the posterior, whose memory and time grow as their square."
        )
        kept = drawn_rows(len(x), most, generator)
        x, y, weights = x[kept], y[kept], weights[kept]
    x, table, weights, places = merged(x, y[:, None] if y.dim() == 1 else y, weights)
    inputs, targets = Standardised.of(x, weights), Standardised.of(table, weights)
    rows = FittedRows(inputs(x), targets(table), weights, places, y.dim() == 1)
    part, first = drawn_rows(len(x), TUNED_ON, generator), draw(x.shape[1], seed)
    tuned = Evidence(first, rows.x[part], rows.y[part], weights[part]).tuned(tuning)
    alone, numbers = (PriorNumbers.of(logarithms, x.shape[1]) for logarithms in tuned)
    ranks, affordable = Ranks.of(rows.x, weights), starts_of(len(x), starts, notes)
    members = [_member(first, rows, ranks, numbers, seed)]
    for start in range(1, affordable):
        if seconds_left() <= 0.0:
            notes.append(f"The time ran out: {len(members)} of {starts} starts are averaged.")
            break
        members.append(_member(draw(x.shape[1], seed + start), rows, ranks, numbers, seed))
    missed = missed_in_folds(rows, draw, seed)
    found = Posterior(numbers, alone, members, inputs, targets, ranks, rows, notes, tuning.records, missed)
    if found.noise <= NOISE_FREE and not found.is_noise_free and float(weights.mean()) > 1.0:
        notes.append(
            f"No noise was found, since rows count {float(weights.mean()):.3g} times on average and exact repetitions "
            "have none, but rows left out are missed: divide weights by the largest of them, and give each row once."
        )
    return found


def most_rows(n_rows: int) -> int:
    """How many of so many rows are conditioned on: what memory and time allow, but at least what one factor takes."""
    most = min(n_rows, MOST_ROWS)
    allowed = fits(BYTES_A_PAIR * most**2, torch.device("cpu")) and is_affordable(FLOPS_A_PAIR * most**2)
    return most if allowed else min(most, MOST_FACTORED)


def starts_of(n_rows: int, starts: int, notes: list[str]) -> int:
    """How many starts are averaged of those wished for: as many as cost no more than one of the most rows."""
    if n_rows <= MOST_FACTORED:
        return starts
    affordable = min(starts, max(1, (MOST_ROWS // n_rows) ** 2))
    notes.append(
        f"The {n_rows} rows are more than {MOST_FACTORED}: equations are solved by iteration, standard deviations are "
        f"those through {INDUCING} of the rows, and {affordable} of {starts} starts can be afforded."
    )
    return affordable


def _member(network: nn.Module, rows: FittedRows, ranks: Ranks, numbers: PriorNumbers, seed: int) -> Member:
    """The posterior of one start."""
    seen = PriorRows.of(network, rows.x, ranks(rows.x), numbers).detached()
    noise = numbers.noise / rows.weights
    if len(noise) <= MOST_FACTORED:
        return Member.of(network, seen, rows.y, noise, numbers)
    return Member.by_iteration(network, seen, rows.y, noise, numbers, seed)
