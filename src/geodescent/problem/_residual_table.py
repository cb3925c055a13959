"""The residual of each block in numbers, on its own rows and on fresh ones; and coefficients with standard errors."""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import row_dot, svd
from geodescent.outputs import OutputMap
from geodescent.problem._alike import active
from geodescent.problem._misfit import is_alike, plain_residual
from geodescent.problem._problem import Problem, RowBlock

NO_DATA = "no standard error, for nothing is marked as measured; where a term holds measured values, target= says so"
MILLION = 1e6  # Times: larger ratios are said in words, for their digits tell nobody anything.
TABLE_WIDTH = 80  # Columns of a terminal, which the table keeps to.
MOST_STEP = 2.0  # Standard errors that one more step moves a coefficient: fits that were done had up to 1.3.
MOST_SHIFT = 10.0  # Standard errors that the residual between the points could make up for: good fits had up to 3.1.
POINTS_LIMIT = 3.0  # Times: where the fresh residual is larger than this, the points are too few, not the network.


@runtime_checkable
class Refreshed(Protocol):
    """An output map that can draw its samples anew, at which its outputs should vanish too."""

    @property
    def can_draw(self) -> bool:
        """Whether there are others."""
        ...

    def fresh(self, seed: int) -> OutputMap | None:
        """The same map on as many other samples; None where it cannot draw them."""
        ...


def draws_points(problem: Problem) -> bool:
    """Whether a term can be looked at on other points than its own: by `_fresh`, which draws them."""
    return any(_can_draw(block) for block in problem.blocks)


def _can_draw(block: RowBlock) -> bool:
    """Whether a block has other samples; none where some of its own do not count, for of others that is not known."""
    return isinstance(block.map, Refreshed) and block.map.can_draw and len(active(block)) == block.n_samples


def _fresh(block: RowBlock, seed: int) -> OutputMap | None:
    return block.map.fresh(seed) if isinstance(block.map, Refreshed) and _can_draw(block) else None


@dataclass(frozen=True)
class BlockResidual:
    """The residual x − y of one block, unweighted, on the samples of positive weight.

    Attributes:
        name: of the block.
        n_rows: Q times the number of these samples.
        weight: of the block against the others.
        rms, largest: root of the mean square, and the largest size, on the block's own rows.
        fresh_rms, fresh_largest: on fresh rows; None where the block cannot draw them, or has samples of weight 0.
    """

    name: str
    n_rows: int
    weight: float
    rms: float
    largest: float
    fresh_rms: float | None = None
    fresh_largest: float | None = None

    @property
    def points_limit(self) -> bool:
        """Whether the residual is much larger between the points than on them: more points would help."""
        return self.fresh_rms is not None and self.fresh_rms > POINTS_LIMIT * self.rms


class ResidualTable(tuple[BlockResidual, ...]):
    """A row for each block; print it."""

    def __str__(self) -> str:
        return "\n".join([self.numbers, *(textwrap.fill(sentence, TABLE_WIDTH) for sentence in self.sentences)])

    def __repr__(self) -> str:
        return str(self)

    @property
    def numbers(self) -> str:
        """The table alone; a long name stands in a line of its own."""
        rows: list[tuple[str, ...]] = [("term", "rows", "weight", "RMS", "largest", "fresh RMS", "fresh largest")]
        for r in self:
            fresh = [f"{v:.2e}" if v is not None else "–" for v in (r.fresh_rms, r.fresh_largest)]
            rows.append((r.name, str(r.n_rows), f"{r.weight:g}", f"{r.rms:.2e}", f"{r.largest:.2e}", *fresh))
        widths = [max(len(row[k]) for row in rows) for k in range(1, len(rows[0]))]
        room = max(TABLE_WIDTH - sum(widths) - 2 * len(widths), len("term"))
        first = max(len(row[0]) for row in rows if len(row[0]) <= room)
        lines = list[str]()
        for name, *texts in rows:
            lines += [] if len(name) <= room else textwrap.wrap(name, TABLE_WIDTH)
            shown = name if len(name) <= room else ""
            lines.append("  ".join([shown.ljust(first), *(t.rjust(w) for t, w in zip(texts, widths, strict=True))]))
        return "\n".join(lines)

    @property
    def sentences(self) -> list[str]:
        """What the table means."""
        return [
            f"{r.name}: the residual between the points is {times(r.fresh_rms / r.rms)} that on them: the points limit "
            "the accuracy. Pass more, or call pde.refine(system, solution)."
            for r in self
            if r.points_limit and r.fresh_rms is not None and r.rms > 0.0
        ]


def residual_table(problem: Problem, theta: Theta, *, seed: int = 0) -> ResidualTable:
    """The residuals of all blocks at θ; one or two forward passes."""
    return ResidualTable(_of_block(block, theta, seed) for block in problem.blocks)


