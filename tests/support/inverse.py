"""Inverse problems that are linear: equations without errors, data with them, and coefficients among the parameters."""

import torch
from support.models import normal
from torch import Tensor

import geodescent as gd

F64 = torch.float64


def linear(name: str, matrix: Tensor, target: Tensor, theta: Tensor, **settings: object) -> gd.RowBlock:
    return gd.RowBlock(name, gd.FunctionMap(lambda t: matrix @ t, theta), target, **settings)


def inverse(theta: Tensor, y: Tensor, *, weights: Tensor, weight: float) -> gd.Problem:
    """Data with errors, equations without."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        data, equations = normal(12, 4), normal(9, 4)
    blocks = (
        linear("data", data, y, theta, weights=weights, weight=weight),
        linear("equations", equations, equations @ torch.ones(4, dtype=F64), theta, weight=2.0),
    )
    return gd.Problem(blocks, {"kappa": 2, "nu": 0}, ("data",))
