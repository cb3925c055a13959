"""Problems."""

from geodescent.problem._alike import NEARLY, active, conflict_cost, identical_groups, near_groups
from geodescent.problem._hessian import gradient, hessian, hessian_extremes
from geodescent.problem._problem import Problem, RowBlock, batch_of, held_out, require_finite
from geodescent.problem._rounding import rounding_floor, same_cost
from geodescent.problem._sources import BatchSource, FixedSource, PartSource, Source, pair, part_of
from geodescent.problem._streamed import StreamedSource

__all__ = [
    "NEARLY",
    "BatchSource",
    "FixedSource",
    "PartSource",
    "Problem",
    "RowBlock",
    "Source",
    "StreamedSource",
    "active",
    "batch_of",
    "conflict_cost",
    "gradient",
    "held_out",
    "hessian",
    "hessian_extremes",
    "identical_groups",
    "near_groups",
    "pair",
    "part_of",
    "require_finite",
    "rounding_floor",
    "same_cost",
]
