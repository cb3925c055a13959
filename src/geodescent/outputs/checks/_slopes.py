"""D against differences of outputs near a point that is not the start."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geodescent._types import Outputs, Theta
from geodescent.linalg import row_dot, row_norm, row_total
from geodescent.outputs._autograd import random_rows, sizes_of
from geodescent.outputs._second_derivative import Function

AGREES = 1e-3
"""Share of `⟨u, D v⟩` by which D may differ from a difference: solvers inside f have derivatives this good."""
BENT = 10.0  # Times the difference of the slopes ahead and behind: D at a kink is one of them, summed over random rows.
UNSEEN_CHANGE = 2.0  # Times eps of an output: smaller changes are rounded away.
ROUNDED = 100.0  # Times eps of the outputs: what calls of f are off by, for sums of some thousand numbers.
SHORTENED = (2.0, 5.0, 11.0)
"""Factors by which other differences are shorter: they agree on a slope, not on jumps or noise."""
NEARBY = 1e-2  # Share of each parameter by which the point of the check lies off the start, where kinks and zeros are.
GROUPS = 3  # Directions at first: a part of θ is not hidden by larger ones, and the check stays at a dozen calls.
NAMED = 3  # Parts of θ that a message names.


def point_of_check(function: Function, theta: Theta, u: Outputs, way: Theta) -> tuple[Theta, Outputs]:
    """θ, moved a little, if the function is defined there, and x[θ].

    At the start derivatives are often zero, or have a kink.

    Args:
        u: of the outputs' shape.
        way: random numbers, (K,).
    """
    moved = torch.addcmul(theta, sizes_of(theta), way, value=NEARBY)
    outputs = _where_defined(function, moved, u)
    if bool(torch.isfinite(outputs).all()):
        return moved, outputs
    return theta.clone(), function(theta)


def _where_defined(function: Function, theta: Theta, u: Outputs) -> Outputs:
    """`x[θ]`; not a number where the function raises an error, or returns another shape than that of u."""
    try:
        outputs = function(theta)
    except Exception:  # a function of the user's, which may not be defined near the start, may raise anything
        return torch.full_like(u, math.nan)
    return outputs if outputs.shape == u.shape else torch.full_like(u, math.nan)


@dataclass(frozen=True)
class SlopeCheck:
    """Compares `⟨Dᵀu, v⟩` with `⟨u, (x[θ + hv] − x[θ − hv])/2h⟩`, v a random direction in some entries of θ.

    The verdict is that they differ only where the outputs have a slope: where the differences ahead and behind are
    alike, and a shorter one gives the same. Kinks, jumps, noise and numbers that are not finite give no verdict.

    Attributes:
        function: `θ ↦ x[θ]`.
        theta: the point.
        outputs: x[θ] there.
        u: random, in the outputs' shape.
        gradient: Dᵀu at the point.
        along: `v ↦ D v` there, asked where outputs have not moved.
        edges: where the parts of θ begin, and K.
        way: random numbers, (K,): the directions, in units of the parameters' own sizes.
    """

    function: Function
    theta: Theta
    outputs: Outputs
    u: Outputs
    gradient: Theta
    along: Callable[[Theta], Outputs]
    edges: Sequence[int]
    way: Theta

    def wrong(self) -> list[int]:
        """The parts of θ in which D is not the derivative, a few of them; mostly none.

        Cost: two calls a direction; there are `GROUPS` directions, and one more for all entries whose gradient is zero.
        """
        v = self._directions
        n, silent = len(self.edges) - 1, self.gradient == 0.0
        found = self._among(v * silent, 0, n) if bool(silent.any()) else []
        for group in range(min(GROUPS, n)):
            found += self._among(v, group * n // min(GROUPS, n), (group + 1) * n // min(GROUPS, n))
        return sorted(set(found))

    def sizes(self, parts: list[int]) -> tuple[float, float]:
        """By how much the two differ along these parts, and the difference of the outputs itself."""
        v, part = self._directions, torch.zeros_like(self.theta)
        for i in parts:
            part[self.edges[i] : self.edges[i + 1]] = v[self.edges[i] : self.edges[i + 1]]
        slope = row_dot(self.u, self._slope(part, self._step)[0])
        return abs(slope - row_dot(self.gradient, part)), abs(slope)

    def _among(self, v: Theta, first: int, last: int) -> list[int]:
        """Which of these parts are wrong, by halves."""
        along, entries = torch.zeros_like(v), slice(self.edges[first], self.edges[last])
        along[entries] = v[entries]
        if not bool(along.any()) or not self._differs(along):
            return []
        if last - first == 1:
            return [first]
        middle = (first + last) // 2
        found = self._among(v, first, middle)
        return found if len(found) > NAMED else found + self._among(v, middle, last)

    def _differs(self, v: Theta) -> bool:
        slope, bend = self._slope(v, self._step)
        ours, theirs = row_dot(self.gradient, v), row_dot(self.u, slope)
        rounding = ROUNDED * torch.finfo(v.dtype).eps
        if abs(ours) * self._step <= rounding * row_norm(self.u * self.outputs) and not bool(slope.any()):
            return False  # so short a step would not show in the outputs
        weighed, moved = self.u * self.outputs, slope != 0.0
        noise = rounding * row_norm(weighed * moved) / self._step
        allowed = AGREES * (abs(ours) + row_norm(self.u * slope)) + BENT * row_norm(self.u * bend) + noise
        off = abs(ours - theirs)
        if not off > allowed or not off > allowed + self._unseen(v, moved):
            return False
        others = (row_dot(self.u, self._slope(v, self._step / factor)[0]) for factor in SHORTENED)
        alike = 0.1 * min(off, row_norm(self.u * slope))
        return all(abs(other - theirs) <= alike for other in others)

    def _unseen(self, v: Theta, moved: Tensor) -> float:
        """How much of ⟨u, slope⟩ rounding may hide, or make up, output by output.

        Those that have not moved may have as D says, by less than they can show.
        """
        by_d, change = self.along(v).reshape(self.u.shape).abs().nan_to_num(nan=0.0), self._rounded / self._step
        return row_total(self.u.abs() * torch.where(moved, change, change.minimum(by_d)))

    def _slope(self, v: Theta, h: float) -> tuple[Tensor, Tensor]:
        """The slope of the outputs along v over a length h to both sides, and its change from behind to ahead."""
        ahead, behind = (
            _where_defined(self.function, torch.add(self.theta, v, alpha=s * h), self.u) for s in (1.0, -1.0)
        )
        return (ahead - behind) / (2.0 * h), ((ahead - self.outputs) - (self.outputs - behind)) / h

    @cached_property
    def _rounded(self) -> Outputs:
        """How far rounding errors of f move each output, by its changes where each parameter changes by one."""
        eps = torch.finfo(self.theta.dtype).eps
        signs = eps * random_rows(self.theta.shape, self.theta).sign()
        nudged = [_where_defined(self.function, self.theta * (1.0 + s * signs), self.u) for s in (1.0, -1.0)]
        changes = [(outputs - self.outputs).abs().nan_to_num(nan=0.0) for outputs in nudged]
        return torch.stack([*changes, UNSEEN_CHANGE * eps * self.outputs.abs()]).amax(0)

    @cached_property
    def _directions(self) -> Theta:
        """All of them together, (K,)."""
        return sizes_of(self.theta) * self.way

    @property
    def _step(self) -> float:
        """`eps^⅓`, at which rounding and curvature spoil a central difference alike; v has the size of θ."""
        return math.pow(torch.finfo(self.theta.dtype).eps, 1.0 / 3.0)
