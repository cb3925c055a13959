"""Batches of one size, by random permutations of the samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.problem._problem import Problem
from geodescent.problem._sources import chosen_samples, sampled_block, weighted_samples

EPOCHS_OF_ROUND = (0.5, 1.0, 2.0)
"""Over the samples: those of the first rounds and of all later ones. The first record comes soon, and later the cost of
all samples, which is measured after each round, takes a small part of the time."""


@dataclass(frozen=True)
class SourceOfBatches:
    """What sources of batches have in common; the cost of all samples is measured after each round of these.

    Attributes:
        first: the problem of all samples, of one block.
    """

    first: Problem

    def __post_init__(self) -> None:
        if not isinstance(self.first, Problem) or sampled_block(self.first) is None:
            raise InputError("batches need a problem of one block whose map is of samples, as gd.SampleMap(model, X).")

    def at(self, step: int) -> Problem:
        """The problem of all samples."""
        return self.first

    def cost(self, theta: Theta) -> float:
        """C of all samples."""
        return self.first.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C of all samples."""
        return self.cost(theta)

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of all samples, because the next batch has others."""
        return cost


@dataclass(frozen=True)
class EpochsSource(SourceOfBatches):
    """Steps on batches of one size, each sample once a pass.

    Attributes:
        size: samples of a batch.
    """

    size: int

    def n_batches(self, step: int) -> int:
        """Of the round after `step`, one at least."""
        passes = EPOCHS_OF_ROUND[min(step, len(EPOCHS_OF_ROUND) - 1)]
        return max(1, round(passes * len(weighted_samples(self.first.blocks[0])) / self.size))

    def batches(self, step: int) -> Iterator[Problem]:
        """Those of the round after `step`; fewer samples than a batch are left out of a pass."""
        samples, generator = weighted_samples(self.first.blocks[0]), torch.Generator().manual_seed(step)
        of_pass = max(1, len(samples) // self.size)
        for index in range(self.n_batches(step)):
            if index % of_pass == 0:
                order = samples[torch.randperm(len(samples), generator=generator, device="cpu")]
            begin = index % of_pass * self.size
            yield chosen_samples(self.first, order[begin : begin + self.size])
