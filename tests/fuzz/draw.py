"""What is random in a case: one integer decides all of it, and a device says where it is played."""

import random
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Draw(random.Random):
    """Random choices, and tensors whose numbers follow from the same seed, without torch's global state.

    Tensors are drawn on the CPU, so that a case is the same on each device; `there` moves them.
    """

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        super().__init__(seed)
        self.device = device or torch.device("cpu")
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

    def there(self, values: Any) -> Any:
        """A module, a tensor, or a tuple or dict of tensors, on the device of the case."""
        if isinstance(values, Tensor | nn.Module):
            return values.to(self.device)
        if isinstance(values, dict):
            return {name: self.there(value) for name, value in values.items()}
        return tuple(self.there(value) for value in values) if isinstance(values, tuple) else values

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def words(self, shape: tuple[int, ...], n_words: int) -> Tensor:
        return torch.randint(0, n_words, shape, generator=self.generator)
