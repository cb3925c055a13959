"""What is left of measured terms: how much of the cost it is, and whether it looks like errors of measurement."""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import row_dot
from geodescent.outputs import AtPlaces
from geodescent.problem._alike import active
from geodescent.problem._problem import Problem
from geodescent.problem._row_block import RowBlock

LEAST_NEIGHBOURS, MOST_NEIGHBOURS = 20, 5000
"""Samples of a measured term whose neighbours are looked at: of fewer chance says too much, of more it takes long."""
CORRELATED = 3.5  # Standard deviations of the correlation of neighbours: chance exceeds it once in 4000 fits, and
# fits in wrong valleys, of 40 sensors, had 4.9.
UNCORRELATED = 2.0  # The same: below it, and with enough samples, residuals are taken for independent.
ENOUGH_NEIGHBOURS = 40  # Samples: of fewer, smooth residuals in three coordinates may have a correlation below it.
LAST_DIGITS = 1e-7  # Share of the targets: errors below it are the last digits of a fit, not noise.

ONE_PERCENT = 0.01  # Share of the cost: smaller ones, and what is as near to all of it, are said without a number.


@dataclass(frozen=True)
class Misfit:
    """What is left of the measured terms of a problem at one θ.

    Attributes:
        rms: name of a term → root of the mean square of its residual, unweighted.
        share: of the cost that all of these terms make up.
        is_noise: True: at neighbouring places the residuals have nothing to do with each other, as with independent
            errors of measurement; False: they are alike there; None: there are too few places to tell, or too many.
        has_unknowns: whether unknown coefficients are found from these values.
        to_last_digit: whether the measured values are met to the last digits, so that no error is seen.
    """

    rms: dict[str, float]
    share: float
    is_noise: bool | None
    to_last_digit: bool
    has_unknowns: bool = False

    @property
    def sentence(self) -> str:
        """The numbers in words."""
        terms = ", ".join(f"{name!r} is off by {rms:.3g} (RMS)" for name, rms in self.rms.items())
        shown = f"{self.share:.0%}" if ONE_PERCENT <= self.share <= 1.0 - ONE_PERCENT else "nearly all"
        return f"{terms}; {'less than 1%' if self.share < ONE_PERCENT else shown} of the cost"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def misfit_of(problem: Problem, theta: Theta) -> Misfit | None:
    """What is left of the measured terms at θ; None where nothing is marked as measured, or is not finite.

    Cost: a forward pass, and the distances of at most 5000 places.
    """
    measured = [block for block in problem.blocks if block.name in problem.measured]
    if not measured:
        return None
    rms, cost, noisy = dict[str, float](), 0.0, list[bool | None]()
    for block in measured:
        off = plain_residual(block, theta)
        cost += float((problem.sample_weights(block)[:, None] * off.square()).sum()) / (2.0 * problem.n_samples)
        known = off[active(block)]
        rms[block.name] = math.sqrt(row_dot(known.reshape(-1), known.reshape(-1)) / known.numel())
        noisy += [] if _is_exact(block, known) else [_is_noise(block, theta)]
    whole = problem.cost(theta)
    if not (math.isfinite(whole) and whole > 0.0 and math.isfinite(cost)):
        return None
    independent = None if None in noisy or not noisy else True
    return Misfit(
        rms, min(cost / whole, 1.0), False if False in noisy else independent, not noisy, bool(problem.unknowns)
    )


def plain_residual(block: RowBlock, theta: Theta) -> Tensor:
    """x − y of one block, unweighted, (N, Q), float64."""
    off: Tensor = (block.map(theta).reshape(block.target.shape) - block.target).double()
    return off.reshape(block.n_samples, -1)


def is_alike(block: RowBlock, theta: Theta) -> bool:
    """Whether residuals at neighbouring places are correlated, which those of independent errors are not."""
    found = _correlation_of(block, theta)
    return found is not None and found > CORRELATED


def _is_noise(block: RowBlock, theta: Theta) -> bool | None:
    """Whether residuals look like independent errors; None: not known."""
    found = _correlation_of(block, theta)
    if found is None or UNCORRELATED < found <= CORRELATED:
        return None
    if found > CORRELATED:
        return False
    return True if len(active(block)) >= ENOUGH_NEIGHBOURS else None


def _correlation_of(block: RowBlock, theta: Theta) -> float | None:
    """The largest one of all columns; None of few samples, of very many, and where the targets are met."""
    known = active(block)
    if not isinstance(block.map, AtPlaces) or not LEAST_NEIGHBOURS <= len(known) <= MOST_NEIGHBOURS:
        return None
    off = plain_residual(block, theta)[known]
    if _is_exact(block, off):
        return None
    return float(correlation(block.map.locations.double()[known], off).max())


def correlation(places: Tensor, off: Tensor) -> Tensor:
    """The correlation of residuals at neighbouring places, in standard deviations of that of independent errors, (Q,).

    `Σ_pairs eᵢeⱼ / (σ² √P)` over the P pairs of a place and its nearest one, a pair of mutual neighbours once: for
    independent errors of mean 0 the products of different pairs are uncorrelated, each of variance σ⁴.

    Args:
        places: (N, d).
        off: residuals there, (N, Q).
    """
    span = places.amax(0) - places.amin(0)
    unit = places / torch.where(span > 0.0, span, 1.0)
    nearest = torch.cdist(unit, unit).fill_diagonal_(math.inf).argmin(1)
    here = torch.arange(len(places), device=places.device)
    once = (nearest[nearest] != here) | (here < nearest)
    centred = off - off.mean(0)
    products = centred[once] * centred[nearest[once]]
    found: Tensor = products.sum(0) / (centred.square().mean(0).clamp_min(1e-300) * math.sqrt(len(products)))
    return found


def _is_exact(block: RowBlock, off: Tensor) -> bool:
    """Whether the targets are met to the last digits."""
    return float(off.norm()) <= LAST_DIGITS * float(block.target[active(block)].double().norm())
