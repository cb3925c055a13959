"""The doors: `fit`, `flow`, `certify` and `initialise`, and what they return.

Each takes a module with its data, or a whole `Problem`; a wrong question raises here, before any work, and an unlucky
answer returns with a `Result`.
"""

from geodescent.doors._arguments import checked_method
from geodescent.doors._certify import certify
from geodescent.doors._fit import fit
from geodescent.doors._flow import DEFAULT_FALL, flow
from geodescent.doors._initialise import initialise
from geodescent.doors._results import Flow, History, Solution

__all__ = [
    "DEFAULT_FALL",
    "Flow",
    "History",
    "Solution",
    "certify",
    "checked_method",
    "fit",
    "flow",
    "initialise",
]
