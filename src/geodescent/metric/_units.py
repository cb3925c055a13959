"""The unit of data: the power of ten nearest to their size."""

import torch
from torch import Tensor

from geodescent.problem import Problem, RowBlock

NO_SPREAD = 1e-12  # Share of max|y|: targets that differ from their mean by less have no spread.


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
    y = block.target.double()
    if block.weights is None:
        return y.mean(0)
    weights = block.weights.double()[:, None]
    return (weights * y).sum(0) / weights.sum()


def target_unit(problem: Problem) -> float:
    """The unit of y − ȳ, one for all outputs of all blocks; 1 where y is constant."""
    spreads = [block.target.double() - target_mean(block) for block in problem.blocks]
    largest = max(float(block.target.abs().max()) for block in problem.blocks)
    spread = torch.cat([part.reshape(-1) for part in spreads])
    if float(spread.abs().max()) <= NO_SPREAD * largest:
        return 1.0
    return float(unit_of(spread))
