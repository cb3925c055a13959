"""How much memory a call of a model takes, by what autograd's graph holds of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.graph import Node

from geodescent._budget import require

AT_ONCE = 4.0  # Times the widest tensor: what a call without a graph holds; a convolution copies what it reads.


@dataclass(frozen=True)
class SampleBytes:
    """Of a call, for each sample.

    Attributes:
        graph: bytes that operations save for a backward pass.
        widest: bytes of the largest tensor among them.
    """

    graph: int = 0
    widest: int = 0

    @classmethod
    def of(cls, two: Iterable[Node], three: Iterable[Node]) -> "SampleBytes":
        """From the graphs of calls on two and on three samples: what does not differ belongs to no sample."""
        of_two, of_three = _sizes(two), _sizes(three)
        graph = max(0, sum(of_three) - sum(of_two))
        if len(of_two) != len(of_three):
            return cls(graph, graph)
        return cls(graph, max((b - a for a, b in zip(of_two, of_three, strict=True)), default=0))

    @property
    def call(self) -> float:
        """Bytes that a call without a graph holds."""
        return AT_ONCE * self.widest


def require_calls(sample_bytes: float, n_samples: int, device: torch.device) -> None:
    """Raises MemoryPlanError where a call of the model on so many samples does not fit."""
    what = f"a call of the model on {n_samples} samples"
    way_out = "Use fewer samples at a time: a DataLoader in the place of X and y gives them in batches."
    require(sample_bytes * n_samples, device, what=what, instead=way_out)


def _sizes(graph: Iterable[Node]) -> list[int]:
    """The bytes of each memory that operations saved for a backward pass, the smallest first."""
    memories = [t.untyped_storage() for node in graph for t in _saved(node) if t.layout == torch.strided]
    return sorted({memory.data_ptr(): memory.nbytes() for memory in memories}.values())


def _saved(node: Node) -> Iterator[Tensor]:
    for name in _names(type(node)):
        try:
            value = getattr(node, name)
        except RuntimeError:  # overwritten since: a backward pass will say so
            continue
        yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Tensor))


@cache
def _names(kind: type[Node]) -> tuple[str, ...]:
    """Of the attributes that hold what a kind of operation saved; that of a user's own is `saved_tensors`."""
    return tuple(name for name in dir(kind) if name.startswith("_saved_") or name == "saved_tensors")
