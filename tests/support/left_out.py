"""Numbers drawn by a seed, small networks, and the ridge solution refitted without some rows: the oracle."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def mlp(*sizes: int, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers[:-1]).double()


def refitted(rows: Tensor, residual: Tensor, ridge: float, out: list[int]) -> Tensor:
    """What the ridge solution of all rows but these misses at these: `r_i + D_i v`, solved in θ with D itself."""
    rest = [i for i in range(len(rows)) if i not in out]
    k = rows.shape[1]
    tall = torch.cat([rows[rest], math.sqrt(ridge) * torch.eye(k, dtype=rows.dtype)])
    wanted = torch.cat([-residual[rest], residual.new_zeros(k, residual.shape[1])])
    return residual[out] + rows[out] @ torch.linalg.lstsq(tall, wanted, driver="gelsd").solution
