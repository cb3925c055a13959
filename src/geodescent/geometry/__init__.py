"""The geometry of the flow: critical sets, the zero-cost manifold, horizontal lifts, other flows.

`classify` says what kind of point θ is, `critical_manifold` and `refine` walk where the cost does not change, and
`homotopy`, `cost_flow` and `combined_flow` follow other fields. What needs a cost takes a module with its data, or a
`Problem`; what follows paths of a module's outputs takes the module with its inputs.
"""

from geodescent.geometry._classify import Landscape, classify
from geodescent.geometry._combined import CombinedPath, combined_flow
from geodescent.geometry._cost_flow import CostPath, cost_flow
from geodescent.geometry._homotopy import HomotopyPath, homotopy
from geodescent.geometry._horizontal import HorizontalPath, growth, holonomy, horizontal_lift
from geodescent.geometry._manifold import CriticalPath, critical_manifold
from geodescent.geometry._objective import squared_norm
from geodescent.geometry._planted import deep_relu, kill_units, repeat_samples, silence_units
from geodescent.geometry._refine import RefinedPath, RefinedPoint, RefineResult, refine
from geodescent.lift import HomotopyLift

__all__ = [
    "CombinedPath",
    "CostPath",
    "CriticalPath",
    "HomotopyLift",
    "HomotopyPath",
    "HorizontalPath",
    "Landscape",
    "RefineResult",
    "RefinedPath",
    "RefinedPoint",
    "classify",
    "combined_flow",
    "cost_flow",
    "critical_manifold",
    "deep_relu",
    "growth",
    "holonomy",
    "homotopy",
    "horizontal_lift",
    "kill_units",
    "refine",
    "repeat_samples",
    "silence_units",
    "squared_norm",
]
