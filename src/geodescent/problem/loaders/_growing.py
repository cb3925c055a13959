"""Batches of growing size out of a loader: each of as many of its batches as it needs, or of a part of one."""

from dataclasses import dataclass, field

import torch

from geodescent._budget import fits
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.jacobian import COPIES_OF_D, Jacobian, bytes_a_sample
from geodescent.outputs import Inputs, SampleMap, leaves_of, map_inputs
from geodescent.problem._problem import Problem
from geodescent.problem._sources import OF_ALL, chosen_samples, on_samples
from geodescent.problem.loaders._batch_source import BatchSource

ALONE = "pass method=gd.Method(control=gd.Spring()), which takes each batch of the DataLoader alone"
"""What can be done where samples do not fit together."""


@dataclass
class GrowingSource:
    """Steps on batches of growing size out of a loader; the cost of all data is measured after each round of them.

    A batch of more than half of the samples is a whole pass. Other batches follow each other through the passes.

    Attributes:
        batches: of the loader.

    Memory: one batch at a time.
    """

    batches: BatchSource
    _held: list[Problem] = field(default_factory=list, init=False)  # samples read, and not yet in a batch
    _is_whole: bool = field(default=False, init=False)  # whether the last batch was a whole pass

    @property
    def first(self) -> Problem:
        """That of the first batch of the loader."""
        return self.batches.first

    def at(self, step: int) -> Problem:
        """That of the first batch of the loader."""
        return self.first

    def cost(self, theta: Theta) -> float:
        """C over one pass."""
        return self.batches.cost(theta)

    def cost_of_all(self, step: int, theta: Theta, own_cost: float) -> float | None:
        """C over one pass, which the step's own batch may have been."""
        return own_cost if self._is_whole else self.cost(theta)

    def own_cost(self, theta: Theta, cost: float) -> float:
        """C of all data, because the next batch is not known."""
        return cost

    def drawing(self, step: int) -> "LoaderDrawing":
        """The batches of the next round, which go on where those of the last one ended."""
        return LoaderDrawing(self)

    def batch(self, size: int) -> Problem:
        """The next so many samples.

        Raises: InputError, where samples do not fit together.
        """
        self._is_whole = size == self.batches.n_samples
        if self._is_whole:
            self._held = []
            self.batches.begin_pass()
        parts = self._held
        while sum(part.n_samples for part in parts) < size:
            parts = [*parts, self.batches.at(0)]
        whole = _joined(parts)
        rows = torch.arange(len(whole.blocks[0].target), device="cpu")
        self._held = [chosen_samples(whole, rows[size:])] if len(rows) > size else []
        return chosen_samples(whole, rows[:size]) if self._held else whole


class LoaderDrawing:
    """The batches of one round: of at most as many samples as a pass has.

    Args:
        source: that reads them.
    """

    def __init__(self, source: GrowingSource) -> None:
        self._source, self._n_samples, self._given = source, source.batches.n_samples, 0

    @property
    def n_residuals(self) -> int:
        """Rows of all data."""
        return self._n_samples * self._source.first.blocks[0].n_outputs

    def batch(self, size: int) -> Problem | None:
        """The next so many samples, or a whole pass where these are more than half of one; None after a pass."""
        size = self._at_most_all(size)
        self._given += size
        return self._source.batch(size) if self._given <= self._n_samples else None

    def next_size(self, size: int, jacobian: Jacobian) -> int:
        """Twice as many samples, or a whole pass; as many as before where D of more would not fit into memory."""
        following = self._at_most_all(2 * size)
        n_bytes = COPIES_OF_D * bytes_a_sample(jacobian.blocks) * following
        return following if fits(n_bytes, jacobian.device) else size

    def _at_most_all(self, size: int) -> int:
        return self._n_samples if OF_ALL * size > self._n_samples else size


def _joined(parts: list[Problem]) -> Problem:
    """The problem on the samples of all parts, in their order."""
    if len(parts) == 1:
        return parts[0]
    inputs = [_inputs_of(part) for part in parts]
    for other in inputs[1:]:
        _require_alike(inputs[0], other)
    together = map(torch.cat, zip(*map(leaves_of, inputs), strict=True))
    targets = torch.cat([part.blocks[0].target for part in parts])
    return on_samples(parts[0], map_inputs(lambda tensor: next(together), inputs[0]), targets)


def _inputs_of(problem: Problem) -> Inputs:
    outputs = problem.blocks[0].map
    assert isinstance(outputs, SampleMap)  # the map of a module
    return outputs.inputs


def _require_alike(first: Inputs, other: Inputs) -> None:
    """Raises InputError where samples do not fit together."""
    if _names(first) != _names(other):
        raise InputError(
            f"the DataLoader yields the inputs {_names(other)} after the inputs {_names(first)}: all of its batches "
            "must have the same, in the same order."
        )
    for before, after in zip(leaves_of(first), leaves_of(other), strict=True):
        if before.shape[1:] != after.shape[1:]:
            raise InputError(
                f"the DataLoader yields samples of shape {tuple(after.shape[1:])} after samples of shape "
                f"{tuple(before.shape[1:])}, which do not fit into one batch: pad them to one shape, or {ALONE}."
            )


def _names(inputs: Inputs) -> list[str]:
    """Of the tensors of X; their positions where they have none."""
    return list(inputs) if isinstance(inputs, dict) else [f"X[{i}]" for i in range(len(leaves_of(inputs)))]
