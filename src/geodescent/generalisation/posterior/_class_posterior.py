"""The posterior of classes: probabilities calibrated on rows left out."""

import math
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from geodescent._conversion import Values
from geodescent._types import Gram
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._evidence import covariance_slope, minimised
from geodescent.generalisation.posterior._laplace import LatentMode, mode_of
from geodescent.generalisation.posterior._network import drawn_layers, linear_layers
from geodescent.generalisation.posterior._numbers import FIRST_STEPS, Beliefs, PriorNumbers
from geodescent.generalisation.posterior._posterior import TUNED_ON
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._rows import drawn_rows, merged
from geodescent.generalisation.posterior._scaling import Standardised

LINEARISED, SEARCHED = 3, 8
"""Modes at which the evidence is linearised, and iterations of L-BFGS at each."""
OF_LAYERS, AMPLITUDE, OF_AMPLITUDE = 1.5, 2.0, 2.0
"""Standard deviation of the layers' logarithms; the amplitude A before data are seen, and that of its logarithm."""
LEAST_CURVATURE = 1e-4  # Of a row's log likelihood: a row that is certain, and wrong, would be infinitely far off.
AMPLITUDES = tuple(2.0**power for power in range(-1, 7))
"""Times the tuned covariance, of which the rows left out choose one."""
MOST_ROWS_OF_CLASSES = 3000  # Rows that the posterior is conditioned on, at most: each class has matrices of its own.
SEARCHES = 50  # Iterations of L-BFGS for the two numbers of the calibration and more.


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

    def tuned(self, targets: Tensor) -> Tensor:
        """The logarithms after a few rounds: the mode at the present numbers, then the numbers for that mode."""
        logarithms, d = self.beliefs.mean.clone(), self.x.shape[1]
        logarithms[-d - 1] = math.log(FIRST_STEPS)
        factor, n_classes = factor_of(targets), targets.shape[1]
        share = 1.0 if n_classes == 1 else (n_classes - 1.0) / n_classes
        for _ in range(LINEARISED):
            mode = mode_of(factor * self.gram(logarithms), targets, self.weights)
            p = mode.shares
            curvature = (p * (1.0 - p)).clamp(min=LEAST_CURVATURE)
            z, noise = mode.latents + (targets - p) / curvature, 1.0 / (self.weights[:, None] * curvature)
            linearised = partial(self, targets=z, noise=noise, factor=factor, share=share)
            logarithms = minimised(linearised, logarithms, iterations=SEARCHED, n_rows=float(self.weights.sum()))
        return logarithms


def factor_of(targets: Tensor) -> float:
    """On A G: of two classes the latent function is the difference of two."""
    return 2.0 if targets.shape[1] == 1 else 1.0


@dataclass(frozen=True)
class Calibration:
    """`softmax(t f + b)`, f shrunk for its variance v by `1/√(1 + πv/8)`.

    Attributes:
        slope: t.
        shift: b, (C,), or (1,) for two classes.
    """

    slope: Tensor
    shift: Tensor

    @classmethod
    def of(cls, latents: Tensor, labels: Tensor, weights: Tensor) -> "Calibration":
        """The most probable one for shrunk latents of rows left out; log t and b are N(0, 1) before."""
        numbers = latents.new_zeros(1 + latents.shape[1]).requires_grad_()
        search: torch.optim.Optimizer = torch.optim.LBFGS([numbers], max_iter=SEARCHES, line_search_fn="strong_wolfe")

        def closure() -> float:
            numbers.grad = None
            with torch.enable_grad():
                losses = cls(numbers[0].exp(), numbers[1:]).losses(latents, labels)
                cost = (weights * losses).sum() + 0.5 * numbers.square().sum()
            (numbers.grad,) = torch.autograd.grad(cost, numbers)
            return float(cost.detach())

        search.step(closure)
        return cls(numbers.detach()[0].exp(), numbers.detach()[1:])

    def losses(self, latents: Tensor, labels: Tensor) -> Tensor:
        """`−log p` of each row's class, (N,)."""
        return torch.nn.functional.cross_entropy(self._logits(latents), labels, reduction="none")

    def probabilities(self, latents: Tensor) -> Tensor:
        """(n, number of classes)."""
        return torch.softmax(self._logits(latents), 1)

    def _logits(self, latents: Tensor) -> Tensor:
        logits = self.slope * latents + self.shift
        return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def shrunk(mean: Tensor, variance: Tensor) -> Tensor:
    """What a latent function of this mean and variance is worth, MacKay's approximation."""
    return mean / (1.0 + math.pi * variance / 8.0).sqrt()


