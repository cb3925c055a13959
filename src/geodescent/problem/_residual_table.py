"""The residual of each block in numbers, on its own rows and on fresh ones."""

import math
import textwrap
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import row_dot
from geodescent.outputs import OutputMap
from geodescent.problem._alike import active
from geodescent.problem._misfit import plain_residual
from geodescent.problem._problem import Problem
from geodescent.problem._row_block import RowBlock

MILLION = 1e6  # Times: larger ratios are said in words, for their digits tell nobody anything.
TABLE_WIDTH = 80  # Columns of a terminal, which the table keeps to.
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
    """Whether a term can be looked at on other points than its own: by `fresh_map`, which draws them."""
    return any(_can_draw(block) for block in problem.blocks)


def _can_draw(block: RowBlock) -> bool:
    """Whether a block has other samples; none where some of its own do not count, for of others that is not known."""
    return isinstance(block.map, Refreshed) and block.map.can_draw and len(active(block)) == block.n_samples


def fresh_map(block: RowBlock, seed: int) -> OutputMap | None:
    """The block's map at other points of the same set; None where it cannot draw them."""
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
    off, fresh = plain_residual(block, theta)[active(block)], fresh_map(block, seed)
    sizes = (None, None) if fresh is None else _sizes(fresh(theta))
    return BlockResidual(block.name, off.numel(), block.weight, *_sizes(off), *sizes)


def _sizes(residual: Tensor) -> tuple[float, float]:
    flat = residual.double().reshape(-1)
    return math.sqrt(row_dot(flat, flat) / len(flat)), float(flat.abs().max())
