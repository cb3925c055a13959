"""The posterior of one start: conditioned on all rows by one factor, or, where they are many, by iteration."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._induced import Induced
from geodescent.generalisation.posterior._iterated import conditioned
from geodescent.generalisation.posterior._numbers import PriorNumbers


class Factors(Protocol):
    """What variances are computed with."""

    def explained(self, rows: PriorRows) -> Tensor:
        """By how much the data reduce the prior variance of these rows, (n,)."""


@dataclass(frozen=True)
class Member:
    """The posterior of one start; the mean needs no factor, and factors are made when a variance is first asked for.

    Attributes:
        numbers: of the prior and the noise.
        network: at its start.
        rows: that it is conditioned on, N.
        noise: of each row, σ²/w, (N,).
        solved: `A⁻¹ Y`, `A = G + diag(noise)`, (N, Q).
        left_out: `y_i − x_i` without row i, (N, Q).
        left_out_variance: of it, (N,).
        picked: the rows through which variances are computed, (M,): all of them, or some.
    """

    numbers: PriorNumbers
    network: nn.Module
    rows: PriorRows
    noise: Tensor
    solved: Tensor
    left_out: Tensor
    left_out_variance: Tensor
    picked: Tensor

    def __getstate__(self) -> dict[str, object]:
        """Without the factors, which are several times as large as all else."""
        return {name: value for name, value in vars(self).items() if name != "_factors"}

    @classmethod
    def of(cls, network: nn.Module, rows: PriorRows, y: Tensor, noise: Tensor, numbers: PriorNumbers) -> "Member":
        """Conditioned on all rows by one factor.

        Cost: N³ multiply-adds.
        """
        inverse = torch.cholesky_inverse(_WholeFactor.of(rows, noise, numbers).lower)
        solved, diagonal = inverse @ y, inverse.diagonal()
        everything = torch.arange(len(noise), device="cpu")
        return cls(numbers, network, rows, noise, solved, solved / diagonal[:, None], 1.0 / diagonal, everything)

    @classmethod
    def by_iteration(
        cls, network: nn.Module, rows: PriorRows, y: Tensor, noise: Tensor, numbers: PriorNumbers, seed: int
    ) -> "Member":
        """Conditioned on all rows by conjugate gradients; variances are those through a part of the rows.

        Cost: N² (widths + columns) multiply-adds and N²/4 MB.
        """
        found = conditioned(rows, y, noise, numbers, seed)
        left_out = found.solved / found.inverse_diagonal[:, None]
        return cls(numbers, network, rows, found.noise, found.solved, left_out, found.variance, found.picked)

    def at(self, x: Tensor, ranks: Tensor) -> PriorRows:
        """Other rows, to be predicted."""
        return PriorRows.of(self.network, x, ranks, self.numbers).detached()

    def mean(self, others: PriorRows) -> Tensor:
        """(n, Q)."""
        return covariance(others, self.rows, self.numbers) @ self.solved

    def variance(self, others: PriorRows) -> Tensor:
        """Without noise, (n,)."""
        return (variances(others, self.numbers) - self._factors.explained(others)).clamp(min=0.0)

    @cached_property
    def _factors(self) -> Factors:
        if len(self.picked) == len(self.noise):
            return _WholeFactor.of(self.rows, self.noise, self.numbers)
        return Induced.of(self.rows, self.picked, self.noise, self.numbers).factors


@dataclass(frozen=True)
class _WholeFactor:
    """L of `A = L Lᵀ`, (N, N)."""

    rows: PriorRows
    numbers: PriorNumbers
    lower: Tensor

    @classmethod
    def of(cls, rows: PriorRows, noise: Tensor, numbers: PriorNumbers) -> "_WholeFactor":
        total = covariance(rows, rows, numbers)
        total.diagonal().add_(noise)
        return cls(rows, numbers, torch.linalg.cholesky(total))

    def explained(self, rows: PriorRows) -> Tensor:
        across = covariance(self.rows, rows, self.numbers)
        half: Tensor = torch.linalg.solve_triangular(self.lower, across, upper=False)
        return half.square().sum(0)
