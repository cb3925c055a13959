"""Along the zero-cost manifold: a second objective falls while the outputs stay where they are."""

import math
import time as clock
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import NOT_NEGATIVE, SECONDS, Whole
from geodescent._types import Theta
from geodescent.descent import Linearised
from geodescent.geometry._objective import Objective, ObjectiveAt, squared_norm
from geodescent.lift import Damped, KrylovLift, Lift, PlannedLift
from geodescent.linalg import norm, row_norm
from geodescent.outputs import Inputs
from geodescent.problem import Model, Problem, problem_of

FIRST_REACH = 0.1  # Share of ‖θ‖ that the first trial goes.
LONGER, SHORTER = 2.0, 0.5  # Factors on the next trial's length, after one that was taken, and after one that was not.
ARMIJO = 1e-4  # Share of the fall that the slope promises: a trial that brings less is not taken.
PULLS = 20  # Corrections towards the manifold with the lift at the step's start.
PULL_CONTRACTION = 0.7  # Share of the residual that a correction may leave.
LEAST_REACH = 1e-10  # Share of ‖θ‖: shorter trials move nothing.
LEVEL = 1e-8  # Share of ‖∇R‖: a vertical part below it is none.
EXACT_DAMPING = 1e-14  # Times ‖B‖_F²/m: where a solve is exact.
ITERATIVE_DAMPING = 1e-6  # Times ‖B‖_F²/m: where a solve is to take few iterations.

ROUGH_LIFT = PlannedLift(KrylovLift(tol=1e-2, max_iterations=300, products=torch.float32))
"""A digit or two a pull are enough: what a solve leaves is pulled back by the next (docs/decisions.md)."""


class RefineResult(Enum):
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
class RefinedPath:
    """The way along the manifold; the model is left at its end.

    Attributes:
        points: the start, and one an accepted step.
        result: how it ended.
    """

    points: tuple[RefinedPoint, ...]
    result: RefineResult

    @property
    def objective(self) -> float:
        """R at the end."""
        return self.points[-1].objective

    @property
    def cost(self) -> float:
        """C at the end."""
        return self.points[-1].cost


def refine(
    model: Model,
    X: Inputs | None = None,
    y: Tensor | None = None,
    *,
    objective: Objective = squared_norm,
    highest_cost: float = 1e-20,
    max_steps: int = 100,
    max_seconds: float = math.inf,
    lift: Lift | None = None,
) -> RefinedPath:
    """Moves vertically, `θ ← θ − η(1 − D⁺D)∇R`, and back to the manifold by `θ ← θ − D⁺(x − y)`; the cost stays zero.

    To first order a vertical motion changes no output; what it changes to second order the pull takes back, with the
    lift at hand. A trial is taken where R falls enough and the cost is back at zero; η doubles after it, and is halved
    where not.

    Args:
        model: as in `gd.fit`, or a whole problem; it must stand at a cost of at most `highest_cost`, and is left at the
            last point, also after an exception.
        X: its samples.
        y: targets in the outputs' shape.
        objective: R, of the module alone: `½‖θ‖²` by default, or one's own, such as a loss on other data.
        highest_cost: what counts as zero: every point recorded lies below it.
        max_steps: the largest number of steps.
        max_seconds: the longest time that they may take.
        lift: how D⁺ is applied; by default dense up to 3,000 residuals and inexact beyond, as what a solve leaves is
            pulled back too.

    Raises: InputError, where the model's cost is above `highest_cost`.
    Cost: a step is a linearisation, its factor, one solve, and two to ten solves and forward passes a trial.
    """
    highest_cost = NOT_NEGATIVE.such_as(1e-20).of("highest_cost", highest_cost)
    max_steps, max_seconds = Whole(100).of("max_steps", max_steps), SECONDS.of("max_seconds", max_seconds)
    problem, begin = problem_of(model, X, y, call="geometry.refine"), clock.perf_counter()
    theta = problem.theta
    cost = problem.cost(theta)
    if not cost <= highest_cost:
        raise InputError(
            f"the model's cost is {cost:.3g}, above {highest_cost:.3g}: it is not on the zero-cost manifold. "
            f"Fit it first, gd.fit(…, target_cost={highest_cost:g}), or raise highest_cost (in float32 fits end near "
            "1e-13: call model.double())."
        )
    objective_at, deadline = ObjectiveAt(problem, objective), begin + max_seconds
    value, slope = objective_at(theta)
    points, reach = [RefinedPoint(value, cost, math.nan, 0.0)], FIRST_REACH * max(norm(theta), 1e-3)
    result = RefineResult.max_steps
    try:
        for _ in range(max_steps):
            place = _PlaceOnManifold.at(problem, theta, lift or ROUGH_LIFT)
            vertical = slope - place.horizontal(slope)
            if norm(vertical) <= LEVEL * norm(slope):
                result = RefineResult.stationary
                break
            trial = _VerticalTrial(objective_at, place, vertical, value, highest_cost)
            taken, reach = trial.taken(theta, reach, deadline)
            if taken is None:
                late = clock.perf_counter() >= deadline
                result = RefineResult.max_seconds if late else RefineResult.no_progress
                break
            theta, value, slope = taken
            cost = problem.cost(theta)
            points.append(RefinedPoint(value, cost, norm(vertical), clock.perf_counter() - begin))
    finally:
        problem.write(theta)
    return RefinedPath(tuple(points), result)


@dataclass(frozen=True)
class _PlaceOnManifold:
    """A point of the manifold with the lift there."""

    here: Linearised
    damped: Damped

    @classmethod
    def at(cls, problem: Problem, theta: Theta, lift: Lift) -> "_PlaceOnManifold":
        here = Linearised.at(problem, theta, lift=lift, dtype=torch.float64)
        damping = EXACT_DAMPING if here.prepared.exact else ITERATIVE_DAMPING
        return cls(here, here.damped(damping * here.prepared.mean_square))

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
            if not row_norm(after) <= PULL_CONTRACTION * row_norm(residual):
                return None
            theta, residual = nearer, after
        return None


@dataclass(frozen=True)
class _VerticalTrial:
    """Trials along one vertical direction, each shorter than the last.

    Attributes:
        value: R where they begin.
    """

    objective_at: ObjectiveAt
    place: _PlaceOnManifold
    vertical: Theta
    value: float
    highest_cost: float

    def taken(self, theta: Theta, reach: float, deadline: float) -> tuple[tuple[Theta, float, Theta] | None, float]:
        """The point, R and ∇R of the first trial that is taken, or None; and how far the next one goes."""
        steepness, least = norm(self.vertical), LEAST_REACH * norm(theta)
        while reach > least and clock.perf_counter() < deadline:
            eta = reach / steepness
            there = self.place.pulled(theta - (eta * self.vertical).to(theta.dtype), self.highest_cost)
            if there is not None:
                lower, slope = self.objective_at(there)
                if lower <= self.value - ARMIJO * eta * steepness**2:
                    return (there, lower, slope), LONGER * reach
            reach *= SHORTER
        return None, reach
