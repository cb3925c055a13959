"""How a posterior of classes comes about: rows, the numbers of the prior, the amplitude, and what each start says."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from geodescent._deadline import seconds_left
from geodescent._types import Gram
from geodescent.generalisation.posterior._covariance import PriorRows, covariance
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._rows import drawn_rows, merged
from geodescent.generalisation.posterior._scaling import Standardised
from geodescent.generalisation.posterior._tuning import Tuning, TuningRecord
from geodescent.generalisation.posterior.classes._class_evidence import ClassEvidence, factor_of
from geodescent.generalisation.posterior.classes._class_member import ClassMember, ClassRows
from geodescent.generalisation.posterior.classes._class_posterior import MOST_ROWS_OF_CLASSES, ClassPosterior
from geodescent.generalisation.posterior.classes._linear_begin import linear_begin

SMALLER, LARGER = 0.5, tuple(2.0**power for power in range(1, 7))
"""Times the tuned covariance: the rows left out choose one of these, or 1; they are tried one by one, from 1 on."""
CLEARLY = 2.0  # Standard errors of the difference: by so much rows left out must be better for another beginning.
TUNED_ON_BY_CLASSES = 1000  # Rows of three classes by which the numbers are chosen, at most; of more classes fewer.
MOST_OF_SEVERAL_STARTS = 1000  # Rows, up to which several starts are averaged.
STARTS_OF_CLASSES = 3
"""Networks whose probabilities are averaged: an eighth more time, better on four of five tables (docs/decisions.md)."""


def class_posterior_of(
    x: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    seed: int,
    starts: int = STARTS_OF_CLASSES,
    callback: Callable[[TuningRecord], None] | None = None,
) -> ClassPosterior:
    """From inputs (N, d), labels 0 to C − 1 (N,), and how often each row counts, (N,).

    The numbers are tuned from two beginnings. The amplitude is the one nearest to the evidence's among those whose log
    loss of rows left out is within a standard error of the least; numbers and amplitude are those of the first start.
    """
    notes, generator = list[str](), torch.Generator().manual_seed(seed)
    n_classes = int(labels.max()) + 1
    if len(x) > MOST_ROWS_OF_CLASSES:
        notes.append(f"Of the {len(x)} rows {MOST_ROWS_OF_CLASSES} were drawn for the posterior of classes.")
        kept = drawn_rows(len(x), MOST_ROWS_OF_CLASSES, generator)
        x, labels, weights = x[kept], labels[kept], weights[kept]
    x, column, weights, _ = merged(x, labels[:, None].to(x.dtype), weights)
    inputs = Standardised.of(x, weights)
    targets = torch.nn.functional.one_hot(column[:, 0].long(), n_classes).to(x.dtype)
    rows = ClassRows(inputs(x), targets[:, 1:] if n_classes == 2 else targets, weights)
    ranks = Ranks.of(rows.x, weights)
    first, of_rows = drawn_layers(x.shape[1], seed), ranks(rows.x)
    part = drawn_rows(len(x), tuned_on(n_classes), generator)
    evidence = ClassEvidence(first, rows.x[part], of_rows[part], weights[part])
    prior = _tuned_prior(evidence, rows.targets[part], rows, of_rows, callback)
    chosen = chosen_of(_searched(prior, weights), weights)
    found = [(chosen.member, chosen.shares)]
    for start in range(1, starts if len(x) <= MOST_OF_SEVERAL_STARTS else 1):
        if seconds_left() <= 0.0:
            notes.append(f"The time ran out: {len(found)} of {starts} starts are averaged.")
            break
        another = prior.seen_by(drawn_layers(x.shape[1], seed + start)).tried(chosen.times)
        found.append((another.member, another.shares))
    losses = losses_of(torch.stack([shares for _, shares in found]).mean(0), rows.labels)
    loss = float((weights * losses).sum() / weights.sum())
    return ClassPosterior([member for member, _ in found], inputs, ranks, loss, notes, prior.records)


def tuned_on(n_classes: int) -> int:
    """Rows by which the numbers are chosen, at most: each class has a matrix of its own, and `C n³` takes the time."""
    return int(TUNED_ON_BY_CLASSES * min(1.0, (3.0 / n_classes) ** (1.0 / 3.0)))


def _tuned_prior(
    evidence: ClassEvidence,
    targets: Tensor,
    rows: ClassRows,
    ranks: Tensor,
    callback: Callable[[TuningRecord], None] | None,
) -> "_TunedPrior":
    """The prior from the usual beginning, or, where rows left out are clearly better by it, from a linear one."""
    found = list[_TunedPrior]()
    for begin in (ClassEvidence.begin, partial(linear_begin, targets=targets)):
        if found and seconds_left() <= 0.0:
            break
        tuning = Tuning(callback)
        logarithms = evidence.tuned(begin(evidence), targets, tuning)
        numbers = PriorNumbers.of(logarithms, rows.x.shape[1])
        amplitude = factor_of(targets) * float(logarithms[-rows.x.shape[1] - 2].exp())
        found.append(_TunedPrior(numbers, amplitude, evidence.network, rows, ranks, tuning.records))
    usual, other = found[0], found[-1]
    return usual if _is_as_good(usual.at_one, other.at_one, rows.weights, CLEARLY) else other


@dataclass(frozen=True)
class _TunedPrior:
    """A prior whose numbers were chosen, its covariance of the rows, and how they were found."""

    numbers: PriorNumbers
    amplitude: float
    network: nn.Module
    rows: ClassRows
    ranks: Tensor
    records: list[TuningRecord]

    def seen_by(self, network: nn.Module) -> "_TunedPrior":
        """The same with another network."""
        return replace(self, network=network)

    def tried(self, times: float, near: ClassMember | None = None) -> "TriedAmplitude":
        """At so many times its amplitude."""
        amplitude = times * self.amplitude
        member = ClassMember.of(self.numbers, amplitude, self.network, self._seen, self.rows, self._gram, near)
        return TriedAmplitude.of(times, member)

    @cached_property
    def at_one(self) -> "TriedAmplitude":
        """At its own amplitude."""
        return self.tried(1.0)

    @cached_property
    def _seen(self) -> PriorRows:
        return PriorRows.of(self.network, self.rows.x, self.ranks, self.numbers).detached()

    @cached_property
    def _gram(self) -> Gram:
        """At amplitude one."""
        return covariance(self._seen, self._seen, self.numbers)


@dataclass(frozen=True)
class TriedAmplitude:
    """An amplitude, and what the rows left out say of it."""

    times: float
    member: ClassMember
    shares: Tensor
    losses: Tensor

    @classmethod
    def of(cls, times: float, found: tuple[ClassMember, Tensor]) -> "TriedAmplitude":
        member, shares = found
        return cls(times, member, shares, losses_of(shares, member.rows.labels))


def losses_of(shares: Tensor, labels: Tensor) -> Tensor:
    """`−log p` of each row's class, (N,)."""
    tiny = torch.finfo(shares.dtype).tiny
    return -shares.gather(1, labels[:, None])[:, 0].clamp(min=tiny).log()


