"""Where a system has been asked anything: boxes, and what lies between points of one's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import Delaunay, KDTree, QhullError
from torch import Tensor

from geodescent.pde._boxes import Intervals
from geodescent.pde._terms import Placed

NEAR_POINTS = 4  # Points: the distance of the fourth nearest is the spacing; on a wall two of them lie on either side.
LONG_EDGE = 3.0  # Spacings: edges between 2,000 random points are shorter, while those across a hole are longer.
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
        at = points.double().cpu().numpy()
        found = np.zeros(len(at), dtype=bool)
        for box in self.boxes:
            low, high = np.array([box[name] for name in self.names]).T
            slack = 1e-9 * (high - low)  # Rounding of the ends of a grid.
            found |= ((at >= low - slack) & (at <= high + slack)).all(1)
        if not found.all():
            found |= self._between(at)
        return torch.from_numpy(found).to(points.device)

    def _between(self, at: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each lies between points that are neighbours: a simplex with a long edge spans a hole."""
        everywhere = np.ones(len(at), dtype=bool)
        if not 1 < len(self.names) <= MOST_COORDINATES:
            return everywhere
        low, high = self.points.min(0, initial=math.inf), self.points.max(0, initial=-math.inf)
        size = np.where(high > low, high - low, 1.0)
        own = np.unique((self.points - low) / size, axis=0)
        try:
            joined = Delaunay(own)
        except (QhullError, ValueError):  # too few points, or all on one line
            return everywhere
        distances, _ = KDTree(own).query(own, min(NEAR_POINTS + 1, len(own)))
        corners = joined.simplices
        sides = own[corners][:, :, None] - own[corners][:, None]
        longest = np.linalg.norm(sides, axis=-1).max((1, 2))
        short = longest <= LONG_EDGE * distances[:, -1][corners].max(1)
        simplex = joined.find_simplex((at - low) / size)
        inside: NDArray[np.bool_] = (simplex >= 0) & short[simplex]
        return inside


def _fills(placed: Placed, names: tuple[str, ...]) -> bool:
    """Whether points lie inside of a box of theirs, not on a side of it."""
    if not placed.box or len(placed.points) > 1:
        return False
    points = placed.points[0]
    low, high = points.new_tensor([placed.box[name] for name in names]).T
    varies = (points.amax(0) > points.amin(0)).all()
    return bool(varies and ((points > low) & (points < high)).all(1).any())
