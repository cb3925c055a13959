"""Many rows at once: the equations of a posterior by conjugate gradients, what is left out by random vectors."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._deadline import seconds_left
from geodescent._types import Gram
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._induced import ROWS_AT_ONCE, Induced
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._rows import drawn_rows

INDUCING = 1000  # Rows through which a system is preconditioned and variances are computed.
RANDOM_SIGNS = 64  # Random signs by which the diagonal of the inverse is estimated.
TOLERANCE, TOLERANCE_OF_SIGNS, MOST_PRODUCTS = 1e-3, 1e-2, 200
"""Residual over right side where conjugate gradients end, less exact for what is averaged; their most iterations."""
Product = Callable[[Tensor], Tensor]
"""A matrix times columns, (N, Q)."""


@dataclass(frozen=True)
class Conditioned:
    """What the data say where the factor of A is too large.

    Attributes:
        solved: `A⁻¹ Y`, (N, Q).
        inverse_diagonal: of A⁻¹, estimated, (N,).
        variance: of what is left out, through the rows picked, (N,).
        picked: places of these rows.
        noise: of each row, which is no less than the rounding of A in float32.
    """

    solved: Tensor
    inverse_diagonal: Tensor
    variance: Tensor
    picked: Tensor
    noise: Tensor


def conditioned(rows: PriorRows, y: Tensor, noise: Tensor, numbers: PriorNumbers, seed: int) -> Conditioned:
    """By products with G in float32, preconditioned by its approximation through some rows.

    `(A⁻¹)_ii ≈ (P⁻¹)_ii + mean z_i ((A⁻¹ − P⁻¹) z)_i` over random signs z, P the approximation; it is between the
    inverses of A_ii and of the noise.

    Cost: N² (widths) multiply-adds for G, 4 N² bytes; N² (Q + probes) for each of 5 to 50 iterations.
    Source: Bekas, Kokiopoulou and Saad, *An estimator for the diagonal of a matrix* (2007).
    """
    generator, prior = torch.Generator().manual_seed(seed), variances(rows, numbers)
    rounding = math.sqrt(len(noise)) * torch.finfo(torch.float32).eps * float(prior.max())
    noise, picked = noise.clamp(min=rounding), drawn_rows(len(noise), INDUCING, generator)
    near, gram = Induced.of(rows, picked, noise, numbers), rounded_gram(rows, numbers)
    signs = torch.randint(0, 2, (len(noise), RANDOM_SIGNS), generator=generator, device="cpu").to(y) * 2.0 - 1.0

    def product(values: Tensor) -> Tensor:
        return (gram @ values.to(gram.dtype)).to(values.dtype) + noise[:, None] * values

    solved = by_conjugate_gradients(product, near.inverse, y, tolerance=TOLERANCE)
    of_signs = by_conjugate_gradients(product, near.inverse, signs, tolerance=TOLERANCE_OF_SIGNS)
    diagonal = near.inverse_diagonal()
    estimate = diagonal + (signs * (of_signs - near.inverse(signs))).mean(1)
    estimate = torch.minimum(torch.maximum(estimate, 1.0 / (prior + noise)), 1.0 / noise)
    return Conditioned(solved, estimate, 1.0 / diagonal, picked, noise)


def rounded_gram(rows: PriorRows, numbers: PriorNumbers) -> Gram:
    """G in float32, a few rows at a time."""
    rounded, figures, n = rows.to(torch.float32), numbers.to(torch.float32), len(rows.x)
    gram = torch.empty(n, n, dtype=torch.float32, device="cpu")
    for begin in range(0, n, ROWS_AT_ONCE):
        part, following = slice(begin, begin + ROWS_AT_ONCE), slice(begin, n)
        found = covariance(rounded.part(part), rounded.part(following), figures)
        gram[part, following], gram[following, part] = found, found.T
    return gram


def by_conjugate_gradients(product: Product, near_inverse: Product, right: Tensor, *, tolerance: float) -> Tensor:
    """The solutions for all columns of the right side at once, as long as there is time, and those nearest to it.

    Where rounding leaves a direction without curvature, its column stays what it is.

    Args:
        near_inverse: of a matrix that is like the one of the products.
        tolerance: residual over right side.

    Source: Golub and Van Loan, *Matrix Computations*, section 11.5.2; each column has its own numbers.
    """
    tiny, wanted = torch.finfo(right.dtype).tiny, tolerance * right.norm(dim=0)
    solved = near_inverse(right)
    residual = right - product(solved)
    best, least = solved, residual.norm(dim=0)
    turned = near_inverse(residual)
    direction, size = turned, (residual * turned).sum(0)
    for _ in range(MOST_PRODUCTS):
        if seconds_left() <= 0.0 or bool((least <= wanted).all()):
            break
        image = product(direction)
        curvature = (direction * image).sum(0)
        length = torch.where(curvature > 0.0, size / curvature.clamp(min=tiny), 0.0)
        solved, residual = solved + length * direction, residual - length * image
        best = torch.where(residual.norm(dim=0) < least, solved, best)
        least = torch.minimum(residual.norm(dim=0), least)
        turned = near_inverse(residual)
        before, size = size, (residual * turned).sum(0)
        direction = turned + size / before.clamp(min=tiny) * direction
    return best
