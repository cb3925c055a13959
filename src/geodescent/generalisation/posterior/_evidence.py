"""How probable the targets are under a prior, and the numbers that make them, and themselves, most probable."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from geodescent._types import Gram
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, step_covariance
from geodescent.generalisation.posterior._linear_part import unexplained
from geodescent.generalisation.posterior._network import linear_layers
from geodescent.generalisation.posterior._numbers import FIRST_STEPS, LEAST_NOISE, Beliefs, PriorNumbers
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._tuning import Tuning, minimised

FIRST_ALONE, THEN_ALL = 12, 25
"""Iterations of L-BFGS: for the network and the linear part alone, then with the steps. All at once it stops short."""
LARGEST_RATIO = 1e9  # Prior variance over noise: above it the covariance is positive definite by chance of rounding.


@dataclass(frozen=True)
class Evidence:
    """`−log p(y | h) − log p(h)`, h the logarithms of the numbers of prior and noise: type-II maximum a posteriori.

    Attributes:
        network: whose layers are linearised at their start.
        x: standardised inputs, (N, d).
        y: standardised targets, (N, Q).
        weights: how often each row counts, (N,).
    """

    network: nn.Module
    x: Tensor
    y: Tensor
    weights: Tensor

    @cached_property
    def beliefs(self) -> Beliefs:
        """About the logarithms."""
        left = unexplained(self.x, self.y, self.weights)
        return Beliefs.of(self.x.shape[1], len(linear_layers(self.network)), left)

    def __call__(self, logarithms: Tensor, *, steps: bool = True) -> tuple[float, Tensor] | None:
        """The value, and its derivative by the logarithms; None where the covariance is singular to rounding.

        `½ tr Yᵀ A⁻¹ Y + Q Σ log L_ii + ½ Q Σ (w_i − 1) log σ² + ½ Σ ((h − h₀)/sd)²`, `A = G + σ² diag(1/w) = L Lᵀ`,
        and `∂/∂h = ½ Σ M_ij ∂A_ij/∂h`, `M = Q A⁻¹ − A⁻¹ Y Yᵀ A⁻¹`: one backward pass through inputs and cotangents.

        Args:
            steps: whether the covariance has steps.

        Cost: N³ and some N² (d + widths) multiply-adds.
        """
        d, q = self.x.shape[1], self.y.shape[1]
        numbers = PriorNumbers.of(logarithms, d)
        rows = PriorRows.of(self.network, self.x, self._ranks, numbers)
        total = covariance(rows, rows, numbers, steps=steps)
        if not bool(total.diagonal().max() <= LARGEST_RATIO * numbers.noise):
            return None
        total.diagonal().add_(numbers.noise / self.weights)
        lower, info = torch.linalg.cholesky_ex(total)
        if int(info):
            return None
        inverse = torch.cholesky_inverse(lower)
        solved = inverse @ self.y
        value = 0.5 * (self.y * solved).sum() + q * lower.diagonal().log().sum()
        repeated = 0.5 * q * (self.weights - 1.0).sum()
        value += repeated * numbers.noise.log().sum() + self.beliefs.cost(logarithms)
        moments = q * inverse - solved @ solved.T
        slope = covariance_slope(rows, numbers, moments, steps=steps)
        by_noise = 0.5 * (moments.diagonal() / self.weights).sum() + repeated / numbers.noise
        slope[-d - 2] = (by_noise * logarithms[-d - 2].exp()).sum()
        return float(value), slope + self.beliefs.slope(logarithms)

    @cached_property
    def _ranks(self) -> Tensor:
        return Ranks.of(self.x, self.weights)(self.x)

    def tuned(self, tuning: Tuning, *, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """The logarithms at the maximum: those of the network and the linear part alone, and all.

        Args:
            share: of the usual iterations.
        """
        beliefs, d, n_rows = self.beliefs, self.x.shape[1], float(self.weights.sum())

        def of_network(logarithms: Tensor) -> tuple[float, Tensor] | None:
            found = self(logarithms, steps=False)
            return None if found is None else (found[0], found[1] * ~beliefs.of_steps)

        def watched(cost: float, logarithms: Tensor) -> None:
            tuning(cost, float(logarithms[-d - 2].exp()) + LEAST_NOISE)

        alone = minimised(
            of_network, beliefs.mean, iterations=round(share * FIRST_ALONE), n_rows=n_rows, watched=watched
        )
        begin = alone.clone()
        begin[-d - 1] = math.log(FIRST_STEPS)
        return alone, minimised(self, begin, iterations=round(share * THEN_ALL), n_rows=n_rows, watched=watched)


def covariance_slope(rows: PriorRows, numbers: PriorNumbers, moments: Gram, *, steps: bool = True) -> Tensor:
    """`½ Σ M_ij ∂G_ij/∂h`, h the logarithms of the numbers of the prior; 0 in the place of the noise.

    Cost: N² (widths + d) multiply-adds, and a backward pass through inputs and cotangents of the layers.
    """
    n_inputs, found, gradients, by_layer = rows.x.shape[1], list[Tensor](), list[Tensor](), list[Tensor]()
    with torch.no_grad():
        for v, layer in zip(numbers.layers, rows.layers, strict=True):
            inner, outer = moments * layer.inner(layer), moments * layer.outer(layer)
            by_layer.append(0.5 * v * (inner * layer.outer(layer)).sum())
            for values, by_values in (
                (layer.inputs, v / layer.fan_in * (outer @ layer.inputs)),
                (layer.cotangents, v * (inner @ layer.cotangents)),
            ):
                if values.requires_grad:
                    found.append(values)
                    gradients.append(by_values)
    (by_scaled,) = torch.autograd.grad(found, rows.scaled, gradients)
    by_linear = 0.5 * numbers.linear * (moments * (rows.x @ rows.x.T)).sum() / n_inputs
    none = by_linear.new_zeros(1)
    by_steps, by_rates = none, by_linear.new_zeros(n_inputs)
    if steps:
        weighed = moments * step_covariance(rows.ranks, rows.ranks, numbers)
        by_steps = 0.5 * weighed.sum().reshape(1)
        by_rates = numbers.rates * _by_distances(rows.ranks, numbers.rates, -0.5 * weighed)
    by_scales = (by_scaled * rows.x).sum(0) * numbers.scales
    return torch.cat([by_scales, torch.stack(by_layer), by_linear.reshape(1), none, by_steps, by_rates])


def _by_distances(ranks: Tensor, rates: Tensor, weights: Gram) -> Tensor:
    """`Σ_ij W_ij |r_if − r_jf|`, (d,): the derivative of the weighted distances by the rates."""
    scaled = (ranks * rates).requires_grad_()
    with torch.enable_grad():
        distances = torch.cdist(scaled, scaled, p=1.0)
    (by_scaled,) = torch.autograd.grad(distances, scaled, weights)
    return (by_scaled * ranks).sum(0)
