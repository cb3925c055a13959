"""Robust losses as SciPy defines them, as a change of each residual so that half the sum of squares is the cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import POSITIVE

LossName = Literal["linear", "soft_l1", "huber", "cauchy", "arctan"]

SERIES = 1e-8
"""z: below it ρ(z)/z = 1 − cz to 16 digits, c being at most 1/2, and the quotient itself would be 0/0 at 0."""


@dataclass(frozen=True)
class Loss:
    """`½ Σ C² ρ((r/C)²)`: the cost of residuals r.

    With `r̂ = r √(ρ(z)/z)`, z = (r/C)², this is half the sum of the squares of r̂, which is smooth in r: a robust fit is
    the least-squares fit of r̂ (docs/decisions.md).

    Attributes:
        name: of ρ.
        scale: C, SciPy's `f_scale`.
    """

    name: LossName = "linear"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name in QUOTIENTS):
            raise InputError(f"loss is {self.name!r}: it is one of {', '.join(QUOTIENTS)}.")
        object.__setattr__(self, "scale", POSITIVE.of("f_scale", self.scale))

    @property
    def is_linear(self) -> bool:
        """Whether the cost is that of least squares."""
        return self.name == "linear"

    def changed(self, residual: Tensor) -> Tensor:
        """r̂."""
        return residual if self.is_linear else residual * QUOTIENTS[self.name](self._z(residual)).sqrt()

    def slope(self, residual: Tensor) -> Tensor:
        """`∂r̂/∂r = ρ'(z)/√(ρ(z)/z)`."""
        z = self._z(residual)
        return SLOPES[self.name](z) / QUOTIENTS[self.name](z).sqrt()

    def weight(self, residual: Tensor) -> Tensor:
        """`ρ'(z)`: of r in the gradient of the cost."""
        return SLOPES[self.name](self._z(residual))

    def curvature(self, residual: Tensor) -> Tensor:
        """`√(ρ' + 2zρ'')`, at least √eps: by which SciPy multiplies the rows of D."""
        z = self._z(residual)
        return (SLOPES[self.name](z) + 2.0 * z * BENDS[self.name](z)).clamp_min(torch.finfo(z.dtype).eps).sqrt()

    def cost(self, residual: Tensor) -> float:
        """`½ Σ C² ρ(z)`."""
        return 0.5 * float(self.changed(residual).square().sum())

    def _z(self, residual: Tensor) -> Tensor:
        return (residual / self.scale).square()


def _near_zero(z: Tensor, first: float, quotient: Callable[[Tensor], Tensor]) -> Tensor:
    """`ρ(z)/z`, by `1 + first·z` near 0."""
    safe = torch.where(z < SERIES, torch.ones_like(z), z)
    return torch.where(z < SERIES, 1.0 + first * z, quotient(safe))


def _huber(z: Tensor, inside: float, outside: Callable[[Tensor], Tensor]) -> Tensor:
    safe = torch.where(z <= 1.0, torch.ones_like(z), z)
    return torch.where(z <= 1.0, torch.full_like(z, inside), outside(safe))


Table = dict[str, Callable[[Tensor], Tensor]]

QUOTIENTS: Table = {
    "linear": torch.ones_like,
    "soft_l1": lambda z: 2.0 / (1.0 + (1.0 + z).sqrt()),
    "huber": lambda z: _huber(z, 1.0, lambda far: (2.0 * far.sqrt() - 1.0) / far),
    "cauchy": lambda z: _near_zero(z, -0.5, lambda far: torch.log1p(far) / far),
    "arctan": lambda z: _near_zero(z, 0.0, lambda far: torch.atan(far) / far),
}
"""Name → ρ(z)/z."""

SLOPES: Table = {
    "linear": torch.ones_like,
    "soft_l1": lambda z: (1.0 + z).rsqrt(),
    "huber": lambda z: _huber(z, 1.0, lambda far: far.rsqrt()),
    "cauchy": lambda z: 1.0 / (1.0 + z),
    "arctan": lambda z: 1.0 / (1.0 + z.square()),
}
"""Name → ρ'(z)."""

BENDS: Table = {
    "linear": torch.zeros_like,
    "soft_l1": lambda z: -0.5 * (1.0 + z).pow(-1.5),
    "huber": lambda z: _huber(z, 0.0, lambda far: -0.5 * far.pow(-1.5)),
    "cauchy": lambda z: -1.0 / (1.0 + z).square(),
    "arctan": lambda z: -2.0 * z / (1.0 + z.square()).square(),
}
"""Name → ρ''(z)."""
