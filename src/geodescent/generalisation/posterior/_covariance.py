"""The prior covariance of the outputs: of a network's layers, of a linear part and of steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from geodescent._types import Gram
from geodescent.generalisation.posterior._network import LinearColumns, linear_columns
from geodescent.generalisation.posterior._numbers import PriorNumbers


@dataclass(frozen=True)
class PriorRows:
    """What the covariance of some rows is made of.

    Attributes:
        x: standardised inputs, (N, d).
        ranks: of the inputs, (N, d).
        scaled: s ∘ x, the leaf of the graph behind the layers.
        layers: of the network, at s ∘ x.
    """

    x: Tensor
    ranks: Tensor
    scaled: Tensor
    layers: list[LinearColumns]

    @classmethod
    def of(cls, network: nn.Module, x: Tensor, ranks: Tensor, numbers: PriorNumbers) -> "PriorRows":
        """Cost: a forward and a backward pass of the network."""
        with torch.inference_mode(False):
            scaled = (x * numbers.scales).requires_grad_()
            return cls(x, ranks, scaled, linear_columns(network, scaled))

    def detached(self) -> "PriorRows":
        """The same without the graph, to be kept."""
        return self._changed(lambda values: values.detach())

    def part(self, which: slice | Tensor) -> "PriorRows":
        """These rows of them."""
        return self._changed(lambda values: values[which])

    def to(self, dtype: torch.dtype) -> "PriorRows":
        """The same in another precision."""
        return self._changed(lambda values: values.to(dtype))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "PriorRows":
        layers = [replace(f, inputs=change(f.inputs), cotangents=change(f.cotangents)) for f in self.layers]
        return PriorRows(change(self.x), change(self.ranks), change(self.scaled), layers)


def covariance(rows: PriorRows, others: PriorRows, numbers: PriorNumbers, *, steps: bool = True) -> Gram:
    """`Σ_l v_l (a_l·a_l'/fan_in + 1)(g_l·g_l') + a x·x'/d + 1 + c exp(−Σ_f λ_f |r_f − r_f'|)`, (N, N').

    Source: docs/decisions.md; the last term is the covariance of random axis-parallel partitions (Rahimi and Recht,
    *Random features for large-scale kernel machines*, 2007).
    """
    with torch.no_grad():
        total = 1.0 + numbers.linear * (rows.x @ others.x.T) / rows.x.shape[1]
        for v, layer, other in zip(numbers.layers, rows.layers, others.layers, strict=True):
            total += v * layer.inner(other) * layer.outer(other)
        if steps:
            total += step_covariance(rows.ranks, others.ranks, numbers)
        return total


def variances(rows: PriorRows, numbers: PriorNumbers) -> Tensor:
    """The diagonal of the same, (N,)."""
    with torch.no_grad():
        total = 1.0 + numbers.steps + numbers.linear * rows.x.square().sum(1) / rows.x.shape[1]
        for v, layer in zip(numbers.layers, rows.layers, strict=True):
            total += v * layer.squares()
        return total


def step_covariance(ranks: Tensor, others: Tensor, numbers: PriorNumbers) -> Gram:
    """`c exp(−Σ_f λ_f |r_f − r_f'|)`, (N, N')."""
    return numbers.steps * torch.exp(-torch.cdist(ranks * numbers.rates, others * numbers.rates, p=1.0))
