"""More points where the residual between the points is large, and the descent goes on from the same θ."""

import time
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
from geodescent.pde._terms import Term
from geodescent.problem import POINTS_LIMIT, ResidualTable

CANDIDATES = 10  # Times the points of a term: so many are drawn, and some of them taken.
SHARE_ADDED = 0.5  # Points added in a round, of those that a term has.
SECONDS_MORE = 30.0  # Seconds that a note proposes for a fit that goes on, where no time of these rounds is left.


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
    returned as it came, and its notes say why and how to fit on. Each round has an equal share of the steps and of the
    time that are left when it begins, so that what one leaves over is for the later ones.

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
    if not (isinstance(system, System) and isinstance(solution, Solution)):
        raise InputError(
            f"a {type(system).__name__} and a {type(solution).__name__} came in: a system and what gd.fit(system) "
            "returned are needed, pde.refine(system, solution)."
        )
    problem, _ = solution.on_demand.at_solution()
    if problem is not system.problem():
        raise InputError("the solution is not that of this system: pass the system that gd.fit was called with.")
    begin = time.perf_counter()
    for number in range(rounds):
        remaining = None if seconds is None else max(0.0, seconds - (time.perf_counter() - begin))
        if number > 0 and (left == 0 or remaining == 0.0):
            break
        table = solution.residuals(seed=seed + number)
        added = _added(system, solution, table, share, seed + number)
        if not added:
            return _noted(solution, _why_none(system, table, number, remaining or SECONDS_MORE))
        system.add_points(added)
        solution = fit(
            system,
            max_steps=None if left is None else -(-left // (rounds - number)),
            max_seconds=None if remaining is None else remaining / (rounds - number),
            callback=callback,
            initialise=False,
        )
        left = None if left is None else left - solution.steps
        if solution.result in (Result.stopped, Result.interrupted):
            break
    return solution


def _added(system: System, solution: Solution, table: ResidualTable, share: float, seed: int) -> dict[str, Tensor]:
    """Points for each term that its points limit, where others can be drawn."""
    limited = {row.name for row in table if row.points_limit}
    return {
        block.name: _where_large(block.map, solution.theta, share, seed)
        for block in system.problem().blocks
        if block.name in limited and isinstance(block.map, ResidualMap)
    }


def _why_none(system: System, table: ResidualTable, number: int, seconds: float) -> str:
    """Why no points are added in a round, and what helps, in two or three sentences.

    Args:
        number: of the round, from 0 on.
        seconds: that are proposed for a fit that goes on.
    """
    none = "No points were added" if number == 0 else f"No points were added in round {number + 1}"
    way = "take them from a pde.Box, or make the system with more of them."
    fixed = _undrawn(system, table)
    drawn = [(row.fresh_rms, row.rms, row.name) for row in table if row.fresh_rms is not None]
    if not drawn:
        return f"{none}, for new ones for {', '.join(fixed or [row.name for row in table])} cannot be drawn: {way}"
    fresh, own, name = max(drawn, key=lambda row: row[0] / row[1] if row[1] > 0.0 else 0.0)
    also = f" For {', '.join(fixed)} new points cannot be drawn, so that this is not known: {way}" if fixed else ""
    return (
        f"{none}, for no term is limited by its points: the RMS of the residual between those of {name} is {fresh:.3g} "
        f"beside {own:.3g} on them, and more than {POINTS_LIMIT:g} times as much would be needed. Fit on from the same "
        f"network: gd.fit(system, initialise=False, max_seconds={seconds:.3g}).{also}"
    )


def _undrawn(system: System, table: ResidualTable) -> list[str]:
    """The terms of points of one's own, but for integrals and for measured values, which belong to their points."""
    at_points = {term.name for term in system.terms if isinstance(term, Term) and term.target is None}
    return [row.name for row in table if row.fresh_rms is None and row.name in at_points]


def _noted(solution: Solution, sentence: str) -> Solution:
    """The solution with one more note."""
    notes = solution.stats["notes"]
    others = map(str, notes) if isinstance(notes, Iterable) else ()
    return replace(solution, stats={**solution.stats, "notes": list(dict.fromkeys([*others, sentence]))})


def _where_large(outputs: ResidualMap, theta: Tensor, share: float, seed: int) -> Tensor:
    """Some of many points, in proportion to their squared residual, (n, d)."""
    n = outputs.points.shape[1]
    n_taken = max(1, int(share * n))
    candidates = outputs.drawn(CANDIDATES * max(n, n_taken), seed)
    squares = outputs.on(candidates)(theta).square().sum(1).cpu()
    generator = torch.Generator("cpu").manual_seed(seed)
    taken = torch.multinomial(squares / squares.sum(), n_taken, generator=generator)
    return candidates[0, taken]
