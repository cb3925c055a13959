"""The last digits of θ, which the cost does not show."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from geodescent._deadline import OutOfTime
from geodescent._record import Result
from geodescent._types import Theta
from geodescent.descent._linearised import Linearised
from geodescent.descent._stages import Stage
from geodescent.descent._state import Best, State

MOST = 60  # Steps.
CONTRACTS = 0.9  # Share of the last correction, in the metric, that the next one must stay below.
HARDLY_MORE = 1e-9  # Share of C: a polished point may cost more by this, which is more than rounding.


def ends_at_a_minimum(stage: Stage, result: Result | None) -> bool:
    """Whether there are digits of θ to gain: at the end of a run whose data determine θ."""
    problem = stage.source.first
    return result in (Result.stationary, Result.rounding_floor) and problem.n_params <= problem.n_residuals


def polished(stage: Stage, state: State, tally: Counter[str]) -> State:
    """The state with its best point moved by least-damped steps, as long as each is clearly shorter than the last.

    At a minimum C is known to 16 digits, and θ by C to 8 of them, because C is flat there; the correction −D⁺r itself
    goes on falling. Where D has numerically lost rank, corrections do not fall, and nothing is moved.
    """

    def at(theta: Theta) -> Linearised:
        return Linearised.at(
            stage.source.at(state.step),
            theta,
            lift=stage.lift,
            dtype=stage.solve_dtype,
            tally=tally,
            metric=state.metric,
            linear=state.linear,
        )

    theta, cost = state.best.theta, state.best.cost
    try:
        for reached in _path(at, state.best.theta):
            theta, cost = reached
            tally["polishing steps"] += 1
    except OutOfTime:
        pass  # what was polished so far is kept
    if theta is state.best.theta:
        return state
    known = stage.source.cost_of_all(state.step, theta, cost)
    whole = cost if known is None else known
    if whole > state.best.cost * (1.0 + HARDLY_MORE):
        return state
    return replace(state, theta=theta, cost=cost, best=Best(theta, whole, cost))


def _path(at: Callable[[Theta], Linearised], theta: Theta) -> Iterator[tuple[Theta, float]]:
    """The points of the polish after the first, with their costs. Each linearisation is let go before the next."""
    here = at(theta)
    if not here.prepared.exact or not _is_sound(here):
        return
    correction = _least_damped(here)
    for _ in range(MOST):
        cost, length = here.cost, here.length(correction)
        theta = here.settled(here.theta + correction.to(here.theta.dtype))
        del here
        here = at(theta)
        if not (_is_sound(here) and here.cost <= cost * (1.0 + HARDLY_MORE)):
            return
        correction = _least_damped(here)
        if not here.length(correction) <= CONTRACTS * length:
            return
        yield here.theta, here.cost


def _is_sound(here: Linearised) -> bool:
    return 0.0 < here.total_square < float("inf")


def _least_damped(here: Linearised) -> Theta:
    return here.lift(here.damped(here.prepared.least_damping), -here.residual).velocity
