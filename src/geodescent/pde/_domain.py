"""Where a system has been asked anything: boxes, and what lies between points of one's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import Delaunay, KDTree, QhullError
from torch import Tensor

from geodescent.pde._boxes import Intervals
from geodescent.pde._checks import INSIDE
from geodescent.pde._terms import Placed

NEAR_POINTS = 4  # Points: the distance of the fourth nearest is the spacing; on a wall two of them lie on either side.
LONG_EDGE = 3.0  # Spacings: edges between 2,000 random points are shorter, while those across a hole are longer.
ON_BOTH_SIDES = 2.0  # Times: gaps on both sides of a point differ by less in a grid that crowds somewhere.
CONE = math.cos(math.pi / 4.0)  # Edges within 45 degrees of a direction go that way: grids have one in each cone.
MOST_OPPOSITE = 64  # Edges of a point, the shortest, among which one is sought: more than 64 meet only in hubs.
MOST_COORDINATES = 3  # Coordinates: up to here points are joined to simplices; of more there are too many.


@dataclass(frozen=True, eq=False)
class Domain:
    """The domain of a system, as its points show it.

    Attributes:
        names: of the coordinates.
        boxes: that a term fills.
        points: of all terms, (N, d).
    """

    names: tuple[str, ...] = ()
    boxes: tuple[Intervals, ...] = ()
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @classmethod
    def of(cls, placed: Sequence[Placed], names: tuple[str, ...]) -> "Domain":
        """Of the points of all terms."""
        boxes = tuple(part.box for part in placed if _fills(part, names))
        every = torch.cat([part.points.flatten(0, 1) for part in placed])
        return cls(names, boxes, every.double().cpu().numpy())

    def covers(self, points: Tensor) -> Tensor:
        """Whether points (N, d) lie in a box, or in a simplex of points that are neighbours, (N,)."""
        at = points.detach().double().cpu().numpy()
        found = np.zeros(len(at), dtype=bool)
        for box in self.boxes:
            found |= _within(at, *np.array([box[name] for name in self.names]).T)
        if not found.all():
            found |= self._between(at)
        return torch.from_numpy(found & np.isfinite(at).all(1)).to(points.device)

    def shown(self, points: Tensor) -> Tensor:
        """Whether pictures and tables show points (N, d), (N,): those covered, and all where none of them is."""
        covered = self.covers(points)
        return covered if bool(covered.any()) else torch.ones_like(covered)

    def _between(self, at: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each lies between points that are neighbours: a simplex with a long edge spans a hole.

        Where the points span no simplex, or have too many coordinates, it is whether each lies in their range.
        """
        if not len(self.points):
            return np.ones(len(at), dtype=bool)
        low, high = self.points.min(0), self.points.max(0)
        in_range: NDArray[np.bool_] = _within(at, low, high)
        if not 1 < len(self.names) <= MOST_COORDINATES:
            return in_range
        size = np.where(high > low, high - low, 1.0)
        own = np.unique((self.points - low) / size, axis=0)
        try:
            joined = Delaunay(own)
        except (QhullError, ValueError):  # too few points, or all on one line
            return in_range
        simplex = joined.find_simplex((at - low) / size, tol=INSIDE)
        inside: NDArray[np.bool_] = (simplex >= 0) & _without_gap(own, joined.simplices)[simplex]
        return inside


def _within(at: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each is from low to high, up to rounding; a coordinate that has no range is no bound."""
    slack = INSIDE * np.maximum(high - low, np.maximum(np.abs(low), np.abs(high)))
    inside: NDArray[np.bool_] = (((at >= low - slack) & (at <= high + slack)) | (high == low)).all(1)
    return inside


def _without_gap(own: NDArray[np.float64], simplices: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether simplices (S, d + 1) of points (N, d) have short edges alone, (S,): those across a hole have long ones.

    An edge is short beside the spacing of a corner; or where the gap on the other side of one of its ends is as long,
    as between the rings of a polar grid and between the rows of points that crowd near a wall.
    """
    distances, _ = KDTree(own).query(own, min(NEAR_POINTS + 1, len(own)))
    spacing = distances[:, -1]
    pairs = np.stack([np.sort(simplices[:, pair], 1) for pair in combinations(range(simplices.shape[1]), 2)], 1)
    edges, which = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    of_simplex = which.reshape(pairs.shape[:2])
    lengths = np.linalg.norm(own[edges[:, 0]] - own[edges[:, 1]], axis=1)
    near = lengths[of_simplex] <= LONG_EDGE * spacing[simplices].max(1)[:, None]
    doubtful = np.unique(of_simplex[~near])
    regular = np.zeros(len(edges), dtype=bool)
    regular[doubtful] = lengths[doubtful] <= ON_BOTH_SIDES * _opposite(own, edges, doubtful)
    short: NDArray[np.bool_] = (near | regular[of_simplex]).all(1)
    return short


def _opposite(own: NDArray[np.float64], edges: NDArray[np.int32], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """The gap on the other side of an end of each chosen edge: its shortest edge there, the longer of both ends, (C,).

    It is 0 where neither end has an edge that way, as on the hull.
    """
    ends = np.concatenate([edges, edges[:, ::-1]])  # (from, to), both ways
    steps = own[ends[:, 1]] - own[ends[:, 0]]
    lengths = np.linalg.norm(steps, axis=1)
    directions = steps / lengths[:, None]
    order = np.lexsort((lengths, ends[:, 0]))  # by the point that they start from, and by length
    first = np.searchsorted(ends[order, 0], np.arange(len(own) + 1))
    both = np.concatenate([chosen, chosen + len(edges)])
    begin = first[ends[both, 0]]
    counts = np.minimum(first[ends[both, 0] + 1] - begin, MOST_OPPOSITE)
    row = np.repeat(np.arange(len(both)), counts)
    other = order[begin[row] + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)]
    turned = -(directions[both[row]] * directions[other]).sum(1) > CONE
    gaps = np.full(len(both), math.inf)
    np.minimum.at(gaps, row[turned], lengths[other[turned]])
    longer: NDArray[np.float64] = np.where(np.isfinite(gaps), gaps, 0.0).reshape(2, -1).max(0)
    return longer


def _fills(placed: Placed, names: tuple[str, ...]) -> bool:
    """Whether points lie inside of a box of theirs, not on a side of it."""
    if not placed.box or len(placed.points) > 1:
        return False
    points = placed.points[0]
    low, high = points.new_tensor([placed.box[name] for name in names]).T
    varies = (points.amax(0) > points.amin(0)).all()
    return bool(varies and ((points > low) & (points < high)).all(1).any())
