"""The doors: `fit`, `plan`, `flow`, `certify` and `initialise`, and what they return.

Each takes a module with its data, or a whole `Problem`. Wrong arguments raise here, before any work; a run that does
not reach its target returns, with a `Result` that says why.
"""

from geodescent.doors._arguments import checked_callback, checked_method
from geodescent.doors._call import Answers, Door, door
from geodescent.doors._certify import certify
from geodescent.doors._fit import fit
from geodescent.doors._fit_posterior import fit_posterior
from geodescent.doors._flow import DEFAULT_FALL, flow
from geodescent.doors._initialise import initialise
from geodescent.doors._results import Flow, Solution
from geodescent.doors._termination import as_ctrl_c
from geodescent.doors.planning import Plan, PlannedLayer, PlannedStage, Price, Timings, plan

__all__ = [
    "DEFAULT_FALL",
    "Answers",
    "Door",
    "Flow",
    "Plan",
    "PlannedLayer",
    "PlannedStage",
    "Price",
    "Solution",
    "Timings",
    "as_ctrl_c",
    "certify",
    "checked_callback",
    "checked_method",
    "door",
    "fit",
    "fit_posterior",
    "flow",
    "initialise",
    "plan",
]
