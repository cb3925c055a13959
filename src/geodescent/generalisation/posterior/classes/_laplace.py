"""Laplace's approximation of latent functions behind classes: the mode, what rows left out say, new rows.

Source: Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), algorithms 3.1 and 3.3; with rows that
count w times, `W = w (diag(p) − p pᵀ)`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geodescent._types import Gram
from geodescent.generalisation.posterior._induced import ROWS_AT_ONCE

NEWTON_STEPS, HALVED = 40, 12
"""Of Newton's method, and of a step that does not raise the posterior density."""
SETTLED = 1e-4  # Largest change of a latent function: the next step of Newton's method would be its square.
LEAST_PROBABILITY_OF_A_CLASS = 1e-10  # Probabilities below it count as this.


@dataclass(frozen=True)
class LatentMode(ABC):
    """The mode of the latent functions, and the curvature there.

    Attributes:
        gram: K, their prior covariance, (N, N).
        targets: 1 for a row's class, (N, C); of two classes the second alone, (N, 1).
        weights: how often each row counts, (N,).
        dual: a, f = K a, (N, C).
    """

    gram: Gram
    targets: Tensor
    weights: Tensor
    dual: Tensor

    @cached_property
    def latents(self) -> Tensor:
        """f, (N, C)."""
        return self.gram @ self.dual

    @cached_property
    def shares(self) -> Tensor:
        """p, (N, C)."""
        return self.shares_of(self.latents)

    @staticmethod
    @abstractmethod
    def shares_of(latents: Tensor) -> Tensor:
        """The probabilities that belong to latent functions."""

    @abstractmethod
    def log_likelihood(self, latents: Tensor) -> Tensor:
        """`Σ w log p` of the rows' own classes."""

    @abstractmethod
    def newton(self) -> Tensor:
        """The dual vector after a whole step, (N, C)."""

    @abstractmethod
    def reduction(self, across: Tensor) -> Tensor:
        """By how much the data reduce the prior covariance of other rows, (n, C, C).

        Args:
            across: K of these rows and those of others, (N, n).
        """

    @abstractmethod
    def explained(self, across: Tensor) -> Tensor:
        """The diagonal of the same, (n, C), with memory for one class at a time."""

    def density(self) -> float:
        """The logarithm of the posterior density of f, but for a constant."""
        latents = self.latents
        return float(self.log_likelihood(latents) - 0.5 * (self.dual * latents).sum())

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each row's latents without it, (N, C): all its repetitions are left out.

        `f_i − Σ_ii (I − W_i Σ_ii)⁻¹ w_i (y_i − p_i)`, Σ the posterior covariance.
        """
        p, w = self.shares, self.weights[:, None]
        eye = torch.eye(p.shape[1], dtype=p.dtype, device="cpu")
        parts = torch.split(self.gram, ROWS_AT_ONCE, dim=1)
        own = self.gram.diagonal()[:, None, None] * eye - torch.cat([self.reduction(part) for part in parts])
        curvature = w[:, :, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None])
        without = own @ torch.linalg.inv(eye - curvature @ own)
        pulled = (without @ (w * (self.targets - p))[:, :, None])[:, :, 0]
        return self.latents - pulled, without.diagonal(dim1=1, dim2=2).clamp(min=0.0)

    def predicted(self, across: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the latents of other rows, (n, C).

        Args:
            across: K of these rows and those, (N, n).
            prior: their prior variance, (n,).
        """
        return across.T @ self.dual, (prior[:, None] - self.explained(across)).clamp(min=0.0)


class TwoClasses(LatentMode):
    """One latent function, through the logistic function."""

    @staticmethod
    def shares_of(latents: Tensor) -> Tensor:
        shares: Tensor = torch.sigmoid(latents)
        return shares

    def log_likelihood(self, latents: Tensor) -> Tensor:
        own: Tensor = torch.nn.functional.logsigmoid((2.0 * self.targets - 1.0) * latents)
        return (self.weights[:, None] * own).sum()

    def newton(self) -> Tensor:
        p, root = self.shares, self._root
        b = root.square() * self.latents + self.weights[:, None] * (self.targets - p)
        return b - root * torch.cholesky_solve(root * (self.gram @ b), self._lower)

    def reduction(self, across: Tensor) -> Tensor:
        return self.explained(across)[:, :, None]

    def explained(self, across: Tensor) -> Tensor:
        half: Tensor = torch.linalg.solve_triangular(self._lower, self._root * across, upper=False)
        return half.square().sum(0)[:, None]

    @cached_property
    def _root(self) -> Tensor:
        """`W^½`, (N, 1)."""
        p = self.shares
        return (self.weights[:, None] * p * (1.0 - p)).clamp(min=LEAST_PROBABILITY_OF_A_CLASS).sqrt()

    @cached_property
    def _lower(self) -> Tensor:
        return _lower_of(self.gram, self._root[:, 0])


