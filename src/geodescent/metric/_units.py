"""The unit of data: the power of ten nearest to their size."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geodescent._types import Outputs
from geodescent.problem import RowBlock

NO_SPREAD = 1e-12  # Share of max|y|: targets that differ from their mean by less have no spread.

SMALLEST = 1e-153  # Unit of y: the squares of smaller ones leave the normal numbers of float64.


def unit_of(values: Tensor) -> Tensor:
    """`10^round(½ log₁₀(rms(v)·max|v|))` of each column of (n, d), (d,): 1 for data of order one, and for zeros.

    The root of the two sizes lies between them; the rounding leaves data of order one exactly as they are.
    """
    size = values.double().abs()
    largest = size.amax(0)
    rms = (size / largest.clamp_min(torch.finfo(torch.float64).tiny)).square().mean(0).sqrt() * largest
    exponent = 0.5 * (rms.log10() + largest.log10())
    known = torch.isfinite(exponent)
    return torch.where(known, 10.0 ** exponent.round(), torch.ones_like(exponent))


def target_mean(block: RowBlock) -> Tensor:
    """ȳ, (Q,): the weighted mean of each output, in float64."""
    return sample_mean(block.target, block.weights)


def sample_mean(rows: Outputs, weights: Tensor | None) -> Tensor:
    """The weighted mean over samples, (Q,), of (N, Q) rows, in float64."""
    if weights is None:
        return rows.double().mean(0)
    return (weights.double()[:, None] * rows).sum(0) / weights.double().sum()


def target_unit(blocks: Sequence[RowBlock]) -> float:
    """The unit of y − ȳ, one for all outputs of all blocks; 1 where y is constant, or as good as zero."""
    spreads = [block.target.double() - target_mean(block) for block in blocks]
    largest = max(float(block.target.abs().max()) for block in blocks)
    spread = torch.cat([part.reshape(-1) for part in spreads])
    if float(spread.abs().max()) <= NO_SPREAD * largest:
        return 1.0
    unit = float(unit_of(spread))
    return unit if unit >= SMALLEST else 1.0
