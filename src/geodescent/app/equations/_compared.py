"""What a solution is compared with: a function, a table, true values of unknowns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import number_in
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
        is_table: whether points and fields are a table's, and not the function's in the box.
    """

    function: Callable[[Tensor], Tensor] | None
    points: Tensor | None
    fields: Tensor | None
    truth: Mapping[str, float]
    box: Box | None
    is_table: bool = False

    @classmethod
    def of(cls, module: ModuleType) -> "Compared":
        """As the file of an equation says it."""
        function, table = getattr(module, "reference", None), getattr(module, "table", None)
        said, truth = getattr(module, "box", None), getattr(module, "truth", {})
        box = said if isinstance(said, Box) else None
        points: Tensor | None = None
        fields: Tensor | None = None
        if table is not None:
            points, fields = (torch.as_tensor(part, device="cpu") for part in table())
        elif function is not None and box is not None:
            points = box.inside(POINTS, "grid" if len(box.coordinates) <= GRID_COORDINATES else "sobol").points
            fields = torch.as_tensor(function(points))
        return cls(function, points, fields, truth, box, table is not None)

    def require_of(self, system: System) -> None:
        """Raises InputError, where this is not of the fields and the unknowns of the system: before it is solved."""
        module, fields = system.module, self.fields
        if self.points is not None and not self.is_table:
            if self.box is not None and self.box.coordinates != system.coordinates:
                raise InputError(
                    f"box has the coordinates {', '.join(self.box.coordinates)}, the system has "
                    f"{', '.join(system.coordinates)}: name the same in the same order, for reference(points) has them "
                    "as columns."
                )
            module.as_fields(fields, len(self.points), "reference(points)")
        elif self.points is not None:
            n = len(system.covers(self.points))  # refused, where they have another number of coordinates
            module.as_fields(fields, n, "the second part of table()")
        if self.function is not None and (self.is_table or self.points is None):
            ends = torch.stack(system.ends)
            module.as_fields(self.function(ends), len(ends), "reference(points)")
        _require_truth(self.truth, system.unknowns)

    def error(self, system: System) -> float | None:
        """RMS of the difference over RMS of the fields, where these are known."""
        if self.points is None or self.fields is None:
            return None
        found = system(self.points)
        known = torch.isfinite(self.fields.reshape(found.shape))
        expected = self.fields.reshape(found.shape)[known]
        return float((found[known] - expected).norm() / expected.norm())


def _require_truth(truth: Mapping[str, float], unknowns: tuple[str, ...]) -> None:
    """Raises InputError for the value of what is no unknown, and for one that errors cannot be relative to."""
    for name, true in truth.items():
        if name not in unknowns:
            known = f"are {', '.join(unknowns)}: name one of these" if unknowns else "do not exist: leave it out"
            raise InputError(f"truth names {name!r}; unknowns of the system {known}.")
        if not number_in(true):
            raise InputError(
                f"truth = {{{name!r}: {true!r}}}: errors are relative to it, so that a number other than 0 is needed; "
                f"leave {name} out where it has none."
            )