def times(ratio: float) -> str:
    """A ratio that people read: `12.5 times`, `more than a million times`."""
    return "more than a million times" if ratio > MILLION else f"{ratio:.3g} times"


def _of_block(block: RowBlock, theta: Theta, seed: int) -> BlockResidual:
    off, fresh = plain_residual(block, theta)[active(block)], _fresh(block, seed)
    sizes = (None, None) if fresh is None else _sizes(fresh(theta))
    return BlockResidual(block.name, off.numel(), block.weight, *_sizes(off), *sizes)


def _sizes(residual: Tensor) -> tuple[float, float]:
    flat = residual.double().reshape(-1)
    return math.sqrt(row_dot(flat, flat) / len(flat)), float(flat.abs().max())


@dataclass(frozen=True)
class Estimate:
    """A coefficient that was found.

    Attributes:
        value: of the coefficient.
        standard_error: by the sandwich formula; NaN without measured data, 0 where these are fitted exactly.
        warning: why the standard error is none, or not to be relied on, and what to do; empty where nothing is known.
    """

    value: float
    standard_error: float
    warning: str = ""

    def __str__(self) -> str:
        error = "" if math.isnan(self.standard_error) else f" ± {self.standard_error:.2g}"
        return f"{self.value:.8g}{error}" + (f" ({self.warning})" if self.warning else "")

    def __repr__(self) -> str:
        return f"Estimate({self})"


def estimates(problem: Problem, theta: Theta) -> Mapping[str, Estimate]:
    """The unknowns of a problem: with `h = (BᵀB)⁺e`, e the unknown's unit vector, its variance is `σ² ‖s B_data h‖²`.

    The data are the blocks that were measured, s the scale of their rows; σ² is the mean square of their
    residual, divided by one less the mean leverage of their rows. Equations have no noise.

    Cost: the singular values of B.
    """
    if not problem.unknowns:
        return {}
    data = [block.name in problem.measured for block in problem.blocks]
    nan = {name: Estimate(float(theta[k]), math.nan, NO_DATA) for name, k in problem.unknowns.items()}
    if not any(data):
        return nan
    residual, jacobian = problem.linearise(theta, dtype=torch.float64)
    b = jacobian.dense()
    left, values, right = svd(b)
    keep = values > max(b.shape) * torch.finfo(torch.float64).eps * values[0]
    left, values, right = left[:, keep], values[keep], right[keep]
    sizes = torch.tensor([block.target.numel() for block in problem.blocks], device=b.device)
    rows = torch.tensor(data, device=b.device).repeat_interleave(sizes)
    scale = problem.weighted(torch.ones_like(residual))
    active = rows & (scale > 0.0)
    plain = residual[active] / scale[active]
    freedom = float(len(plain) - left[active].square().sum())
    variance = row_dot(plain, plain) / max(freedom, 1.0)
    found, step = dict[str, Estimate](), -right.T @ (left.T @ residual / values)
    alike = any(is_alike(block, theta) for block, is_data in zip(problem.blocks, data, strict=True) if is_data)
    between = _between(problem, theta, residual / scale.clamp_min(1e-300))
    for name, k in problem.unknowns.items():
        h = right.T @ (right[:, k] / values**2)
        spread = scale[active] * (b[active] @ h)
        error = math.sqrt(variance * row_dot(spread, spread))
        moved = float((between * scale * (b @ h)).norm())
        unfinished = abs(float(step[k])) > MOST_STEP * error > 0.0
        found[name] = Estimate(float(theta[k]), error, _doubt(alike, unfinished, limited=moved > MOST_SHIFT * error))
    return found


def _doubt(alike: bool, unfinished: bool, *, limited: bool) -> str:
    """Why a standard error is not to be relied on; empty where nothing speaks against it."""
    if alike:
        return (
            "do not rely on it: the measured term is off alike at neighbouring points, which noise is not. Go on with "
            "gd.fit, or begin at another first value"
        )
    if limited:
        return "do not rely on it: the equation does not hold between its points. Take more, or pde.refine"
    return "do not rely on it: the fit is not done, go on with gd.fit" if unfinished else ""


def _between(problem: Problem, theta: Theta, plain: Tensor) -> Tensor:
    """The median size at fresh points, for each row of the terms that points limit; 0 for all others.

    A spike at few points, which moves the RMS, moves a coefficient little.
    """
    rows = list[Tensor]()
    parts = torch.split(plain, [block.target.numel() for block in problem.blocks])
    for block, own in zip(problem.blocks, parts, strict=True):
        fresh = _fresh(block, 0)
        size = 0.0 if fresh is None else float(fresh(theta).double().abs().median())
        limited = size > POINTS_LIMIT * float(own.abs().median())
        rows.append(torch.full_like(own, size if limited else 0.0))
    return torch.cat(rows)
