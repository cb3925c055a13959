"""The two rate controls of ELRA as formulas: what a rate does after a step that is taken, or taken back.

Every number stands as published; the publication gives no reasons. Losses are compared by ratios: none may be negative.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

ZERO_LOSS = 1e-300  # In units of the loss: a best loss of zero is compared as this, so that ratios exist.
LARGEST_GROWTH = 1e6  # Factor on the rate: the most after one step, as published.
LEAST_RATE, LARGEST_RATE = 1e-8, 1e6  # Of a step, in units of θ²/loss: the rate stays between them, as published.
LOST = 0.01  # Factor on the rate after a step taken back, where the parabola through both ends gives none.
FEW = 20  # Parameters: up to so many a parabola is trusted as it is, as published.


@dataclass(frozen=True)
class Products:
    """Inner products of the gradients here, g, and where the last step began, g₋.

    Attributes:
        before: `‖g₋‖²`.
        turned: `⟨g₋ − g, g₋⟩`, from the difference itself: it may be small.
        along: `⟨g, g₋⟩`.
        here: `‖g‖²`.
    """

    before: float
    turned: float
    along: float
    here: float

    @property
    def cosine(self) -> float:
        """Of the angle between g and g₋; 0 where one of them is zero."""
        size = math.sqrt(self.before) * math.sqrt(self.here)
        return max(-1.0, min(1.0, self.along / size)) if size > 0.0 else 0.0


@dataclass(frozen=True)
class CosineRate:
    """c2min: the rate grows and shrinks with the cosine of two gradients in turn; steps have inertia.

    Attributes:
        rate: α of the last step.
        best: the least loss; it grows by a tenth a step that does not lower it.
        first: the loss at the start.
        mean, noise: averages of the loss, and of how far it lies from that.
    """

    rate: float
    best: float
    first: float
    mean: float
    noise: float = 0.0
    has_momentum: ClassVar[bool] = True

    @classmethod
    def at_start(cls, rate: float, loss: float) -> "CosineRate":
        return cls(rate, loss, loss, loss)

    @property
    def inertia(self) -> float:
        """β: the share of the gradients before in a direction."""
        return 0.85 - 0.8 * self.noise

    def accepts(self, loss: float, n_params: int) -> bool:
        return loss < 25.0 * max(self.best, ZERO_LOSS)

    def taken(self, loss: float, products: Products, n_params: int) -> "CosineRate":
        c = products.cosine
        mean = 0.9 * self.mean + 0.1 * loss
        off = abs(loss / max(mean, ZERO_LOSS) - 1.0)
        noise = 0.9 * self.noise + 0.1 * min(1.06, self.first / 2.35 * 1.5 * off)
        rate = self.rate * (1.0 + (0.6 if c > 0.0 else 0.5) * c)
        return replace(self, rate=rate, best=self._best(loss), mean=mean, noise=min(max(noise, 0.065), 1.06))

    def taken_back(self, loss: float, before: float) -> "CosineRate":
        """`α/3`."""
        return replace(self, rate=self.rate / 3.0, best=self._best(loss))

    def _best(self, loss: float) -> float:
        return loss if loss < self.best else 1.1 * self.best


@dataclass(frozen=True)
class ParabolaRate:
    """p2min: the rate goes to the minimum of the parabola through two gradients, as far as its growth is allowed.

    With few parameters a step taken is the Barzilai–Borwein step, `α‖g₋‖²/⟨g₋ − g, g₋⟩ = ‖s‖²/⟨s, g − g₋⟩`.

    Attributes:
        rate: α of the last step.
        best, first: the least loss and that at the start.
        last: the loss where the last step began.
        brake: d, keeps the growth of α small after a step taken back.
        caution: e, keeps the rise of the loss small that is let pass.
    """

    rate: float
    best: float
    first: float
    last: float
    brake: float = 855000.0
    caution: float = 500000.0
    has_momentum: ClassVar[bool] = False
    inertia: ClassVar[float] = 0.0

    @classmethod
    def at_start(cls, rate: float, loss: float) -> "ParabolaRate":
        return cls(rate, loss, loss, loss)

    def accepts(self, loss: float, n_params: int) -> bool:
        best = max(self.best, ZERO_LOSS)
        tolerance = 25.0 + (2500.0 + 71.0 * math.sqrt(best)) / (1.0 + math.sqrt(self.caution))
        return loss < 1.1 * best * tolerance and (n_params <= FEW or loss < 1.1 * max(self.first, ZERO_LOSS))

    def taken(self, loss: float, products: Products, n_params: int) -> "ParabolaRate":
        brake = self.brake / 3.9
        best = min(self.best, loss)
        growth = LARGEST_GROWTH / (1.0 + brake)
        turned = products.turned / products.before if products.before > 0.0 else 0.0
        if growth * turned < 1.0:
            rate = self.rate * growth
        elif n_params <= FEW:
            rate = self.rate / turned
        else:
            further = (2.35 / max(self.first, ZERO_LOSS**0.5)) ** 1.6 * best**0.8
            rate = self.rate / (turned * (1.0 - 0.14 * min(further, 0.7)))
        rate = min(max(rate, LEAST_RATE), LARGEST_RATE)
        return replace(self, rate=rate, best=best, last=loss, brake=brake, caution=self._caution(loss))

    def taken_back(self, loss: float, before: float) -> "ParabolaRate":
        """`α·½αG/(f − f₋ + αG)`, G = ‖g₋‖²: the minimum of the parabola through both losses and the slope before."""
        slope = self.rate * before
        height = loss - self.last + slope
        factor = 0.5 * slope / height if height != 0.0 else LOST
        factor = factor if 0.0 < factor < 1.0 else LOST
        brake = self.brake + 16.0 if self.brake <= 1.0 else 16.0 * self.brake if self.brake < 62500.0 else 855000.0
        return replace(self, rate=factor * self.rate, brake=brake, caution=self._caution(loss))

    def _caution(self, loss: float) -> float:
        if loss < self.last:
            return self.caution / 1.69
        if self.caution < 1.0:
            return self.caution + 16.0
        return 16.0 * self.caution if self.caution < 500000.0 else 500000.0
