"""The samples of a stage, in words: what each kind of source takes its steps on."""

from functools import singledispatch

from geodescent.descent import FIRST_BATCH
from geodescent.problem import (
    BatchSource,
    DrawnSource,
    EpochsSource,
    FixedSource,
    GrowingSource,
    PartSource,
    Problem,
    ShuffledSource,
    Source,
    StreamedSource,
)

OVER_LOADERS = (BatchSource, GrowingSource, StreamedSource)
"""Sources whose data are known as they are read."""


def number_of_samples(problem: Problem) -> int:
    """Of all blocks."""
    return sum(block.n_samples for block in problem.blocks)


def whole_of(source: Source) -> Problem:
    """The problem of all data, as far as they are known before they are read."""
    return source.whole if isinstance(source, StreamedSource) else source.first


def problem_of_step(source: Source) -> Problem:
    """The problem of the first step: of a loader the first batch, which is read already."""
    if isinstance(source, ShuffledSource):
        return source.drawing(0).batch(FIRST_BATCH) or source.first
    if isinstance(source, EpochsSource):
        return next(source.batches(0))
    return source.first if isinstance(source, OVER_LOADERS) else source.at(0)


@singledispatch
def samples_in_words(source: Source) -> str:
    """On what the steps are taken; a source of one's own says how many samples the first step has."""
    return f"{number_of_samples(source.at(0)):,} samples, by {type(source).__name__}"


@samples_in_words.register
def _(source: FixedSource) -> str:
    return _all(source.first)


@samples_in_words.register
def _(source: PartSource) -> str:
    n, some = number_of_samples(source.first), number_of_samples(source.drawn)
    return f"{_all(source.first)}, measured values weighed as exact" if n == some else f"{some:,} of {n:,} samples"


@samples_in_words.register
def _(source: DrawnSource) -> str:
    n = number_of_samples(source.first)
    return _all(source.first) if source.is_whole else f"{source.n_drawn:,} of {n:,} samples, drawn anew for each step"


@samples_in_words.register
def _(source: ShuffledSource) -> str:
    n = number_of_samples(source.first)
    return f"batches of {FIRST_BATCH:,} of {n:,} samples, of twice as many as soon as that pays"


@samples_in_words.register
def _(source: EpochsSource) -> str:
    return f"batches of {source.size:,} of {number_of_samples(source.first):,} samples"


@samples_in_words.register
def _(source: BatchSource) -> str:
    return f"one batch of the DataLoader for each step, the first of {number_of_samples(source.first):,} samples"


@samples_in_words.register
def _(source: GrowingSource) -> str:
    return f"batches of {FIRST_BATCH:,} samples of the DataLoader, of twice as many as soon as that pays"


@samples_in_words.register
def _(source: StreamedSource) -> str:
    return f"all {number_of_samples(source.whole):,} samples, in passes over the DataLoader"


def _all(problem: Problem) -> str:
    n = number_of_samples(problem)
    return f"all {n:,} samples" if n > 1 else "the one sample"
