"""Adam in the eigenvectors of the gradient's second moments, with a length that is set in the space of the outputs."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._settings import BELOW_ONE, POSITIVE, Whole, settle
from geodescent._types import Theta
from geodescent.descent._control import Control, CostLevels, Damping, Trial
from geodescent.descent._linearised import Linearised
from geodescent.descent._walk import Walk
from geodescent.descent.first_order._eigenbases import Eigenbases
from geodescent.linalg import row_norm

FIRST_LENGTH = 1e-3  # Of a first step, in each entry, from which the change of the outputs is measured.
NEAR = 2.0  # Factor: with a change of the outputs that is farther from the one wanted, the next one is measured too.
TOO_FAR = 4.0  # Times the share wanted: a step that changes the outputs by more is taken again, shorter.
MOST_CHANGE = 2.0  # Factor by which lengths change from one measurement to the next, at the most.
MOST_SHORTER = 20  # Times: a step that is still too long then is no step.
LEAST_SQUARE = 1e-16  # Times the mean: what is added to second moments, so that entries without a gradient stay.


@dataclass(frozen=True)
class SoapState:
    """What the steps remember; vectors in the order of `Eigenbases`, rotated.

    Attributes:
        length: of the next step, in each rotated entry.
        share: ‖x_new − x‖/‖r‖ of the last step of which it was measured.
        steps: taken so far.
        gradient, squares: means of the gradient and of its squares, (K,); None before the first step.
        moments, bases: second moments of the layers' gradients, and their eigenvectors.
    """

    length: float = FIRST_LENGTH
    share: float = 0.0
    steps: int = 0
    gradient: Tensor | None = None
    squares: Tensor | None = None
    moments: Tensor | None = None
    bases: Tensor | None = None


@dataclass(frozen=True)
class Soap(Control[SoapState]):
    """`θ ← θ − λ R(m/√v)`: m and v are means of the gradient and of its squares, in the basis R of the eigenvectors.

    For the gradient G of a layer's matrix the basis is that of the mean GGᵀ for its rows and of the mean GᵀG for its
    columns. The length λ follows the outputs: `‖x[θ_new] − x[θ]‖ = share · ‖r‖` on the step's own batch, measured at
    every few steps. So steps become shorter as the residual does, and the cost falls exponentially where it can.

    Attributes:
        bases: the layers, and which of their sides are rotated.
        share: of the residual, by which a step changes the outputs.
        decay: of the means, a step.
        every: steps from one measurement, and one new basis, to the next.

    Source: SOAP, Vyas et al., arXiv:2409.11321; its length is a constant.
    Cost: a gradient, and a forward pass of the batch where the change of the outputs is measured.
    """

    bases: Eigenbases
    share: float = 0.1
    decay: float = 0.95
    every: int = 10

    def __post_init__(self) -> None:
        settle(self, share=POSITIVE, decay=BELOW_ONE, every=Whole(10, least=1))

    @property
    def state_type(self) -> type[SoapState]:
        return SoapState

    def begin(self, here: Linearised, damping: Damping | None = None) -> SoapState:
        return SoapState()

    def step(
        self, here: Linearised, walk: Walk, state: SoapState, levels: CostLevels
    ) -> tuple[Trial, SoapState] | None:
        slope, scale = here.jacobian.rmv(here.residual), here.metric.column_scale
        if not 0.0 < float(slope.abs().max()) < math.inf:
            return None
        scaled = slope if scale is None else slope * scale.to(slope.dtype)
        state, direction = self._averaged(state, scaled)
        direction = direction if scale is None else direction * scale.to(slope.dtype)
        direction = direction.mul_(-walk.step_size)
        fall = -float(torch.dot(slope, direction)) / here.problem.n_samples
        is_near = self.share <= NEAR * state.share <= NEAR**2 * self.share
        is_measured = not is_near or state.steps % self.every == 0
        return (
            self._measured(here, state, direction, fall) if is_measured else self._taken(here, state, direction, fall)
        )

    def restart(self, here: Linearised, count: int) -> SoapState | None:
        return None

    def _averaged(self, state: SoapState, slope: Theta) -> tuple[SoapState, Theta]:
        """The means with one more gradient, and m/√v as it stands in θ."""
        bases, count, keep = self.bases, state.steps + 1, self.decay
        ordered = bases.ordered(slope)
        new = bases.moments(ordered)
        if state.gradient is None or state.squares is None or state.moments is None or state.bases is None:
            own = bases.first(new)
            gradient = bases.rotated(ordered, own).mul_(1.0 - keep)
            squares = gradient.square().div_(1.0 - keep)
            state = replace(state, steps=count, gradient=gradient, squares=squares, moments=new, bases=own)
        else:
            moments = torch.lerp(new, state.moments, keep)
            gradient, squares, own = state.gradient, state.squares, state.bases
            if state.steps % self.every == 0:
                before = bases.rotated(gradient, own, back=True)
                own, squares = bases.following(moments, own, squares)
                gradient = bases.rotated(before, own)
            rotated = bases.rotated(ordered, own)
            gradient = torch.lerp(rotated, gradient, keep)
            squares = torch.lerp(rotated.square_(), squares, keep)
            state = replace(state, steps=count, gradient=gradient, squares=squares, moments=moments, bases=own)
        unbiased = 1.0 - keep**count
        least = LEAST_SQUARE * float(squares.mean()) + torch.finfo(squares.dtype).tiny
        direction = gradient / (squares + least).sqrt_() / math.sqrt(unbiased)
        return state, bases.as_theta(bases.rotated(direction, own, back=True))

    def _taken(self, here: Linearised, state: SoapState, direction: Theta, fall: float) -> tuple[Trial, SoapState]:
        """The step of the length that was found last; its cost is not known."""
        theta = here.theta + (state.length * direction).to(here.theta.dtype)
        return Trial(theta, math.nan, self._predicted(here, state, fall), 0.0, 0.0), state

    def _measured(
        self, here: Linearised, state: SoapState, direction: Theta, fall: float
    ) -> tuple[Trial, SoapState] | None:
        """The step, if need be shorter until it changes the outputs by at most `TOO_FAR` times the share."""
        size = row_norm(here.residual)
        for _ in range(MOST_SHORTER):
            theta = here.theta + (state.length * direction).to(here.theta.dtype)
            residual = here.residual_at(theta)
            changed = row_norm(residual - here.residual) / size
            cost = here.cost_of(residual)
            known = math.isfinite(changed) and math.isfinite(cost)
            if known and changed <= TOO_FAR * self.share:
                state = replace(state, share=changed)
                trial = Trial(theta, cost, self._predicted(here, state, fall), 0.0, 0.0)
                return trial, replace(state, length=state.length * _factor(self.share, changed))
            here.tally["rejections"] += 1
            state = replace(state, length=state.length * (self.share / changed if known else 0.1))
        return None

    def _predicted(self, here: Linearised, state: SoapState, fall: float) -> float:
        """`C + ⟨∇C, Δ⟩ + ‖DΔ‖²/(2N)`, ‖DΔ‖ as it was measured last."""
        return max(0.0, (1.0 + state.share**2) * here.cost - state.length * fall)


def _factor(wanted: float, changed: float) -> float:
    """On the length, towards the change wanted."""
    factor = math.sqrt(wanted / changed) if changed > 0.0 else math.inf
    return min(max(factor, 1.0 / MOST_CHANGE), MOST_CHANGE)
