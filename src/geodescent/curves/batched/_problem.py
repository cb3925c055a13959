"""The least-squares problems of many data sets: residuals, factors, linear parameters solved for."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent.curves.batched._box import within_box
from geodescent.curves.batched._factor import ColumnFactor, factored
from geodescent.curves.batched._formula import BatchedFormula


@dataclass(frozen=True)
class Problems:
    """`½‖w(f(x, θ) − y)‖²` for b data sets, each with its own box for θ.

    Attributes:
        formula: f and x.
        y: (b, n).
        weight: w = 1/σ (b, n), None where all are one; points with weight zero are left out, whatever x and y hold.
        lower, upper: (b, K).
        linear: the parameters solved for at every point.
        bent: all others.
    """

    formula: BatchedFormula
    y: Tensor
    weight: Tensor | None
    lower: Tensor
    upper: Tensor
    linear: tuple[int, ...] = ()
    bent: tuple[int, ...] = ()

    def __getitem__(self, rows: Tensor) -> "Problems":
        return replace(
            self,
            formula=self.formula[rows],
            y=self.y[rows],
            weight=None if self.weight is None else self.weight[rows],
            lower=self.lower[rows],
            upper=self.upper[rows],
        )

    def separated(self, linear: tuple[int, ...]) -> "Problems":
        """The same with these parameters solved for at every point."""
        return replace(self, linear=linear, bent=tuple(j for j in range(self.lower.shape[1]) if j not in linear))

    @property
    def order(self) -> list[int]:
        """The parameters in the order of the columns of a factor: the linear ones first."""
        return [*self.linear, *self.bent]

    def weighted(self, differences: Tensor) -> Tensor:
        """(…, b, n) by w, and zero where a point is left out."""
        if self.weight is None:
            return differences
        return torch.where(self.weight > 0.0, self.weight * differences, 0.0)

    def residual(self, theta: Tensor) -> Tensor:
        """r = w(f(x, θ) − y), (b, n)."""
        return self.weighted(self.formula.values(theta) - self.y)

    def variation(self) -> Tensor:
        """‖w(y − ȳ)‖² (b,), ȳ the weighted mean: what the best constant leaves."""
        ones = self.weighted(torch.ones_like(self.y))
        weighted = self.weighted(self.y)
        mean = (ones * weighted).sum(1) / ones.square().sum(1)
        return (weighted - mean[:, None] * ones).square().sum(1)

    def settled(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """θ with the best linear parameters, within their bounds, for the others; and ‖r‖² (b,) there.

        Source: variable projection, Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973).
        """
        values, columns = self.formula.columns(theta, self.linear)
        residual, columns = self.weighted(values - self.y), self.weighted(columns)
        if self.linear:
            linear = list(self.linear)
            factor = factored(columns, residual)
            low, high = (self.lower - theta)[:, linear], (self.upper - theta)[:, linear]
            step = within_box(factor.r, factor.c, torch.zeros_like(low), low, high)[0]
            theta = theta.clone()
            theta[:, linear] += step
            theta = self.within(theta)
            residual = residual + (step[:, None, :] @ columns.transpose(0, 1))[:, 0]
        return theta, residual.square().sum(1)

    def linearised(self, theta: Tensor) -> tuple[ColumnFactor, Tensor]:
        """The factor of the derivatives of r, in `order`, with `c = Qᵀr`; and ‖r‖² (b,)."""
        values, columns = self.formula.columns(theta, self.order)
        residual = self.weighted(values - self.y)
        return factored(self.weighted(columns), residual), residual.square().sum(1)

    def room(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """How far each parameter may go down (≤ 0) and up (≥ 0), (b, K) each, in `order`."""
        return (self.lower - theta)[:, self.order], (self.upper - theta)[:, self.order]

    def within(self, theta: Tensor) -> Tensor:
        """θ with every parameter that is beyond a bound put onto it."""
        return torch.minimum(torch.maximum(theta, self.lower), self.upper)

    def in_order(self, move: Tensor) -> Tensor:
        """(b, K) from `order` to that of θ."""
        sorted_move = torch.empty_like(move)
        sorted_move[:, self.order] = move
        return sorted_move
