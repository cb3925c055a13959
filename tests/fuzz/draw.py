"""What is random in a case: one integer decides all of it."""

import random
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Draw(random.Random):
    """Random choices, and tensors whose numbers follow from the same seed, without torch's global state."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.generator = torch.Generator().manual_seed(seed % 2**63)

    def chance(self, share: float) -> bool:
        return self.random() < share

    def pick(self, weighted: dict[T, float]) -> T:
        """One of the keys, as often as its weight says."""
        return self.choices(list(weighted), list(weighted.values()))[0]

    def size(self, most: int) -> int:
        """From 1 to `most`, small ones more often."""
        return min(most, 1 + int(most * self.random() ** 2))

    def scale(self, decades: float) -> float:
        """A power of ten up to `decades` either way; 1 in half of all cases."""
        return 1.0 if self.chance(0.5) else 10.0 ** self.uniform(-decades, decades)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def words(self, shape: tuple[int, ...], n_words: int) -> Tensor:
        return torch.randint(0, n_words, shape, generator=self.generator)
