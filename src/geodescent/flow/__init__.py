"""Flow."""

from geodescent.flow._field import AdaptedField, Field, StraightLineField
from geodescent.flow._integrate import Velocity, checked_until, follow, integrate, notes, path_of, start_floor
from geodescent.flow._path import Array, columns, path_point

__all__ = [
    "AdaptedField",
    "Array",
    "Field",
    "StraightLineField",
    "Velocity",
    "checked_until",
    "columns",
    "follow",
    "integrate",
    "notes",
    "path_of",
    "path_point",
    "start_floor",
]
