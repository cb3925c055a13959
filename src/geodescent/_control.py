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

    @property
    def initial_damping(self) -> float: ...

    @property
    def least_damping(self) -> float: ...

    @property
    def largest_damping(self) -> float: ...

    def judge(self, gain_ratio: float, damping: float) -> Verdict: ...


@dataclass(frozen=True)
class GainRatio:
    """Levenberg–Marquardt's control: the cost's fall against the linear model's, `ρ = (C − C_new)/(C − C_lin)`.

    A step is taken where ρ > `accept`. The damping is multiplied by `max(fall, 1 − (2ρ − 1)³)` after it, and by
    `rise` after a refusal.

    Source: Nielsen, *Damping parameter in Marquardt's method* (1999), with `fall` = 1/10 for his 1/3 and a constant
    `rise` (docs/decisions.md).
    """

    initial_damping: float = 1e-3
    least_damping: float = 1e-16
    largest_damping: float = 1e12
    accept: float = 1e-4
    fall: float = 0.1
    rise: float = 4.0

    def judge(self, gain_ratio: float, damping: float) -> Verdict:
        if not math.isfinite(gain_ratio) or gain_ratio <= self.accept:
            return Verdict(False, damping * self.rise)
        factor = max(self.fall, 1.0 - (2.0 * min(gain_ratio, 1.0) - 1.0) ** 3)
        return Verdict(True, max(self.least_damping, damping * factor))
