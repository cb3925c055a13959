"""More points where the residual between the points is large, and the descent goes on from the same θ."""

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import POSITIVE, Whole
from geodescent.doors import Solution, fit
from geodescent.outputs import ResidualMap
from geodescent.pde._system import System

CANDIDATES = 10  # Times the points of a term: so many are drawn, and some of them taken.
SHARE_ADDED = 0.5  # Points added in a round, of those that a term has.


def refine(
    system: System,
    solution: Solution,
    *,
    rounds: int = 1,
    share: float = SHARE_ADDED,
    max_seconds: float | None = None,
    seed: int = 0,
) -> Solution:
    """Adds points to the terms that points limit, and fits on from the same network, in place.

        solution = pde.refine(system, solution, max_seconds=30)

    Of points drawn anew, ten times as many as a term has, those are taken that a draw in proportion to r² gives. A term
    is limited by its points where the residual at fresh points is more than three times that at its own
    (`solution.residuals()`); where none is, nothing is added, and the solution is returned as it came.

    Args:
        system: which was fitted.
        solution: the fit of it.
        rounds: of adding and fitting.
        share: points added in a round, of those that a term has.
        max_seconds: of all rounds together; None for no bound.
        seed: of the draws.

    Raises: InputError, for a solution of another problem.
    """
    rounds, share = Whole(1, least=1).of("rounds", rounds), POSITIVE.such_as(SHARE_ADDED).of("share", share)
    problem, _ = solution.on_demand.at_solution()
    if problem is not system.problem():
        raise InputError("the solution is not that of this system: pass the system that gd.fit was called with.")
    for number in range(rounds):
        limited = {row.name for row in solution.residuals(seed=seed + number) if row.points_limit}
        added = dict[str, Tensor]()
        for block in system.problem().blocks:
            if block.name in limited and isinstance(block.map, ResidualMap):
                added[block.name] = _where_large(block.map, solution.theta, share, seed + number)
        if not added:
            return solution
        system.add_points(added)
        seconds = None if max_seconds is None else max_seconds / rounds
        solution = fit(system, max_seconds=seconds, initialise=False)
    return solution


def _where_large(outputs: ResidualMap, theta: Tensor, share: float, seed: int) -> Tensor:
    """Some of many points, in proportion to their squared residual, (n, d)."""
    n = outputs.points.shape[1]
    candidates = outputs.drawn(CANDIDATES * n, seed)
    squares = outputs.on(candidates)(theta).square().sum(1).cpu()
    generator = torch.Generator("cpu").manual_seed(seed)
    taken = torch.multinomial(squares / squares.sum(), max(1, int(share * n)), generator=generator)
    return candidates[0, taken]
