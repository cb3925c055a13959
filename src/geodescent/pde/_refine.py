"""More points where the residual between the points is large, and the descent goes on from the same θ."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._record import Callback, Result
from geodescent._settings import POSITIVE, SECONDS, OrNone, Whole
from geodescent.doors import Solution, checked_callback, fit
from geodescent.outputs import ResidualMap
from geodescent.pde._system import System
from geodescent.problem import POINTS_LIMIT, ResidualTable

CANDIDATES = 10  # Times the points of a term: so many are drawn, and some of them taken.
SHARE_ADDED = 0.5  # Points added in a round, of those that a term has.


def refine(
    system: System,
    solution: Solution,
    *,
    rounds: int = 1,
    share: float = SHARE_ADDED,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    callback: Callback | None = None,
    seed: int = 0,
) -> Solution:
    """Adds points to the terms that points limit, and fits on from the same network, in place.

        solution = pde.refine(system, solution, max_seconds=30)

    Of points drawn anew, ten times as many as a term has, those are taken that a draw in proportion to r² gives. A term
    is limited by its points where the residual at fresh points is more than three times that at its own
    (`solution.residuals()`); where none is, and where other points cannot be drawn, nothing is added: the solution is
    returned as it came, and its notes say why.

    Args:
        system: which was fitted.
        solution: the fit of it.
        rounds: of adding and fitting.
        share: points added in a round, of those that a term has.
        max_steps: the largest number of accepted steps of all rounds together; None for 5,000 in each.
        max_seconds: of all rounds together; None for no bound.
        callback: called with the record of each accepted step; StopIteration ends the round and all others.
        seed: of the draws.

    Raises: InputError, for a solution of another problem.
    """
    rounds, share = Whole(1, least=1).of("rounds", rounds), POSITIVE.such_as(SHARE_ADDED).of("share", share)
    left = OrNone(Whole(500)).of("max_steps", max_steps)
    seconds = OrNone(SECONDS).of("max_seconds", max_seconds)
    callback = checked_callback(callback)
    problem, _ = solution.on_demand.at_solution()
    if problem is not system.problem():
        raise InputError("the solution is not that of this system: pass the system that gd.fit was called with.")
    for number in range(rounds):
        table = solution.residuals(seed=seed + number)
        limited = {row.name for row in table if row.points_limit}
        added = dict[str, Tensor]()
        for block in system.problem().blocks:
            if block.name in limited and isinstance(block.map, ResidualMap):
                added[block.name] = _where_large(block.map, solution.theta, share, seed + number)
        if not added:
            return _noted(solution, _why_none(table)) if number == 0 else solution
        system.add_points(added)
        solution = fit(
            system,
            max_steps=None if left is None else -(-left // (rounds - number)),
            max_seconds=None if seconds is None else seconds / rounds,
            callback=callback,
            initialise=False,
        )
        left = None if left is None else left - solution.steps
        if solution.result in (Result.stopped, Result.interrupted):
            break
    return solution


def _why_none(table: ResidualTable) -> str:
    """Why no points are added, in a sentence."""
    drawn = [(row.fresh_rms, row.rms, row.name) for row in table if row.fresh_rms is not None]
    if not drawn:
        names = ", ".join(row.name for row in table)
        return f"No points were added, for new ones for {names} cannot be drawn: take them from a pde.Box."
    fresh, own, name = max(drawn, key=lambda row: row[0] / row[1] if row[1] > 0.0 else 0.0)
    return (
        "No points were added, for no term is limited by its points: the RMS of the residual between those of "
        f"{name} is {fresh:.3g} beside {own:.3g} on them, and more than {POINTS_LIMIT:g} times as much would be needed."
    )


def _noted(solution: Solution, sentence: str) -> Solution:
    """The solution with one more note."""
    notes = solution.stats["notes"]
    others = map(str, notes) if isinstance(notes, Iterable) else ()
    return replace(solution, stats={**solution.stats, "notes": list(dict.fromkeys([*others, sentence]))})


def _where_large(outputs: ResidualMap, theta: Tensor, share: float, seed: int) -> Tensor:
    """Some of many points, in proportion to their squared residual, (n, d)."""
    n = outputs.points.shape[1]
    candidates = outputs.drawn(CANDIDATES * n, seed)
    squares = outputs.on(candidates)(theta).square().sum(1).cpu()
    generator = torch.Generator("cpu").manual_seed(seed)
    taken = torch.multinomial(squares / squares.sum(), max(1, int(share * n)), generator=generator)
    return candidates[0, taken]
