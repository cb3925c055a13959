"""The adapted flow `dθ/dτ = −D⁺(x − y)`, integrated with error control.

A field gives a velocity of the outputs and its time variable, a lift turns that into a velocity of θ, and `integrate`
integrates any velocity; `follow` measures the path, next to the cost curve that is known before the first step.
"""

from geodescent.flow._arrays import Array, Velocity, as_arrays, tensor_of
from geodescent.flow._field import AdaptedField, Field, StraightLineField
from geodescent.flow._follow import FlowPath, follow, notes_of, start_floor
from geodescent.flow._integrate import check_until, integrate, path_of
from geodescent.flow._path import PathPoint, path_arrays, path_point
from geodescent.flow._velocity import is_finite, lifted_velocity

__all__ = [
    "AdaptedField",
    "Array",
    "Field",
    "FlowPath",
    "PathPoint",
    "StraightLineField",
    "Velocity",
    "as_arrays",
    "check_until",
    "follow",
    "integrate",
    "is_finite",
    "lifted_velocity",
    "notes_of",
    "path_arrays",
    "path_of",
    "path_point",
    "start_floor",
    "tensor_of",
]
