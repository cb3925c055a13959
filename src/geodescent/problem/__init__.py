"""Problems: named blocks of rows over one θ, each an output map with its target, weighted once.

`Problem.linearise` gives the weighted residual and its Jacobian, which all later rooms use. A source gives the
problem of each step: one, a part of the samples, batches, or all batches as one.
"""

from geodescent.problem._alike import (
    NEARLY,
    Place,
    active,
    blocks_by_module,
    conflict_cost,
    identical_groups,
    near_groups,
    nearly_identical_groups,
    shared_cost,
    shared_groups,
)
from geodescent.problem._arguments import Changes, HasProblem, HasStart, Model, problem_of
from geodescent.problem._by_products import by_gradients
from geodescent.problem._checks import require_finite, require_squares
from geodescent.problem._conditions import SameCondition, same_conditions
from geodescent.problem._drawn import DrawnSource, ShuffledSource, drawn, timely_source
from geodescent.problem._epochs import EpochsSource
from geodescent.problem._estimates import Estimate, estimates
from geodescent.problem._exact_values import EXACT_VALUES, VALUES_WEIGHT, are_exact, with_exact_values
from geodescent.problem._hessian import curvature_at, gradient, hessian, hessian_extremes
from geodescent.problem._misfit import Misfit, misfit_of, plain_residual
from geodescent.problem._one_theta import require_one_theta
from geodescent.problem._problem import Problem
from geodescent.problem._residual_table import (
    POINTS_LIMIT,
    BlockResidual,
    ResidualTable,
    draws_points,
    residual_table,
)
from geodescent.problem._rounding import may_be_rounding, rounding_floor, same_cost
from geodescent.problem._row_block import RowBlock
from geodescent.problem._sources import (
    OF_ALL,
    BatchesSource,
    FixedSource,
    PartSource,
    RoundOfBatches,
    Source,
    chosen_samples,
    on_samples,
    part_of,
    resampled,
    sampled_block,
    weighted_samples,
)
from geodescent.problem.loaders import BatchSource, GrowingSource, Loader, StreamedMap, StreamedSource

__all__ = [
    "EXACT_VALUES",
    "NEARLY",
    "OF_ALL",
    "POINTS_LIMIT",
    "VALUES_WEIGHT",
    "BatchSource",
    "BatchesSource",
    "BlockResidual",
    "Changes",
    "DrawnSource",
    "EpochsSource",
    "Estimate",
    "FixedSource",
    "GrowingSource",
    "HasProblem",
    "HasStart",
    "Loader",
    "Misfit",
    "Model",
    "PartSource",
    "Place",
    "Problem",
    "ResidualTable",
    "RoundOfBatches",
    "RowBlock",
    "SameCondition",
    "ShuffledSource",
    "Source",
    "StreamedMap",
    "StreamedSource",
    "active",
    "are_exact",
    "blocks_by_module",
    "by_gradients",
    "chosen_samples",
    "conflict_cost",
    "curvature_at",
    "drawn",
    "draws_points",
    "estimates",
    "gradient",
    "hessian",
    "hessian_extremes",
    "identical_groups",
    "may_be_rounding",
    "misfit_of",
    "near_groups",
    "nearly_identical_groups",
    "on_samples",
    "part_of",
    "plain_residual",
    "problem_of",
    "require_finite",
    "require_one_theta",
    "require_squares",
    "resampled",
    "residual_table",
    "rounding_floor",
    "same_conditions",
    "same_cost",
    "sampled_block",
    "shared_cost",
    "shared_groups",
    "timely_source",
    "weighted_samples",
    "with_exact_values",
]
