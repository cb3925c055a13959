"""The plan of a fit, before any work: which steps are taken on which samples, why, and what they cost.

`plan` asks for the same stages as `fit` and takes no step. The words and the price of a kind of lift stand in
`_solves`, those of a rule for leaving a stage in `_leaving`, those of a source in `_samples`: a kind that is new has a
function of its own there.
"""

from geodescent.doors.planning._door import plan
from geodescent.doors.planning._result import Plan, PlannedLayer, PlannedStage, Price, Timings

__all__ = ["Plan", "PlannedLayer", "PlannedStage", "Price", "Timings", "plan"]
