"""The batches of a loader, cut out of tensors at once where that gives the same numbers: anew, or in one order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

Loader = DataLoader[Any]
"""Yields pairs (X, y)."""
Batches = Iterable[Any]
"""Yields pairs (X, y), the same ones at every pass."""


def anew(loader: Batches) -> Iterator[Any]:
    """One pass over a loader, in the order that it draws for this pass.

    Tensors are cut batch by batch: reading them item by item, as a DataLoader does, takes longer than a step of Adam.
    """
    tensors = _tensors_of(loader)
    if tensors is None or not isinstance(loader, DataLoader) or loader.batch_sampler is None:
        return iter(loader)
    return iter(TensorBatches(tensors, map(_as_slice, map(list, loader.batch_sampler))))


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
    if (tensors := _tensors_of(loader)) is not None:
        return TensorBatches(tensors, tuple(map(_as_slice, places)))
    return DataLoader(dataset, batch_sampler=places, **common)


@dataclass(frozen=True)
class TensorBatches:
    """Batches of tensors, cut at once.

    Attributes:
        tensors: samples first.
        places: the samples of each batch.
    """

    tensors: tuple[Tensor, ...]
    places: Iterable[slice | Tensor]

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (tuple(tensor[place] for tensor in self.tensors) for place in self.places)


def _tensors_of(loader: Batches) -> tuple[Tensor, ...] | None:
    """The tensors whose rows its batches are; None where they are made in another way."""
    if not isinstance(loader, DataLoader) or type(loader.dataset) is not TensorDataset:
        return None
    return loader.dataset.tensors if loader.collate_fn is default_collate and not loader.pin_memory else None


def _as_slice(places: list[int]) -> slice | Tensor:
    """A slice, which is cut without a copy, where the samples are neighbours."""
    first = places[0]
    neighbours = first >= 0 and places == list(range(first, first + len(places)))
    return slice(first, first + len(places)) if neighbours else torch.tensor(places, device="cpu")
