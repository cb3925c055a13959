"""A solution in numbers, for other programs: the fields at points, beside what they are compared with."""

import csv
import io
import math

import torch
from torch import Tensor

from geodescent.app.equations._compared import GRID_COORDINATES, POINTS, Compared
from geodescent.pde import Box, System


def values_csv(system: System, compared: Compared) -> str:
    """A table as CSV: coordinates and fields, and, of fields that are known, the reference and the error û − u.

    Its points are those where the error was measured; without a function to compare with, a grid of the file's box or
    of the range of all points, holes left out, and below it the points of a table.
    """
    points, expected = _places(system, compared)
    found = system(points).double()
    expected = expected.reshape(found.shape).to(found)
    columns = dict(zip(system.coordinates, points.double().T, strict=True))
    columns |= dict(zip(system.fields, found.T, strict=True))
    for name, values, known in zip(system.fields, found.T, expected.T, strict=True):
        if bool(known.isfinite().any()):
            columns |= {f"{name}_reference": known, f"{name}_error": values - known}
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    rows = torch.stack(list(columns.values()), 1).tolist()
    writer.writerows([value if math.isfinite(value) else "" for value in row] for row in rows)
    return written.getvalue()


def _places(system: System, compared: Compared) -> tuple[Tensor, Tensor]:
    """Points (N, d), and the fields there, NaN where they are not known."""
    shape = (-1, len(system.fields))
    if compared.function is not None and compared.points is not None and compared.fields is not None:
        expected = compared.fields.reshape(shape)
        inside = expected.isfinite().any(1)
        return compared.points[inside], expected[inside]
    box = compared.box
    if box is None or box.coordinates != system.coordinates:
        low, high = (end.tolist() for end in system.ends)
        box = Box(**{name: (a, b) for name, a, b in zip(system.coordinates, low, high, strict=True)})
    points = box.inside(POINTS, "grid" if len(box.coordinates) <= GRID_COORDINATES else "sobol").points
    points = points[system.module.domain.shown(points)]
    expected = points.new_full((len(points), shape[1]), math.nan)
    if compared.function is not None:
        expected = system.module.as_fields(compared.function(points), len(points), "reference(points)")
    elif compared.points is not None and compared.fields is not None:
        points = torch.cat([points, compared.points])
        expected = torch.cat([expected, compared.fields.reshape(shape)])
    return points, expected
