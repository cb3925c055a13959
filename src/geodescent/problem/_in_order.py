"""The batches of a loader in the same order at every pass, read batch by batch where that gives the same numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from geodescent.problem._sources import Loader

Batches = Iterable[Any]
"""Yields pairs (X, y), the same ones at every pass."""


def in_order(loader: Loader) -> Batches:
    """The same batches in the same order at every pass, so that rows keep their places.

    A pass draws from a generator of its own, and leaves the global one alone. Tensors are cut batch by batch: reading
    them item by item, as a DataLoader does, takes longer than a product with them.
    """
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset):
        return loader
    common: dict[str, Any] = {"collate_fn": loader.collate_fn, "num_workers": loader.num_workers}
    common["generator"] = torch.Generator()
    if loader.batch_sampler is None:
        return DataLoader(dataset, batch_size=None, sampler=list(loader.sampler), **common)
    places = [list(batch) for batch in loader.batch_sampler]
    if type(dataset) is TensorDataset and loader.collate_fn is default_collate and not loader.pin_memory:
        return TensorBatches(dataset.tensors, tuple(map(_as_slice, places)))
    return DataLoader(dataset, batch_sampler=places, **common)


@dataclass(frozen=True)
class TensorBatches:
    """Batches of tensors, cut at once.

    Attributes:
        tensors: samples first.
        places: the samples of each batch.
    """

    tensors: tuple[Tensor, ...]
    places: tuple[slice | Tensor, ...]

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (tuple(tensor[place] for tensor in self.tensors) for place in self.places)


def _as_slice(places: list[int]) -> slice | Tensor:
    """A slice, which is cut without a copy, where the samples are neighbours."""
    first = places[0]
    neighbours = first >= 0 and places == list(range(first, first + len(places)))
    return slice(first, first + len(places)) if neighbours else torch.tensor(places, device="cpu")
