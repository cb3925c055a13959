"""geodescent: fits networks to data by geometrically adapted gradient descent.

`fit` walks to the least-squares minimum; `flow` integrates the adapted flow, whose cost curve is known beforehand;
`certify` says what is known and what stands in the way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geodescent._errors import InputError
from geodescent._record import Result
from geodescent.certificate import Certificate
from geodescent.descent import EulerWalk, GainRatio, GeodesicWalk, Method, NaturalControl, Spring
from geodescent.doors import certify, fit, flow
from geodescent.doors._results import Flow, Solution
from geodescent.flow import StraightLineField
from geodescent.generalisation import initialise
from geodescent.lift import GramLift, KrylovLift, NormalLift
from geodescent.optim import GeoDescent
from geodescent.outputs import SampleMap
from geodescent.problem import Problem
from geodescent.theory import predicted_cost, stopping_time

if TYPE_CHECKING:
    from geodescent import constructive as constructive
    from geodescent import costs as costs
    from geodescent import geometry as geometry
    from geodescent.app._runs import load

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - in the order a reader meets them
    "fit",
    "flow",
    "certify",
    "initialise",
    "GeoDescent",
    "load",
    "predicted_cost",
    "stopping_time",
    "Solution",
    "Flow",
    "Certificate",
    "Result",
    "Method",
    "StraightLineField",
    "GramLift",
    "NormalLift",
    "KrylovLift",
    "GeodesicWalk",
    "EulerWalk",
    "NaturalControl",
    "GainRatio",
    "Spring",
    "SampleMap",
    "Problem",
    "InputError",
]


def __getattr__(name: str) -> Any:
    """Imported when asked for: `load`, whose packages are an extra; the rooms `costs`, `geometry`, `constructive`."""
    if name in ("costs", "geometry", "constructive"):
        return import_module(f"geodescent.{name}")
    if name == "load":
        from geodescent.app._runs import load

        return load
    raise AttributeError(f"module 'geodescent' has no attribute {name!r}")
