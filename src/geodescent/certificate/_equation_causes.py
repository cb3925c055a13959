"""What stands in the way of solving equations: conditions, coefficients, terms and points."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from geodescent._budget import budget, fits
from geodescent._deadline import in_time
from geodescent._types import Theta
from geodescent.certificate._cause import Cause, counted, few
from geodescent.certificate._identifiable import groups_of
from geodescent.jacobian import Jacobian
from geodescent.problem import (
    Problem,
    RowBlock,
    SameCondition,
    active,
    draws_points,
    plain_residual,
    same_conditions,
)

SHARED = 0.1  # Share of a term's rows: fewer repeated ones, as at corners, are nothing to speak of.
SHOWN_DIGITS = 4  # Coordinates of places longer than this many numbers, as of a total, are not shown.
FELT = 1e-4  # Share of a coefficient's own effect that the fields cannot make up for: below it nothing determines it.
# On heat equations it was 2e-3 and above where data determine the coefficient, 3e-7 and below where they do not.
ACTS = 1e-5  # Of the mean column of B: a coefficient whose change by its own size, or by 1, is smaller has no effect.
ROUNDING_SHARE = 1e-16  # Share of ‖B‖_F²: the part of a term that is smaller is rounding in BᵀB.


def causes_of_equations(problem: Problem, theta: Theta, jacobian: Jacobian | None) -> list[Cause]:
    """Every cause found at θ of a problem with equations at places, or with unknowns; none of any other.

    Args:
        jacobian: B at θ, rows weighted.

    Cost: evaluations of the equations at made-up fields; BᵀB and a factor of it, where there are unknowns.
    """
    causes = list[Cause]()
    if problem.has_equations:
        causes += _conditions(problem)
        causes += [] if jacobian is None else _silent_terms(problem, theta, jacobian)
        causes += _few_rows(problem)
    if problem.unknowns and jacobian is not None:
        causes += _coefficients(problem, theta, jacobian)
    return causes


# --- conditions ------------------------------------------------------------------------------------------------------


def _conditions(problem: Problem) -> list[Cause]:
    """Conditions that contradict each other, and those that stand twice; by the terms that they stand in."""
    n = sum(block.n_samples for block in problem.blocks)
    if not in_time(2e4 * n, "conditions that stand twice"):
        return []
    by_names = dict[tuple[tuple[str, ...], bool], list[SameCondition]]()
    for same in same_conditions(problem):
        by_names.setdefault((same.names, same.cost > 0.0), []).append(same)
    sizes = {block.name: block.n_samples for block in problem.blocks}
    causes = list[Cause]()
    for (names, differ), found in by_names.items():
        if differ:
            causes.append(_conflict(problem, names, found))
        elif len(found) >= SHARED * min(sizes[name] for name in names):
            causes.append(_repetition(names, found))
    return causes


def _conflict(problem: Problem, names: tuple[str, ...], found: list[SameCondition]) -> Cause:
    cost = sum(same.cost for same in found)
    what = f"{_listed(names)} {'ask' if len(names) > 1 else 'asks'} for different values of the same quantity"
    text = f"{what} at {counted(len(found), 'place')}{_at(found)}, which costs {cost:.3g} that nothing can remove. "
    if set(names) <= set(problem.measured):
        text += "Of repeated measurements that is their noise, and as it should be."
        return Cause("repeated_measurements", _where(names, found), cost, text, exact=True)
    text += "They contradict each other: correct one of them, or leave it out at these points."
    return Cause("conflicting_conditions", _where(names, found), cost, text, exact=True)


def _repetition(names: tuple[str, ...], found: list[SameCondition]) -> Cause:
    several = len(names) > 1
    text = (
        f"{_listed(names)} {'are the same condition' if several else 'holds the same condition twice'} at "
        f"{counted(len(found), 'place')}{_at(found)}: that costs nothing, and weighs more than was said. Keep one, "
        "with the weight that it is to have."
    )
    return Cause("repeated_conditions", _where(names, found), 0.0, text, exact=True)


def _where(names: tuple[str, ...], found: list[SameCondition]) -> dict[str, object]:
    return {"terms": list(names), "rows": [[(row.block.name, row.sample) for row in same.rows] for same in found]}


def _at(found: list[SameCondition]) -> str:
    """The first place, where it can be shown."""
    place = found[0].place
    shown = len(place) <= SHOWN_DIGITS
    first = "the first " if len(found) > 1 else ""
    return f", {first}at ({', '.join(f'{value:.4g}' for value in place)})" if shown else ""


# --- terms and points ------------------------------------------------------------------------------------------------


def _silent_terms(problem: Problem, theta: Theta, jacobian: Jacobian) -> list[Cause]:
    """Terms whose rows of B are zero, or so small that they are lost in BᵀB."""
    if len(problem.blocks) < 2 or not in_time(0.0, "terms without influence", products=1.0):
        return []
    squares = jacobian.row_squares().double()
    scale = problem.weighted(torch.ones_like(squares)).square()
    whole, causes, start = float(squares.sum()), list[Cause](), 0
    plain = torch.where(scale > 0.0, squares / scale, 0.0)
    for block in problem.blocks:
        rows = slice(start, start + block.target.numel())
        start = rows.stop
        if whole > 0.0 and float(squares[rows].sum()) <= ROUNDING_SHARE * whole:
            share = float(squares[rows].sum()) / whole
            unmoved = float(plain[rows].max()) <= ROUNDING_SHARE * float(plain.max())
            causes.append(_silent(problem, block, theta, share, unmoved=unmoved))
    return causes


def _silent(problem: Problem, block: RowBlock, theta: Theta, share: float, *, unmoved: bool) -> Cause:
    squares = plain_residual(block, theta).square()
    cost = float((squares * problem.sample_weights(block)[:, None]).sum()) / (2.0 * problem.n_samples)
    rms, name = math.sqrt(float(squares[active(block)].mean())), block.name
    if not unmoved:
        text = (
            f"'{name}' has no influence: its rows are {share:.1g} of all, which is rounding beside the others. Give it "
            "a larger weight, or others a smaller one."
        )
    elif rms <= math.sqrt(torch.finfo(squares.dtype).eps):
        text = f"'{name}' has no influence: whatever the network is, it holds, as built in. Leave it out."
    else:
        text = (
            f"'{name}' has no influence: no parameter acts on its rows here, and they are off by {rms:.3g} (RMS). "
            "Correct the built-in condition that fixes them, or the equation."
        )
    return Cause("silent_term", {"term": name, "share": share, "rms": rms}, cost, text)


def _few_rows(problem: Problem) -> list[Cause]:
    m, k = sum(len(active(block)) * block.n_outputs for block in problem.blocks), problem.n_params
    if m >= k:
        return []
    if draws_points(problem):
        way = "solution.residuals() compares other points; where the residual is larger there, take"
    else:
        way = "Other points, which would show it, cannot be drawn here: take them from a pde.Box, or take"
    text = (
        f"{m} rows for {k} parameters, which is usual of networks: all rows can vanish while the equations do not hold "
        f"between the points. {way} two to four times as many points as parameters."
    )
    return [Cause("few_rows", {"n_params": k, "n_residuals": m}, None, text)]


# --- coefficients ----------------------------------------------------------------------------------------------------


def _coefficients(problem: Problem, theta: Theta, jacobian: Jacobian) -> list[Cause]:
    """Unknowns that nothing determines: they do not act, or the fields make up for what they do."""
    m, k = jacobian.shape
    if not (k <= budget().spectrum_order and fits(24.0 * k**2, jacobian.device)):
        return []
    if not in_time(2.0 * m * k**2 + k**3, "coefficients that the data do not determine", products=1.0):
        return []
    normal = jacobian.to(torch.float64).normal()
    if not bool(torch.isfinite(normal).all()):
        return []
    names, entries = list(problem.unknowns), torch.tensor(list(problem.unknowns.values()), device=normal.device)
    effect = normal.diagonal()[entries].sqrt() * theta[entries].double().abs().clamp_min(1.0)
    acting = effect > ACTS * float(normal.diagonal().mean().sqrt())
    causes = [_idle(name) for name, acts in zip(names, acting.tolist(), strict=True) if not acts]
    kept = [name for name, acts in zip(names, acting.tolist(), strict=True) if acts]
    if kept:
        causes += [_confounded(group) for group in groups_of(_lost(normal, entries[acting]), tuple(kept))]
    return causes


def _lost(normal: Tensor, entries: Tensor) -> Tensor:
    """The projector to the directions of the unknowns, each in units of its own effect, that the fields make up for.

    Of the columns of B, scaled to norm 1, the unknowns' are `U` and the others `A`; what A cannot make up for is the
    Schur complement `UᵀU − UᵀA(AᵀA)⁻¹AᵀU`, with a damping of rounding.
    """
    size = normal.diagonal().sqrt()
    scale = torch.where(size > 0.0, 1.0 / size, 0.0)
    unit = normal * scale[:, None] * scale
    rest = torch.ones(len(unit), dtype=torch.bool, device=unit.device)
    rest[entries] = False
    inner, cross = unit[rest][:, rest], unit[rest][:, entries]
    damping = len(unit) * torch.finfo(unit.dtype).eps
    inner.diagonal().add_(damping)
    lower, failed = torch.linalg.cholesky_ex(inner)
    while bool(failed):
        damping *= 10.0
        inner.diagonal().add_(damping)
        lower, failed = torch.linalg.cholesky_ex(inner)
    half = torch.linalg.solve_triangular(lower, cross, upper=False)
    values, vectors = torch.linalg.eigh(unit[entries][:, entries] - half.T @ half)
    lost = vectors[:, values < FELT**2]
    projector: Tensor = lost @ lost.T
    return projector


def _idle(name: str) -> Cause:
    text = (
        f"the unknown {name} is not determined: it has no effect on any row here, because what it multiplies is zero "
        f"at all points. Leave {name} at a known value, or add data where it acts."
    )
    return Cause("undetermined_coefficient", {"unknowns": [name]}, None, text, parameters_lost=1)


def _confounded(group: Sequence[str]) -> Cause:
    where = {"unknowns": list(group)}
    if len(group) == 1:
        text = (
            f"the unknown {group[0]} is not determined: for other values of it there are other fields that satisfy all "
            f"terms as well. Add measured values or a condition that tells them apart, or leave {group[0]} at a known "
            "value."
        )
        return Cause("undetermined_coefficient", where, None, text, parameters_lost=1)
    text = (
        f"the unknowns {few(group[:-1])} and {group[-1]} cannot be told apart: only some combination of them acts. "
        "Leave all but one at known values, or add data on which they act differently."
    )
    return Cause("undetermined_coefficient", where, None, text, parameters_lost=len(group) - 1)


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
