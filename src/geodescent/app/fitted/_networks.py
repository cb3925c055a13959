"""The plain networks that the command fits."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from geodescent._budget import require
from geodescent._errors import InputError

Dtype = Literal["float64", "float32"]

PARAMETER_COPIES = 4.0  # Vectors of parameters: the module, θ, the best point and a trial point.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}


def mlp(
    d_in: int, hidden: Sequence[int], d_out: int, activation: str, *, dtype: torch.dtype, seed: int
) -> nn.Sequential:
    """Linear layers of the given widths with the activation between them, in torch's own random start.

    Args:
        d_in: features of a sample, ≥ 1.
        hidden: widths of the hidden layers; empty for a linear model.
        d_out: outputs of a sample, Q ≥ 1.
        activation: a key of `ACTIVATIONS`.
        dtype: floating type of the parameters.
        seed: of the start; the global random state is left as it was.

    Raises:
        InputError: an unknown activation, or a width below 1.
    """
    if activation not in ACTIVATIONS:
        raise InputError(f"Unknown activation {activation!r}. Available: {', '.join(ACTIVATIONS)}.")
    widths = [d_in, *hidden, d_out]
    shown = "-".join(map(str, widths))
    if min(widths) < 1:
        raise InputError(f"Every width must be at least 1: got {shown}. Give --hidden 64,64, for example.")
    n_params = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    need, what = PARAMETER_COPIES * n_params * dtype.itemsize, f"the network {shown}"
    require(need, torch.device("cpu"), what=what, instead="Choose smaller widths, for example --hidden 64,64.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linears = [nn.Linear(a, b, dtype=dtype) for a, b in itertools.pairwise(widths)]
    between = ACTIVATIONS[activation]
    return nn.Sequential(*(part for linear in linears[:-1] for part in (linear, between())), linears[-1])


@dataclass(frozen=True)
class NetworkChoice:
    """The network asked for, before its data are known.

    Attributes:
        hidden: widths of the hidden layers.
        activation: a key of `ACTIVATIONS`.
        dtype, device: of parameters and data.
    """

    hidden: tuple[int, ...]
    activation: str
    dtype: Dtype
    device: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of parameters and data."""
        return {"float64": torch.float64, "float32": torch.float32}[self.dtype]

    def network(self, d_in: int, d_out: int, seed: int) -> nn.Sequential:
        """The network at its start, on the CPU."""
        return mlp(d_in, self.hidden, d_out, self.activation, dtype=self.torch_dtype, seed=seed)
