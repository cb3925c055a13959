"""Convex costs of the outputs: value, gradient and Hessian in output space, sample by sample.

Each is the mean over the samples of a convex function of a sample's Q outputs. The targets have the outputs' shape:
real numbers, probabilities of classes, counts, or probabilities of events.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import BETWEEN, Number, Whole, settle

HUBER_WIDTH = Number("the width of the quadratic part must be positive and finite", lambda x: 0.0 < x < math.inf, 1.0)
SMOOTHING = BETWEEN.such_as(0.1)


class OutputCost(Protocol):
    """`C = (1/N) Σ_i c(x_i, y_i)`, c convex in x_i."""

    def require(self, targets: Tensor) -> None:
        """Raises InputError for targets (N, Q) that the cost has no minimum for."""
        ...

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """C; outputs and targets (N, Q)."""
        ...

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓC`, (N, Q)."""
        ...

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓ²C`: one positive semidefinite block a sample, (N, Q, Q)."""
        ...


@dataclass(frozen=True)
class SquaredError:
    """`‖x − y‖²/2`: the cost that everything else in this library is about."""

    def require(self, targets: Tensor) -> None:
        """Any real targets."""

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """C, the mean over the samples."""
        return float((outputs - targets).square().sum(1).mean()) / 2.0

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓC`, (N, Q)."""
        return outputs - targets

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓ²C`, (N, Q, Q)."""
        return torch.diag_embed(torch.ones_like(outputs))


@dataclass(frozen=True)
class CrossEntropy:
    """`−Σ_q y_q log softmax(x)_q`, y the probabilities of the classes.

    Its Hessian is singular along (1, …, 1): softmax does not see the sum of a sample's outputs.
    """

    def require(self, targets: Tensor) -> None:
        """Probabilities, of which some are above zero in every row."""
        _require_within(targets, 0.0, float("inf"), "CrossEntropy: probabilities", "see gd.costs.smoothed")
        if not bool((targets.sum(1) > 0.0).all()):
            raise InputError("CrossEntropy: a row of the targets has no probability above zero.")

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """C, the mean over the samples."""
        return -float((targets * torch.log_softmax(outputs, 1)).sum(1).mean())

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓC`, (N, Q)."""
        return targets.sum(1, keepdim=True) * torch.softmax(outputs, 1) - targets

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓ²C`, (N, Q, Q)."""
        p = torch.softmax(outputs, 1)
        others = p[:, :, None] * p[:, None, :] * (1.0 - torch.eye(p.shape[1], device="cpu").to(p))
        blocks = torch.diag_embed(others.sum(2)) - others  # p − p² as Σ_k≠q p_q p_k: rows add up to zero at p → 1 too
        return targets.sum(1)[:, None, None] * blocks


@dataclass(frozen=True)
class Huber:
    """`e²/2` where |e| ≤ δ, `δ(|e| − δ/2)` beyond, e = x − y, summed over the outputs.

    Args:
        delta: δ > 0, in the units of y.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        settle(self, delta=HUBER_WIDTH)

    def require(self, targets: Tensor) -> None:
        """Any real targets."""

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """C, the mean over the samples."""
        off = (outputs - targets).abs()
        inside, outside = 0.5 * off.square(), self.delta * (off - 0.5 * self.delta)
        return float(torch.where(off <= self.delta, inside, outside).sum(1).mean())

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓC`, (N, Q)."""
        return (outputs - targets).clamp(-self.delta, self.delta)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓ²C`, (N, Q, Q)."""
        return torch.diag_embed(((outputs - targets).abs() <= self.delta).to(outputs))


@dataclass(frozen=True)
class Poisson:
    """`eˣ − yx`: counts y ≥ 0 whose rate is eˣ."""

    def require(self, targets: Tensor) -> None:
        """No counts below zero."""
        _require_within(targets, 0.0, float("inf"), "Poisson: counts", "x itself is the logarithm of the rate")

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """C, the mean over the samples."""
        return float((outputs.exp() - targets * outputs).sum(1).mean())

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓC`, (N, Q)."""
        return outputs.exp() - targets

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓ²C`, (N, Q, Q)."""
        return torch.diag_embed(outputs.exp())


@dataclass(frozen=True)
class Logistic:
    """`log(1 + eˣ) − yx`: the probability of an event is 1/(1 + e⁻ˣ), y in [0, 1]."""

    def require(self, targets: Tensor) -> None:
        """Probabilities of events."""
        _require_within(targets, 0.0, 1.0, "Logistic: probabilities", "divide counts by their total")

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """C, the mean over the samples."""
        return float((torch.nn.functional.softplus(outputs) - targets * outputs).sum(1).mean())

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓC`, (N, Q)."""
        return torch.sigmoid(outputs) - targets

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`N∇ₓ²C`, (N, Q, Q)."""
        p = torch.sigmoid(outputs)
        return torch.diag_embed(p * (1.0 - p))


def _require_within(targets: Tensor, low: float, high: float, what: str, hint: str) -> None:
    least, most = float(targets.min()), float(targets.max())
    if not low <= least <= most <= high:
        within = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
        raise InputError(f"{what} must be {within}, and these go from {least:.3g} to {most:.3g}: {hint}.")


def smoothed(labels: Tensor, n_classes: int, smoothing: float) -> Tensor:
    """`(1 − ε) + ε/Q` on the label, `ε/Q` elsewhere, as in torch's CrossEntropyLoss; (N, Q), float64.

    Args:
        labels: class of each sample, (N,), integers.
        n_classes: Q.
        smoothing: ε in (0, 1): without it no finite outputs are a minimum.
    """
    SMOOTHING.of("smoothing", smoothing), Whole(10, least=1).of("n_classes", n_classes)
    if (
        labels.dim() != 1
        or labels.dtype.is_floating_point
        or not 0 <= int(labels.min()) <= int(labels.max()) < n_classes
    ):
        raise InputError(f"labels must be whole numbers from 0 to {n_classes - 1}, one a sample.")
    one_hot = torch.nn.functional.one_hot(labels.long(), n_classes).double()
    return (1.0 - smoothing) * one_hot + smoothing / n_classes


def cross_entropy_minimiser(probabilities: Tensor, sums: Tensor) -> Tensor:
    """`x* = log y + (c − Σ_k log y_k)/Q`: the minimiser of cross-entropy whose outputs add up to c, by sample.

    The sum of a sample's outputs is conserved by the output flow of cross-entropy: on that fibre training is the L²
    problem with target x*.

    Args:
        probabilities: y > 0, rows adding up to 1, (N, Q): see `smoothed`.
        sums: c, (N,): `model(X).sum(1)` at the start.

    Raises: InputError, where a probability is not positive.
    Source: arXiv:2408.01517.
    """
    if not bool((probabilities > 0.0).all()):
        raise InputError("a probability is zero: its output would be −∞. Smooth the labels, smoothed(labels, Q, 0.1).")
    logs = probabilities.log()
    return logs + ((sums - logs.sum(1)) / probabilities.shape[1])[:, None]
