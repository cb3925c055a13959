"""Along the zero-cost manifold: a second objective falls while the outputs stay where they are (THEORY 1.5, 5.6)."""

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.descent import Linearised
from geodescent.lift import Damped, KrylovLift, Lift, PlannedLift
from geodescent.linalg import norm
from geodescent.outputs import Inputs
from geodescent.problem import Problem

FIRST = 0.1  # of ‖θ‖: how far the first trial goes
LONGER, SHORTER = 2.0, 0.5  # the next trial after one that was taken, and after one that was not
ENOUGH = 1e-4  # of the fall that the slope promises (Armijo)
PULLS = 20  # corrections towards the manifold with the lift at the step's start
CONTRACTION = 0.7  # of the residual, each
LEAST = 1e-10  # of ‖θ‖: trials shorter than this move nothing
LEVEL = 1e-8  # of ‖∇R‖: a vertical part below this is none
DIRECT, ITERATIVE = 1e-14, 1e-6  # of ‖B‖_F²/m: damping where a solve is exact, and where it is to take few iterations

LIFT = PlannedLift(KrylovLift(tol=1e-2, max_iterations=300, products=torch.float32))  # a digit or two a pull

Objective = Callable[[nn.Module], Tensor]


class Ended(Enum):
    """How a way along the manifold ended; the value is the sentence that people see."""

    stationary = "No vertical direction lowers the objective to first order."
    no_progress = "No vertical step, however short, lowered the objective and came back to zero cost."
    max_steps = "The largest number of steps was taken."
    max_seconds = "The time ran out."


@dataclass(frozen=True)
class RefinedPoint:
    """A point of the manifold after an accepted step.

    Attributes:
        objective: R.
        cost: C, by a forward pass.
        vertical: ‖(1 − D⁺D)∇R‖ where the step began.
        seconds: since the start.
    """

    objective: float
    cost: float
    vertical: float
    seconds: float


@dataclass(frozen=True)
class Refined:
    """The way along the manifold; the model is left at its end.

    Attributes:
        points: the start, and one an accepted step.
        result: how it ended.
    """

    points: tuple[RefinedPoint, ...]
    result: Ended

    @property
    def objective(self) -> float:
        """R at the end."""
        return self.points[-1].objective

    @property
    def cost(self) -> float:
        """C at the end."""
        return self.points[-1].cost


def squared_norm(model: nn.Module) -> Tensor:
    """`½‖θ‖²` over the parameters that require grad."""
    return 0.5 * sum((p.square().sum() for p in model.parameters() if p.requires_grad), torch.zeros(()))


def refine(
    model: nn.Module,
    X: Inputs,
    y: Tensor,
    *,
    objective: Objective = squared_norm,
    weights: Tensor | None = None,
    highest_cost: float = 1e-20,
    max_steps: int = 100,
    max_seconds: float = math.inf,
    lift: Lift | None = None,
) -> Refined:
    """Moves vertically, `θ ← θ − η(1 − D⁺D)∇R`, and back to the manifold by `θ ← θ − D⁺(x − y)`; the cost stays zero.

    To first order a vertical motion changes no output; what it changes to second order the pull takes back, with the
    lift at hand. A trial is taken where R falls enough and the cost is back at zero; η doubles after it, and is halved
    where not.

    Args:
        model, X, y, weights: as in `gd.fit`; the model must stand at a cost of at most `highest_cost`, and is left at
            the last point, also after an exception.
        objective: R, of the module alone: `½‖θ‖²` by default, or one's own, such as a held-out loss.
        highest_cost: what counts as zero: every point recorded lies below it.
        max_steps, max_seconds: bounds.
        lift: how D⁺ is applied; by default dense up to 3,000 residuals and inexact beyond, as what a solve leaves is
            pulled back too.

    Raises: InputError, where the model's cost is above `highest_cost`.
    Cost: a step is a linearisation, its factor, one solve, and two to ten solves and forward passes a trial.
    """
    problem, begin = Problem.of(model, X, y, weights=weights), clock.perf_counter()
    theta = problem.theta
    cost = problem.cost(problem.outputs(theta))
    if not cost <= highest_cost:
        raise InputError(
            f"the model's cost is {cost:.3g}, above {highest_cost:.3g}: it is not on the zero-cost manifold. "
            f"Fit it first, gd.fit(…, target_cost={highest_cost:g}), or raise highest_cost (in float32 fits end near "
            "1e-13: call model.double())."
        )
    asked = Asked(problem, objective)
    value, slope = asked(theta)
    points, reach, result = [RefinedPoint(value, cost, math.nan, 0.0)], FIRST * max(norm(theta), 1e-3), Ended.max_steps
    try:
        for _ in range(max_steps):
            place = _Place.at(problem, theta, lift or LIFT)
            vertical = slope - place.horizontal(slope)
            steepness = norm(vertical)
            if steepness <= LEVEL * norm(slope):
                result = Ended.stationary
                break
            found = None
            while found is None and reach > LEAST * norm(theta) and clock.perf_counter() - begin < max_seconds:
                eta = reach / steepness
                found = place.pulled(theta - (eta * vertical).to(theta.dtype), highest_cost)
                if found is not None:
                    lower, there = asked(found)
                    found = found if lower <= value - ENOUGH * eta * steepness**2 else None
                reach *= SHORTER if found is None else LONGER
            if found is None:
                result = Ended.max_seconds if clock.perf_counter() - begin >= max_seconds else Ended.no_progress
                break
            theta, value, slope = found, lower, there
            cost = problem.cost(problem.outputs(theta))
            points.append(RefinedPoint(value, cost, steepness, clock.perf_counter() - begin))
    finally:
        problem.write(theta)
    return Refined(tuple(points), result)


@dataclass(frozen=True)
class _Place:
    """A point of the manifold with the lift there."""

    here: Linearised
    damped: Damped

    @classmethod
    def at(cls, problem: Problem, theta: Theta, lift: Lift) -> "_Place":
        here = Linearised.at(problem, theta, lift=lift, dtype=torch.float64)
        return cls(here, here.damped((DIRECT if here.prepared.direct else ITERATIVE) * here.prepared.scale))

    def horizontal(self, direction: Theta) -> Theta:
        """`D⁺D u`."""
        return self.here.lift(self.damped, self.here.jacobian.mv(direction)).velocity

    def pulled(self, theta: Theta, highest_cost: float) -> Theta | None:
        """Back to the manifold; None where corrections with this lift do not lead there."""
        residual = self.here.residual_at(theta)
        for _ in range(PULLS):
            if self.here.cost_of(residual) <= highest_cost:
                return theta
            nearer = theta + self.here.lift(self.damped, -residual).velocity.to(theta.dtype)
            after = self.here.residual_at(nearer)
            if not norm(after) <= CONTRACTION * norm(residual):
                return None
            theta, residual = nearer, after
        return None


@dataclass(frozen=True)
class Asked:
    """R and ∇R at a θ that is written into the module for the question."""

    problem: Problem
    objective: Objective

    def __call__(self, theta: Theta) -> tuple[float, Theta]:
        """`(R, ∇R)`, the gradient (K,) in float64."""
        function = self.problem.blocks[0].map.function
        self.problem.write(theta)
        own = dict(function.model.named_parameters())
        chosen = [own[p.name] for p in function.parameters]
        with torch.enable_grad():
            value = self.objective(function.model)
            parts = torch.autograd.grad(value, chosen, allow_unused=True)
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, parts, strict=True)]
        return value.item(), torch.cat([g.reshape(-1) for g in filled]).double()
