"""How probable classes are under a prior, and the numbers that make them most probable."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from geodescent._types import Gram
from geodescent.generalisation.posterior._covariance import PriorRows, covariance
from geodescent.generalisation.posterior._evidence import covariance_slope
from geodescent.generalisation.posterior._network import linear_layers
from geodescent.generalisation.posterior._numbers import FIRST_STEPS, Beliefs, PriorNumbers
from geodescent.generalisation.posterior._tuning import Tuning, minimised
from geodescent.generalisation.posterior.classes._laplace import LatentMode, mode_of

LINEARISED, SEARCHED = 3, 8
"""Modes at which the evidence is linearised, and iterations of L-BFGS at each."""
OF_LAYERS, AMPLITUDE, OF_AMPLITUDE = 1.5, 2.0, 2.0
"""Standard deviation of the layers' logarithms; the amplitude A before data are seen, and that of its logarithm."""
LEAST_CURVATURE = 1e-4  # Of a row's log likelihood: a row that is certain, and wrong, would be infinitely far off.


@dataclass(frozen=True)
class ClassEvidence:
    """`−r Σ_c log N(z_c | 0, A G + W_c⁻¹) − log p(h)`: the evidence, linearised at the mode for the present numbers.

    In the vector of logarithms that of A stands in the place of the noise.

    Attributes:
        network: whose layers are linearised at their start.
        x: standardised inputs, (N, d).
        ranks: of the inputs, (N, d).
        weights: how often each row counts, (N,).
    """

    network: nn.Module
    x: Tensor
    ranks: Tensor
    weights: Tensor

    @property
    def beliefs(self) -> Beliefs:
        """About the logarithms."""
        d = self.x.shape[1]
        n_layers = len(linear_layers(self.network))
        usual = Beliefs.of(d, n_layers)
        mean, deviation = usual.mean.clone(), usual.deviation.clone()
        deviation[d : d + n_layers] = OF_LAYERS
        mean[-d - 2], deviation[-d - 2] = math.log(AMPLITUDE), OF_AMPLITUDE
        return Beliefs(mean, deviation, usual.of_steps)

    def gram(self, logarithms: Tensor) -> Gram:
        """`A G`, (N, N)."""
        numbers, d = PriorNumbers.of(logarithms, self.x.shape[1]), self.x.shape[1]
        rows = PriorRows.of(self.network, self.x, self.ranks, numbers)
        return logarithms[-d - 2].exp() * covariance(rows, rows, numbers)

    def __call__(
        self, logarithms: Tensor, targets: Tensor, noise: Tensor, *, factor: float, share: float
    ) -> tuple[float, Tensor] | None:
        """The value, and its derivative by the logarithms; None where a covariance is not positive definite.

        Args:
            targets, noise: z and 1/W, (N, C).
            factor: on A G: 2 for the difference of two latent functions.
            share: r.
        """
        d = self.x.shape[1]
        numbers, amplitude = PriorNumbers.of(logarithms, d), factor * logarithms[-d - 2].exp()
        rows = PriorRows.of(self.network, self.x, self.ranks, numbers)
        total = amplitude * covariance(rows, rows, numbers)
        value, moments = self.beliefs.cost(logarithms), torch.zeros_like(total)
        for z, v in zip(targets.T, noise.T, strict=True):
            lower, info = torch.linalg.cholesky_ex(total + torch.diag(v))
            if int(info):
                return None
            inverse = torch.cholesky_inverse(lower)
            solved = inverse @ z
            value = value + share * (0.5 * (z @ solved) + lower.diagonal().log().sum())
            moments += share * (inverse - torch.outer(solved, solved))
        slope = covariance_slope(rows, numbers, amplitude * moments)
        slope[-d - 2] = 0.5 * (moments * total).sum()
        return float(value), slope + self.beliefs.slope(logarithms)

    def begin(self) -> Tensor:
        """The logarithms that are usually tuned first: those believed, with small steps."""
        logarithms = self.beliefs.mean.clone()
        logarithms[-self.x.shape[1] - 1] = math.log(FIRST_STEPS)
        return logarithms

    def tuned(self, begin: Tensor, targets: Tensor, tuning: Tuning) -> Tensor:
        """The logarithms after a few rounds: the mode at the present numbers, then the numbers for that mode."""
        logarithms, d = begin, self.x.shape[1]
        factor, n_classes = factor_of(targets), targets.shape[1]
        share = 1.0 if n_classes == 1 else (n_classes - 1.0) / n_classes

        def watched(cost: float, at: Tensor) -> None:
            tuning(cost, float(at[-d - 2].exp()))

        for _ in range(LINEARISED):
            mode = mode_of(factor * self.gram(logarithms), targets, self.weights)
            z, noise = linearised_at(mode)
            linearised = partial(self, targets=z, noise=noise, factor=factor, share=share)
            n_rows = float(self.weights.sum())
            logarithms = minimised(linearised, logarithms, iterations=SEARCHED, n_rows=n_rows, watched=watched)
        return logarithms


def linearised_at(mode: LatentMode) -> tuple[Tensor, Tensor]:
    """`z = f + (y − p)/W'` and `1/(w W')`, `W' = p (1 − p)`, (N, C): a regression on them has the same mode."""
    p = mode.shares
    curvature = (p * (1.0 - p)).clamp(min=LEAST_CURVATURE)
    return mode.latents + (mode.targets - p) / curvature, 1.0 / (mode.weights[:, None] * curvature)


def factor_of(targets: Tensor) -> float:
    """On A G: of two classes the latent function is the difference of two."""
    return 2.0 if targets.shape[1] == 1 else 1.0
