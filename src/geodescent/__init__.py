"""geodescent: fits networks, and any function, to data by geometrically adapted gradient descent.

`fit` walks to the least-squares minimum; `flow` integrates the adapted flow, whose cost curve is known beforehand;
`certify` says what is known and what stands in the way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geodescent._collector import resume
from geodescent._errors import InputError, JacobianError, MemoryPlanError
from geodescent._record import Result, StepRecord
from geodescent._version import __version__
from geodescent.flow import AdaptedField, Field, StraightLineField
from geodescent.jacobian import DenseColumns, Jacobian, MatrixJacobian
from geodescent.lift import GramLift, KrylovLift, Lift, NormalLift
from geodescent.outputs import (
    ClosureMap,
    FunctionMap,
    Layered,
    OutputMap,
    Sampled,
    SampleMap,
    affine_columns,
    register_rule,
)
from geodescent.problem import BatchSource, FixedSource, PartSource, Problem, RowBlock, Source, StreamedSource
from geodescent.theory import predicted_cost, stopping_time

if TYPE_CHECKING:
    from geodescent import callbacks as callbacks
    from geodescent import constructive as constructive
    from geodescent import costs as costs
    from geodescent import geometry as geometry
    from geodescent import optim as optim
    from geodescent import pde as pde
    from geodescent.app import load
    from geodescent.certificate import Certificate
    from geodescent.curves import (
        BatchedFit,
        CurveFit,
        LeastSquaresResult,
        Parameters,
        curve_fit,
        curve_fit_batched,
        least_squares,
    )
    from geodescent.descent import (
        AfterSteps,
        Control,
        EulerWalk,
        GainRatio,
        GeodesicWalk,
        Method,
        NaturalControl,
        OpeningEnds,
        PartEnds,
        Spring,
        Stage,
        Walk,
    )
    from geodescent.doors import Flow, Plan, Solution, certify, fit, fit_posterior, flow, initialise, plan
    from geodescent.estimators import GeoClassifier, GeoRegressor
    from geodescent.generalisation import ChosenStart, Posterior
    from geodescent.optim import GeoDescent
else:
    del flow  # The room, a module imported above: `gd.flow` is the door of that name.

resume()

LAZY = {
    "app": ("load",),
    "callbacks": (),
    "certificate": ("Certificate",),
    "constructive": (),
    "costs": (),
    "curves": (
        "BatchedFit",
        "CurveFit",
        "LeastSquaresResult",
        "Parameters",
        "curve_fit",
        "curve_fit_batched",
        "least_squares",
    ),
    "descent": (
        "AfterSteps",
        "Control",
        "EulerWalk",
        "GainRatio",
        "GeodesicWalk",
        "Method",
        "NaturalControl",
        "OpeningEnds",
        "PartEnds",
        "Spring",
        "Stage",
        "Walk",
    ),
    "doors": ("Flow", "Plan", "Solution", "certify", "fit", "fit_posterior", "flow", "initialise", "plan"),
    "estimators": ("GeoClassifier", "GeoRegressor"),
    "generalisation": ("ChosenStart", "Posterior"),
    "geometry": (),
    "optim": ("GeoDescent",),
    "pde": (),
}
"""Room → names of it that are imported when they are asked for, as the room is itself."""

__all__ = [
    "AdaptedField",
    "AfterSteps",
    "BatchSource",
    "BatchedFit",
    "Certificate",
    "ChosenStart",
    "ClosureMap",
    "Control",
    "CurveFit",
    "DenseColumns",
    "EulerWalk",
    "Field",
    "FixedSource",
    "Flow",
    "FunctionMap",
    "GainRatio",
    "GeoClassifier",
    "GeoDescent",
    "GeoRegressor",
    "GeodesicWalk",
    "GramLift",
    "InputError",
    "Jacobian",
    "JacobianError",
    "KrylovLift",
    "Layered",
    "LeastSquaresResult",
    "Lift",
    "MatrixJacobian",
    "MemoryPlanError",
    "Method",
    "NaturalControl",
    "NormalLift",
    "OpeningEnds",
    "OutputMap",
    "Parameters",
    "PartEnds",
    "PartSource",
    "Plan",
    "Posterior",
    "Problem",
    "Result",
    "RowBlock",
    "SampleMap",
    "Sampled",
    "Solution",
    "Source",
    "Spring",
    "Stage",
    "StepRecord",
    "StraightLineField",
    "StreamedSource",
    "Walk",
    "__version__",
    "affine_columns",
    "callbacks",
    "certify",
    "constructive",
    "costs",
    "curve_fit",
    "curve_fit_batched",
    "fit",
    "fit_posterior",
    "flow",
    "geometry",
    "initialise",
    "least_squares",
    "load",
    "optim",
    "pde",
    "plan",
    "predicted_cost",
    "register_rule",
    "stopping_time",
]


def __getattr__(name: str) -> Any:
    """A name of a room that is not imported yet, or such a room."""
    for room, names in LAZY.items():
        if name in names:
            return getattr(import_module(f"geodescent.{room}"), name)
    if name in LAZY and name in __all__:
        return import_module(f"geodescent.{name}")
    raise AttributeError(f"module 'geodescent' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What a user may use, and nothing else."""
    return sorted(__all__)
