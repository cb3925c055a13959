"""The scale of the first layer, chosen by leave-one-out of the linear model at the start."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from geodescent._deadline import SMALL_SHARE, Allowance, OutOfTime, is_affordable
from geodescent._types import Outputs, Theta
from geodescent.generalisation._chosen_start import NOISY, ChosenStart, GainCandidate
from geodescent.generalisation._distinct_samples import DistinctSamples, affordable, blocks_of_samples, distinct_samples
from geodescent.generalisation._leave_one_out import LeaveOneOut, leave_one_out, modes_of_gram, modes_of_rows
from geodescent.generalisation._start_units import in_units
from geodescent.jacobian import Jacobian
from geodescent.linalg import EIGH_FLOPS
from geodescent.metric import LayerUnits, Metric, entries_of
from geodescent.problem import Problem, active

GAINS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Factors on the first layer that are tried, from 1 outwards while the error falls."""
FEWEST_SAMPLES = 2  # Samples: of a single one nothing can be left out.
MOST_SAMPLES = 2000  # Samples that are left out in turn, at most.
NOISE_SAMPLES = 800  # Samples that are asked at least where the first ones look noisy, but not hopeless.
HOPELESS = 0.4  # Share of the targets' variance, left out: above it is no noise, but what such a network cannot learn.
LARGEST_DENSE = 1e9  # Of m·K·min(m, K): above it D is not decomposed, and G alone answers.
BLOCK_ROWS = 300  # Rows: with several outputs, the largest G that is decomposed; K̄ answers above it.
BLOCK_NUMBERS = 1e5  # Numbers of all diagonal blocks together, at one ridge, up to which D is decomposed.
SMALL_PART = 0.25  # Share of the weight: too few samples make every function look smoother and small gains better.
TIE = 1.1  # Times the least error: gains up to it count as equal, and the one nearest to the network's own is kept.
ROWS_ROUTE, GRAM_ROUTE, MEAN_GRAM_ROUTE = "rows", "gram", "mean gram"
"""What was decomposed."""


def choose_start(problem: Problem, gains: Sequence[float], max_samples: int, seed: int) -> ChosenStart:
    """Multiplies the first layer by the gain whose linear model leaves out the least cost, and says what it found.

    Only blocks of samples are looked at; penalties and other blocks have nothing that could be left out.
    """
    blocks = blocks_of_samples(problem)
    if not blocks:
        n = sum(block.n_samples for block in problem.blocks)
        reason = "no block of the problem has samples and layers."
        return ChosenStart(1.0, (), (), math.nan, 0, n, reason)
    whole, units = Problem(tuple(blocks)), LayerUnits.of(problem)
    theta, changed = in_units(problem, problem.theta, units)
    first, metric = _first_entries(units), Metric.of(whole, units)
    tried, count = sorted(set(gains)), _timely(min(max_samples, affordable(whole)))
    start = _looked(whole, theta, first, metric, tried, count, seed)
    more = min(NOISE_SAMPLES, sum(len(active(block)) for block in blocks))
    if max_samples >= more > count and _timely(more) == more and _asks_for_more(start):
        start = _looked(whole, theta, first, metric, tried, more, seed)
    if start.reason is None:
        theta = _scaled(theta, torch.cat(list(first.values())), start.gain)
    elif first or start.n_samples < FEWEST_SAMPLES:
        return start
    problem.write(theta)
    return replace(start, units=changed)


