"""Room descent."""

from geodescent.descent._checkpoint import Keeper, read_state
from geodescent.descent._control import Control, Standing, Trial, aim
from geodescent.descent._descend import AT_FLOOR, NUMBERS, Method, State, Stopping, descend, start
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._natural import NaturalControl
from geodescent.descent._planned import PlannedControl, PlannedWalk
from geodescent.descent._ray import least_on_ray
from geodescent.descent._spring import Spring
from geodescent.descent._walk import EulerWalk, GeodesicWalk, Walk

__all__ = [
    "AT_FLOOR",
    "NUMBERS",
    "Control",
    "EulerWalk",
    "GainRatio",
    "GeodesicWalk",
    "Keeper",
    "Linearised",
    "Method",
    "NaturalControl",
    "PlannedControl",
    "PlannedWalk",
    "Spring",
    "Standing",
    "State",
    "Stopping",
    "Trial",
    "Walk",
    "aim",
    "descend",
    "least_on_ray",
    "read_state",
    "start",
]
