"""geodescent: fits networks to data by geometrically adapted gradient descent.

`fit` walks to the least-squares minimum; `flow` integrates the adapted flow, whose cost curve is known beforehand;
`certify` says what is known and what stands in the way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geodescent._certificate import Certificate
from geodescent._dense_lifts import GramLift, NormalLift
from geodescent._errors import InputError
from geodescent._field import StraightLineField
from geodescent._fit import certify, fit, flow
from geodescent._flow import Flow
from geodescent._gain_ratio import GainRatio
from geodescent._initialise import initialise
from geodescent._krylov_lift import KrylovLift
from geodescent._natural import NaturalControl
from geodescent._outputs import SampleMap
from geodescent._problem import Problem
from geodescent._solution import Result, Solution
from geodescent._solve import Method
from geodescent._spring import Spring
from geodescent._theory import predicted_cost, stopping_time
from geodescent._walk import EulerWalk, GeodesicWalk
from geodescent.optim import GeoDescent

if TYPE_CHECKING:
    from geodescent import constructive as constructive
    from geodescent import costs as costs
    from geodescent import geometry as geometry
    from geodescent._runs import load

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
        from geodescent._runs import load

        return load
    raise AttributeError(f"module 'geodescent' has no attribute {name!r}")
