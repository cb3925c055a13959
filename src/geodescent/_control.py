"""Controls: how much damping the next step gets, and whether a step is taken."""

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Verdict:
    """What a control says of a step: whether it is taken, and the relative damping of the next one."""

    accepted: bool
    damping: float


class Control(Protocol):
    """Judges steps. All dampings are relative to the lift's `scale`."""

    initial_damping: float
    least_damping: float
    largest_damping: float

    def judge(self, gain_ratio: float, damping: float) -> Verdict: ...


@dataclass(frozen=True)
class GainRatio:
    """Levenberg–Marquardt's control: the cost's fall against the linear model's, `ρ = (C − C_new)/(C − C_lin)`.

    A step is taken where ρ > `accept`. A good prediction lets the damping fall tenfold, a bad one raises it fourfold.

    Source: Moré, *The Levenberg–Marquardt algorithm* (1978), for the quarters; the factors are ours
    (docs/decisions.md).
    """

    initial_damping: float = 1e-3
    least_damping: float = 1e-16
    largest_damping: float = 1e12
    accept: float = 1e-4
    good: float = 0.75
    bad: float = 0.25
    fall: float = 0.1
    rise: float = 4.0

    def judge(self, gain_ratio: float, damping: float) -> Verdict:
        if not math.isfinite(gain_ratio) or gain_ratio <= self.accept:
            return Verdict(False, damping * self.rise)
        if gain_ratio < self.bad:
            return Verdict(True, damping * self.rise)
        return Verdict(True, max(self.least_damping, damping * self.fall) if gain_ratio > self.good else damping)