class ManyClasses(LatentMode):
    """A latent function for each class, through the softmax."""

    @staticmethod
    def shares_of(latents: Tensor) -> Tensor:
        return torch.softmax(latents, 1)

    def log_likelihood(self, latents: Tensor) -> Tensor:
        return (self.weights[:, None] * self.targets * torch.log_softmax(latents, 1)).sum()

    def newton(self) -> Tensor:
        p, w, f, of_classes = self.shares, self.weights[:, None], self.latents, self._of_classes
        b = w * (p * f - p * (p * f).sum(1, keepdim=True) + self.targets - p)
        c = torch.stack([e @ (self.gram @ b[:, k]) for k, e in enumerate(of_classes)], 1)
        common = torch.cholesky_solve(c.sum(1, keepdim=True), self._common)[:, 0]
        return b - c + torch.stack([e @ common for e in of_classes], 1)

    def reduction(self, across: Tensor) -> Tensor:
        products = [e @ across for e in self._of_classes]
        halves = torch.stack([torch.linalg.solve_triangular(self._common, u, upper=False) for u in products])
        own = torch.stack([(across * u).sum(0) for u in products], 1)
        return torch.diag_embed(own) - torch.einsum("cmn,emn->nce", halves, halves)

    def explained(self, across: Tensor) -> Tensor:
        found = list[Tensor]()
        for e in self._of_classes:
            product = e @ across
            half = torch.linalg.solve_triangular(self._common, product, upper=False)
            found.append((across * product).sum(0) - half.square().sum(0))
        return torch.stack(found, 1)

    @cached_property
    def _of_classes(self) -> list[Gram]:
        """`E_c = D^½ (I + D^½ K D^½)⁻¹ D^½`, D = w p_c, for each class."""
        roots = (self.weights[:, None] * self.shares).clamp(min=LEAST_PROBABILITY_OF_A_CLASS).sqrt()
        inverses = (torch.cholesky_inverse(_lower_of(self.gram, root)) for root in roots.T)
        return [root[:, None] * inverse * root for root, inverse in zip(roots.T, inverses, strict=True)]

    @cached_property
    def _common(self) -> Tensor:
        """The Cholesky factor of `Σ_c E_c`."""
        total = torch.stack(self._of_classes).sum(0)
        total.diagonal().add_(LEAST_PROBABILITY_OF_A_CLASS)
        lower: Tensor = torch.linalg.cholesky(total)
        return lower


def _lower_of(gram: Gram, root: Tensor) -> Tensor:
    """The Cholesky factor of `I + W^½ K W^½`."""
    inside = root[:, None] * gram * root
    inside.diagonal().add_(1.0)
    lower: Tensor = torch.linalg.cholesky(inside)
    return lower


def kind_of(targets: Tensor) -> type[TwoClasses] | type[ManyClasses]:
    """By the number of columns."""
    return TwoClasses if targets.shape[1] == 1 else ManyClasses


def mode_of(gram: Gram, targets: Tensor, weights: Tensor, begin: Tensor | None = None) -> LatentMode:
    """By Newton's method, a step halved until it raises the density; targets as in `LatentMode`.

    Args:
        begin: the dual vector of a mode nearby, (N, C).

    Cost: a few N³ multiply-adds for each class and step.
    """
    kind = kind_of(targets)
    mode: LatentMode = kind(gram, targets, weights, torch.zeros_like(targets) if begin is None else begin)
    density = mode.density()
    for _ in range(NEWTON_STEPS):
        step, length = mode.newton() - mode.dual, 1.0
        for _ in range(HALVED):
            nearer = kind(gram, targets, weights, mode.dual + length * step)
            if nearer.density() >= density:
                break
            length *= 0.5
        else:
            return mode
        change = float((nearer.latents - mode.latents).abs().max())
        mode, density = nearer, nearer.density()
        if change < SETTLED:
            break
    return mode
