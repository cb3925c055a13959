"""The numbers of the prior and of the noise, of which the evidence chooses the logarithms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DEVIATIONS = (1.0, 1.0, 2.0, 3.0, 1.5, 1.0)
"""Standard deviations of the logarithms around their starts, in the order of `PriorNumbers`."""
LEAST_NOISE = 1e-6  # Added to σ², in units of the targets' variance: below it G is singular to rounding.
USUAL_SHARE = 0.3  # Of the targets' variance: each layer's part and that of the steps, before the data are seen.
FIRST_STEPS = 0.05  # Amplitude of the steps when they are first tuned: small, so that the network is not pushed aside.


@dataclass(frozen=True)
class PriorNumbers:
    """All in units of standardised inputs and targets.

    Attributes:
        scales: s_f, what each input is multiplied by in front of the first layer, (d,).
        layers: v_l, the prior variance of each layer's weights times its fan-in, (L,).
        linear: a, d times the prior variance of the coefficients of the linear part.
        noise: σ², of a row of weight 1.
        steps: c, the variance of the part made of steps.
        rates: λ_f, how fast steps of an input follow each other, (d,).
    """

    scales: Tensor
    layers: Tensor
    linear: Tensor
    noise: Tensor
    steps: Tensor
    rates: Tensor

    @classmethod
    def of(cls, logarithms: Tensor, n_inputs: int) -> "PriorNumbers":
        """From the vector that is tuned: log s, log v, log a, log σ², log c, log λ."""
        d, numbers = n_inputs, logarithms.exp()
        n_layers = len(numbers) - 2 * d - 3
        scales, layers, linear, noise, steps, rates = torch.split(numbers, [d, n_layers, 1, 1, 1, d])
        return cls(scales, layers, linear, noise + LEAST_NOISE, steps, rates)

    def to(self, dtype: torch.dtype) -> "PriorNumbers":
        """The same in another precision."""
        parts = (self.scales, self.layers, self.linear, self.noise, self.steps, self.rates)
        return PriorNumbers(*(part.to(dtype) for part in parts))


@dataclass(frozen=True)
class Beliefs:
    """What the logarithms are believed to be before the data are seen: independent normal distributions.

    Attributes:
        mean, deviation: of each, in the order of `PriorNumbers.of`.
        of_steps: which of them belong to the steps.
    """

    mean: Tensor
    deviation: Tensor
    of_steps: Tensor

    @classmethod
    def of(cls, n_inputs: int, n_layers: int, unexplained: float = 1.0) -> "Beliefs":
        """Those that suit standardised inputs and targets.

        Args:
            unexplained: the share of the variance that a linear function leaves: layers and steps are not believed to
                be larger. Where a single column decides nearly all, they would otherwise follow the noise of the rest.
        """
        d, root = n_inputs, math.sqrt(n_inputs)
        sizes = [d, n_layers, 1, 1, 1, d]
        bent = max(LEAST_NOISE, min(USUAL_SHARE, unexplained))
        means = [0.7 / root, bent, 1.0, 0.3, bent, 0.5 / root]

        def filled(values: Sequence[float]) -> Tensor:
            parts = [
                torch.full((n,), value, dtype=torch.float64, device="cpu")
                for n, value in zip(sizes, values, strict=True)
            ]
            return torch.cat(parts)

        return cls(filled(means).log(), filled(DEVIATIONS), filled([0.0] * 4 + [1.0] * 2) > 0.0)

    def cost(self, logarithms: Tensor) -> Tensor:
        """`½ Σ ((h − h₀)/sd)²`."""
        return 0.5 * ((logarithms - self.mean) / self.deviation).square().sum()

    def slope(self, logarithms: Tensor) -> Tensor:
        """The derivative of the cost."""
        return (logarithms - self.mean) / self.deviation.square()
