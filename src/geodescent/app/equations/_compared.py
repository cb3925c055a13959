"""What a solution is compared with: a function, a table, true values of unknowns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from geodescent.pde import Box, System

POINTS = 6400  # Where fields are compared: 80 by 80 in two coordinates, none of them a Gauss or Chebyshev point.
GRID_COORDINATES = 3  # Up to here points of a grid, whose times are few: a spectral method is run once for all.


@dataclass(frozen=True)
class Compared:
    """What a solution is compared with.

    Attributes:
        function: points (N, d) → fields, (N, F), or (N,) for one; NaN where they are not known.
        points, fields: where they are compared, and the fields there.
        truth: true values of unknowns.
        box: of the file; None where it has none.
    """

    function: Callable[[Tensor], Tensor] | None
    points: Tensor | None
    fields: Tensor | None
    truth: Mapping[str, float]
    box: Box | None

    @classmethod
    def of(cls, module: ModuleType) -> "Compared":
        """As the file of an equation says it."""
        function, table = getattr(module, "reference", None), getattr(module, "table", None)
        said, truth = getattr(module, "box", None), getattr(module, "truth", {})
        box = said if isinstance(said, Box) else None
        if table is not None:
            points, fields = table()
        elif function is not None and box is not None:
            points = box.inside(POINTS, "grid" if len(box.coordinates) <= GRID_COORDINATES else "sobol").points
            fields = function(points)
        else:
            points = fields = None
        return cls(function, points, fields, truth, box)

    def error(self, system: System) -> float | None:
        """RMS of the difference over RMS of the fields, where these are known."""
        if self.points is None or self.fields is None:
            return None
        found = system(self.points)
        known = torch.isfinite(self.fields.reshape(found.shape))
        expected = self.fields.reshape(found.shape)[known]
        return float((found[known] - expected).norm() / expected.norm())