def _timely(count: int) -> int:
    """At most so many samples, as many as can be decomposed in the time that is left."""
    while count > FEWEST_SAMPLES and not is_affordable(EIGH_FLOPS * count**3, share=SMALL_SHARE):
        count = max(FEWEST_SAMPLES, count // 2)
    return count


def _first_entries(units: LayerUnits | None) -> dict[str, Tensor]:
    """Name → entries of θ, weight and bias, of the first layers that move."""
    found = dict[str, Tensor]()
    if units is None:
        return found
    for name, layer in units.layers.first.items():
        places = [(entries_of(units.outputs, p), p.device) for p in layer.parameters()]
        parts = [torch.arange(at.start, at.stop, device=device) for at, device in places if at is not None]
        if parts:
            found[name] = torch.cat(parts)
    return found


def _looked(
    problem: Problem,
    theta: Theta,
    first: dict[str, Tensor],
    metric: Metric,
    gains: list[float],
    count: int,
    seed: int,
) -> ChosenStart:
    """What so many of the samples say of the gains; nothing is changed.

    Gains below 1 are not taken on the word of a small part, unless it is large enough to know noise and sees it.
    """
    part = distinct_samples(problem, count, seed)
    n, n_given = part.n_samples, part.n_given
    if n < FEWEST_SAMPLES:
        reason = f"{n} distinct sample of positive weight leaves nothing to learn from."
        return ChosenStart(1.0, (), (), math.nan, n, n_given, reason)
    if not first:
        reason = "no linear or convolutional layer is called on the inputs themselves."
        return ChosenStart(1.0, (), (), math.nan, n, n_given, reason)
    entries = torch.cat(list(first.values()))

    def at(gain: float, *, by_rows: bool) -> GainCandidate:
        return _candidate(part, _scaled(theta, entries, gain), gain, metric, by_rows=by_rows)

    try:
        begin = at(_nearest(gains), by_rows=False)
    except OutOfTime:
        return ChosenStart(1.0, (), (), math.nan, n, n_given, "the time ran out before one gain was tried.")
    noisy = begin.error > NOISY * part.cost_of_mean and begin.route != MEAN_GRAM_ROUTE and count >= NOISE_SAMPLES
    small = part.problem.n_samples < SMALL_PART * problem.n_samples and not noisy
    candidates = _candidates(begin, partial(at, by_rows=begin.route == ROWS_ROUTE), gains, small=small)
    gain = _chosen(candidates, small=small)
    if gain is None:
        reason = "no gain gives finite outputs and derivatives."
        return ChosenStart(1.0, (), candidates, part.cost_of_mean, n, n_given, reason)
    return ChosenStart(gain, tuple(first), candidates, part.cost_of_mean, n, n_given)


def _asks_for_more(start: ChosenStart) -> bool:
    """Whether data look noisy, but not hopeless; K̄ is too coarse for what more samples would tell."""
    chosen = start.chosen
    return (
        start.noisy
        and chosen is not None
        and chosen.route != MEAN_GRAM_ROUTE
        and chosen.error < HOPELESS * start.cost_of_mean
    )


def _scaled(theta: Theta, entries: Tensor, gain: float) -> Theta:
    scaled = theta.clone()
    scaled[entries] *= gain
    return scaled


def _nearest(gains: list[float]) -> float:
    """To the network's own start, gain 1."""
    return min(gains, key=lambda gain: abs(math.log(gain)))


def _candidates(
    begin: GainCandidate, at: Callable[[float], GainCandidate], gains: list[float], *, small: bool
) -> tuple[GainCandidate, ...]:
    """From the first one upwards, then downwards, each way as long as the error falls: it has one valley."""
    first, allowed = gains.index(begin.gain), Allowance(SMALL_SHARE)
    errors = {first: begin}
    for way in (range(first + 1, len(gains)), range(first - 1, -1, -1)):
        least = errors[first].error
        for i in way:
            if (small and gains[i] < 1.0 and math.isfinite(least)) or allowed.is_spent:
                break
            try:
                errors[i] = at(gains[i])
            except OutOfTime:
                break
            if math.isfinite(least) and not errors[i].error < least:
                break
            least = min(least, errors[i].error)
        if least < errors[first].error:
            break
    return tuple(errors[i] for i in sorted(errors))


def _candidate(part: DistinctSamples, theta: Theta, gain: float, metric: Metric, *, by_rows: bool) -> GainCandidate:
    residual, rows = part.problem.linearise(theta, dtype=torch.float64)
    rows = rows.scaled(columns=metric.following(rows).column_scale)
    left, route = _left_out(rows, residual, part.problem, torch.finfo(theta.dtype).eps, by_rows=by_rows)
    return GainCandidate(gain, left.error + part.spread, left.ridge, left.rank, route)


def _left_out(
    rows: Jacobian, residual: Outputs, part: Problem, eps: float, *, by_rows: bool
) -> tuple[LeaveOneOut, str]:
    """By D where it has few columns or where that is asked for; else by G, unless G is singular to rounding.

    A singular G hides small ridges: there D answers again.

    Args:
        by_rows: whether G was singular at another gain already.
    """
    n, q, (m, k) = part.n_samples, part.blocks[0].n_outputs, rows.shape
    if not bool(torch.isfinite(residual).all() and torch.isfinite(rows.row_squares()).all()):
        return LeaveOneOut(math.inf, math.inf, 0), "nothing"
    column, small = residual[:, None], m * k * min(m, k) <= LARGEST_DENSE and m * q <= BLOCK_NUMBERS
    if not (small and (k < m or by_rows)):
        if q > 1 and m > BLOCK_ROWS:
            modes = modes_of_gram(rows.mean_gram(), eps=eps)
            return leave_one_out(modes, residual.reshape(-1, q), n_samples=n, block=1), MEAN_GRAM_ROUTE
        modes = modes_of_gram(rows.gram(), eps=eps)
        if modes.rank == m or not small:
            return leave_one_out(modes, column, n_samples=n, block=q), GRAM_ROUTE
    return leave_one_out(modes_of_rows(rows.dense(), eps=eps), column, n_samples=n, block=q), ROWS_ROUTE


def _chosen(candidates: tuple[GainCandidate, ...], *, small: bool) -> float | None:
    """The gain nearest to 1 among those whose error is the least, or as good as; none below 1 from a small part."""
    finite = [c for c in candidates if math.isfinite(c.error)]
    offered = [c for c in finite if c.gain >= 1.0 or not small] or finite
    least = min((c.error for c in offered), default=math.inf)
    tied = [c.gain for c in offered if c.error <= TIE * least]
    return _nearest(tied) if tied else None