@dataclass(frozen=True, repr=False)
class ClassPosterior:
    """What is believed of the classes after the data.

    Attributes:
        numbers: of the prior, in units of standardised columns.
        amplitude: on the prior covariance.
        network: at its start.
        rows: that it is conditioned on.
        mode: of the latent functions.
        calibration: on rows left out.
        inputs, ranks: of the columns.
        left_out_log_loss: the mean log loss to expect of new rows, by the rows left out.
        notes: sentences for the user.
    """

    numbers: PriorNumbers
    amplitude: float
    network: nn.Module
    rows: PriorRows
    mode: LatentMode
    calibration: Calibration
    inputs: Standardised
    ranks: Ranks
    left_out_log_loss: float
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        rows, columns = self.rows.x.shape
        loss = self.left_out_log_loss
        return f"ClassPosterior({rows} rows of {columns} columns, log loss of rows left out {loss:.3g})"

    def probabilities(self, X: Values) -> Tensor:
        """Of each class, (n, number of classes)."""
        return torch.cat([self._of_rows(part) for part in self.inputs.parts(X)])

    def _of_rows(self, x: Tensor) -> Tensor:
        rows = PriorRows.of(self.network, x, self.ranks(x), self.numbers).detached()
        across = self.amplitude * covariance(self.rows, rows, self.numbers)
        prior = self.amplitude * variances(rows, self.numbers)
        return self.calibration.probabilities(shrunk(*self.mode.predicted(across, prior)))


def class_posterior_of(x: Tensor, labels: Tensor, weights: Tensor, *, seed: int) -> ClassPosterior:
    """From inputs (N, d), labels 0 to C − 1 (N,), and how often each row counts, (N,).

    The amplitude is the one nearest to the evidence's among those whose log loss of rows left out is within a standard
    error of the least.
    """
    notes, generator = list[str](), torch.Generator().manual_seed(seed)
    if len(x) > MOST_ROWS_OF_CLASSES:
        notes.append(f"{MOST_ROWS_OF_CLASSES} of {len(x)} rows were drawn for the posterior of classes.")
        kept = drawn_rows(len(x), MOST_ROWS_OF_CLASSES, generator)
        x, labels, weights = x[kept], labels[kept], weights[kept]
    x, column, weights, _ = merged(x, labels[:, None].to(x.dtype), weights)
    labels, inputs = column[:, 0].long(), Standardised.of(x, weights)
    x = inputs(x)
    ranks = Ranks.of(x, weights)
    targets = torch.nn.functional.one_hot(labels).to(x.dtype)
    targets = targets[:, 1:] if targets.shape[1] == 2 else targets
    network, part = drawn_layers(x.shape[1], seed), drawn_rows(len(x), TUNED_ON, generator)
    logarithms = ClassEvidence(network, x[part], ranks(x)[part], weights[part]).tuned(targets[part])
    numbers, whole = PriorNumbers.of(logarithms, x.shape[1]), ClassEvidence(network, x, ranks(x), weights)
    gram = whole.gram(logarithms)
    tried = [_TriedAmplitude.of(m, gram, labels, targets, weights) for m in AMPLITUDES]
    chosen = _chosen(tried, weights)
    amplitude = chosen.times * factor_of(targets) * float(logarithms[-x.shape[1] - 2].exp())
    rows = PriorRows.of(network, x, ranks(x), numbers).detached()
    loss = float((weights * chosen.losses).sum() / weights.sum())
    return ClassPosterior(
        numbers, amplitude, network, rows, chosen.mode, chosen.calibration, inputs, ranks, loss, notes
    )


@dataclass(frozen=True)
class _TriedAmplitude:
    """An amplitude, and what the rows left out say of it."""

    times: float
    mode: LatentMode
    calibration: Calibration
    losses: Tensor

    @classmethod
    def of(cls, times: float, gram: Gram, labels: Tensor, targets: Tensor, weights: Tensor) -> "_TriedAmplitude":
        mode = mode_of(times * factor_of(targets) * gram, targets, weights)
        latents = shrunk(*mode.left_out())
        calibration = Calibration.of(latents, labels, weights)
        return cls(times, replace(mode), calibration, calibration.losses(latents, labels))  # without its factors


def _chosen(tried: list[_TriedAmplitude], weights: Tensor) -> _TriedAmplitude:
    """The amplitude nearest to 1 that is within one standard error of the least loss, of the paired differences."""
    count = weights.sum()

    def mean(values: Tensor) -> Tensor:
        return (weights * values).sum() / count

    best = min(tried, key=lambda one: float(mean(one.losses)))

    def is_as_good(one: _TriedAmplitude) -> bool:
        apart = one.losses - best.losses
        error = (mean((apart - mean(apart)).square()) / (count - 1.0)).sqrt()
        return bool(mean(apart) <= error)

    return min(filter(is_as_good, tried), key=lambda one: abs(math.log(one.times)))
