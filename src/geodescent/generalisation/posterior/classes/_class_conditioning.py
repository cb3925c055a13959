"""How a posterior of classes comes about: rows, the numbers of the prior, the amplitude, and what each start says."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._deadline import seconds_left
from geodescent._types import Gram
from geodescent.generalisation.posterior._conditioning import TUNED_ON
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

AMPLITUDES = tuple(2.0**power for power in range(-1, 7))
"""Times the tuned covariance, of which the rows left out choose one."""
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

    The amplitude is the one nearest to the evidence's among those whose log loss of rows left out is within a standard
    error of the least; numbers and amplitude are those of the first start.
    """
    notes, generator, tuning = list[str](), torch.Generator().manual_seed(seed), Tuning(callback)
    n_classes = int(labels.max()) + 1
    if len(x) > MOST_ROWS_OF_CLASSES:
        notes.append(f"{MOST_ROWS_OF_CLASSES} of {len(x)} rows were drawn for the posterior of classes.")
        kept = drawn_rows(len(x), MOST_ROWS_OF_CLASSES, generator)
        x, labels, weights = x[kept], labels[kept], weights[kept]
    x, column, weights, _ = merged(x, labels[:, None].to(x.dtype), weights)
    inputs = Standardised.of(x, weights)
    targets = torch.nn.functional.one_hot(column[:, 0].long(), n_classes).to(x.dtype)
    rows = ClassRows(inputs(x), targets[:, 1:] if n_classes == 2 else targets, weights)
    ranks = Ranks.of(rows.x, weights)
    first, of_rows, part = drawn_layers(x.shape[1], seed), ranks(rows.x), drawn_rows(len(x), TUNED_ON, generator)
    evidence = ClassEvidence(first, rows.x[part], of_rows[part], weights[part])
    logarithms = evidence.tuned(rows.targets[part], tuning)
    numbers = PriorNumbers.of(logarithms, x.shape[1])
    usual = factor_of(rows.targets) * float(logarithms[-x.shape[1] - 2].exp())
    seen, gram = _seen(first, rows, of_rows, numbers)
    tried = [_TriedAmplitude.of(m, ClassMember.of(numbers, m * usual, first, seen, rows, gram)) for m in AMPLITUDES]
    chosen = _chosen(tried, weights)
    found = [(chosen.member, chosen.shares)]
    for start in range(1, starts):
        if seconds_left() <= 0.0:
            notes.append(f"The time ran out: {len(found)} of {starts} starts are averaged.")
            break
        network = drawn_layers(x.shape[1], seed + start)
        seen, gram = _seen(network, rows, of_rows, numbers)
        found.append(ClassMember.of(numbers, chosen.member.amplitude, network, seen, rows, gram))
    losses = losses_of(torch.stack([shares for _, shares in found]).mean(0), rows.labels)
    loss = float((weights * losses).sum() / weights.sum())
    return ClassPosterior([member for member, _ in found], inputs, ranks, loss, notes, tuning.records)


def _seen(network: nn.Module, rows: ClassRows, ranks: Tensor, numbers: PriorNumbers) -> tuple[PriorRows, Gram]:
    """The rows as a start sees them, and their prior covariance at amplitude one."""
    seen = PriorRows.of(network, rows.x, ranks, numbers).detached()
    return seen, covariance(seen, seen, numbers)


@dataclass(frozen=True)
class _TriedAmplitude:
    """An amplitude, and what the rows left out say of it."""

    times: float
    member: ClassMember
    shares: Tensor
    losses: Tensor

    @classmethod
    def of(cls, times: float, found: tuple[ClassMember, Tensor]) -> "_TriedAmplitude":
        member, shares = found
        return cls(times, member, shares, losses_of(shares, member.rows.labels))


def losses_of(shares: Tensor, labels: Tensor) -> Tensor:
    """`−log p` of each row's class, (N,)."""
    tiny = torch.finfo(shares.dtype).tiny
    return -shares.gather(1, labels[:, None])[:, 0].clamp(min=tiny).log()


def _chosen(tried: list[_TriedAmplitude], weights: Tensor) -> _TriedAmplitude:
    """The amplitude nearest to 1 that is within one standard error of the least loss, of the paired differences."""
    count = weights.sum()

    def mean(values: Tensor) -> Tensor:
        return (weights * values).sum() / count

    best = min(tried, key=lambda one: float(mean(one.losses)))

    def is_as_good(one: _TriedAmplitude) -> bool:
        apart = one.losses - best.losses
        error = (mean((apart - mean(apart)).square()) / (count - 1.0)).sqrt()
        return bool(mean(apart) <= error)

    return min(filter(is_as_good, tried), key=lambda one: abs(math.log(one.times)))
