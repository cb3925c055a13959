"""D by differences of the rows, with SciPy's relative steps, never outside of the bounds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._errors import InputError

POWERS = {"2-point": 1.0 / 2.0, "3-point": 1.0 / 3.0}
"""Scheme → power of eps that is the relative step: SciPy's."""


@dataclass(frozen=True)
class Differences:
    """Columns `(x[u + h e_j] − x[u])/h`, or over both sides.

    `h = eps^p |u_j|`, with p from the scheme, as MINPACK's `lm` and SciPy's `diff_step` have it; where u_j is 0 the
    step is eps^p. SciPy's own default, `eps^p max(1, |u_j|)`, would depend on the units of a parameter below 1.

    Attributes:
        scheme: "2-point" or "3-point".
        relative: the relative step; None for SciPy's.
    """

    scheme: str = "2-point"
    relative: float | None = None

    def __post_init__(self) -> None:
        if self.scheme not in POWERS:
            raise InputError(
                f"jac is {self.scheme!r}: pass a function, {' or '.join(map(repr, POWERS))}, or leave it out."
            )
        if self.relative is not None and not 0.0 < self.relative < 1.0:
            raise InputError(f"diff_step is {self.relative!r}: a number between 0 and 1 is needed.")

    def __call__(self, rows: Callable[[Tensor], Tensor], u: Tensor, box: tuple[Tensor, Tensor]) -> Tensor:
        """D at u, (m, k).

        Args:
            box: bounds of u: a step that leaves them goes to the other side, or as far as there is room.
        """
        here, columns = rows(u), list[Tensor]()
        share = self.relative or torch.finfo(u.dtype).eps ** POWERS[self.scheme]
        for j in range(len(u)):
            ahead, behind = self._sides(u, j, share, box)
            if self.scheme == "2-point":
                columns.append(_slope(rows, u, j, ahead, here))
            elif ahead > 0.0 > behind:
                columns.append((_at(rows, u, j, ahead) - _at(rows, u, j, behind)) / (ahead - behind))
            else:
                columns.append(_one_sided(rows, u, j, ahead, here))
        return torch.stack(columns, 1)

    def _sides(self, u: Tensor, j: int, share: float, box: tuple[Tensor, Tensor]) -> tuple[float, float]:
        """The step, exactly as it will be made, and that to the other side, 0 where it would leave the bounds."""
        value, low, high = (float(v[j]) for v in (u, *box))
        step = share * (value or 1.0)
        room = {1.0: high - value, -1.0: value - low}
        sign = 1.0 if step > 0.0 else -1.0
        if abs(step) > room[sign] and room[-sign] > room[sign]:
            sign = -sign
        size = min(abs(step), room[sign])
        made = (value + sign * size) - value
        if self.scheme == "2-point":
            return made, 0.0
        if min(room.values()) >= abs(step):
            return abs(made), -abs(made)
        return made / 2.0, 0.0


def _at(rows: Callable[[Tensor], Tensor], u: Tensor, j: int, step: float) -> Tensor:
    moved = u.clone()
    moved[j] += step
    return rows(moved)


def _slope(rows: Callable[[Tensor], Tensor], u: Tensor, j: int, step: float, here: Tensor) -> Tensor:
    return (_at(rows, u, j, step) - here) / step


def _one_sided(rows: Callable[[Tensor], Tensor], u: Tensor, j: int, step: float, here: Tensor) -> Tensor:
    """The three-point rule on one side: `(4x[h] − 3x[0] − x[2h])/2h`."""
    return (4.0 * _at(rows, u, j, step) - 3.0 * here - _at(rows, u, j, 2.0 * step)) / (2.0 * step)
