"""geodescent: fits networks, and any function, to data by geometrically adapted gradient descent.

`fit` walks to the least-squares minimum; `flow` integrates the adapted flow, whose cost curve is known beforehand;
`certify` says what is known and what stands in the way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geodescent._errors import InputError, JacobianError, MemoryPlanError
from geodescent._record import Result, StepRecord
from geodescent._version import __version__
from geodescent.certificate import Certificate
from geodescent.descent import (
    AfterSteps,
    EulerWalk,
    GainRatio,
    GeodesicWalk,
    Method,
    NaturalControl,
    OpeningEnds,
    PartEnds,
    Spring,
    Stage,
)
from geodescent.doors import Flow, Solution, certify, fit, flow, initialise
from geodescent.flow import AdaptedField, StraightLineField
from geodescent.generalisation import ChosenStart
from geodescent.jacobian import DenseColumns, Jacobian, MatrixJacobian
from geodescent.lift import GramLift, KrylovLift, NormalLift
from geodescent.optim import GeoDescent
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
    from geodescent import constructive as constructive
    from geodescent import costs as costs
    from geodescent import geometry as geometry
    from geodescent.app import load

LAZY = {
    "constructive": "geodescent.constructive",
    "costs": "geodescent.costs",
    "geometry": "geodescent.geometry",
    "load": "geodescent.app",
    "optim": "geodescent.optim",
}
"""Name → module that holds it or is it, imported when it is asked for."""

__all__ = [
    "AdaptedField",
    "AfterSteps",
    "BatchSource",
    "Certificate",
    "ChosenStart",
    "ClosureMap",
    "DenseColumns",
    "EulerWalk",
    "FixedSource",
    "Flow",
    "FunctionMap",
    "GainRatio",
    "GeoDescent",
    "GeodesicWalk",
    "GramLift",
    "InputError",
    "Jacobian",
    "JacobianError",
    "KrylovLift",
    "Layered",
    "MatrixJacobian",
    "MemoryPlanError",
    "Method",
    "NaturalControl",
    "NormalLift",
    "OpeningEnds",
    "OutputMap",
    "PartEnds",
    "PartSource",
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
    "__version__",
    "affine_columns",
    "certify",
    "constructive",
    "costs",
    "fit",
    "flow",
    "geometry",
    "initialise",
    "load",
    "optim",
    "predicted_cost",
    "register_rule",
    "stopping_time",
]


def __getattr__(name: str) -> Any:
    """Imported when asked for: `load`, whose packages are an extra, and the rooms that not everybody needs."""
    if name not in LAZY:
        raise AttributeError(f"module 'geodescent' has no attribute {name!r}")
    module = import_module(LAZY[name])
    return module.load if name == "load" else module


def __dir__() -> list[str]:
    """What a user may use, and nothing else."""
    return sorted(__all__)