def _searched(prior: _TunedPrior, weights: Tensor) -> list[TriedAmplitude]:
    """Amplitudes from 1 on, as long as rows left out do not get worse by more than a standard error."""
    found = [prior.at_one]
    found.append(prior.tried(SMALLER, found[0].member))
    for times in LARGER:
        if seconds_left() <= 0.0:
            break
        nearer = max(found, key=lambda one: one.times)
        found.append(prior.tried(times, nearer.member))
        best = min(found, key=lambda one: _mean(one.losses, weights))
        if not _is_as_good(found[-1], best, weights):
            break
    return found


def chosen_of(tried: list[TriedAmplitude], weights: Tensor) -> TriedAmplitude:
    """The amplitude nearest to 1 that is within one standard error of the least loss, of the paired differences."""
    best = min(tried, key=lambda one: _mean(one.losses, weights))
    as_good = [one for one in tried if _is_as_good(one, best, weights)]
    return min(as_good, key=lambda one: abs(math.log(one.times)))


def _is_as_good(one: TriedAmplitude, best: TriedAmplitude, weights: Tensor, errors: float = 1.0) -> bool:
    """Whether its mean loss is above the other's by no more than so many standard errors of the difference."""
    apart, n = one.losses - best.losses, float(weights.sum())
    mean = _mean(apart, weights)
    error = math.sqrt(_mean((apart - mean).square(), weights) / max(n - 1.0, 0.5 * n))
    return mean <= errors * error


def _mean(values: Tensor, weights: Tensor) -> float:
    return float((weights * values).sum() / weights.sum())
