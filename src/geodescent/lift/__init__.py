"""Room lift."""

from geodescent.lift._chosen import DENSE_LIMIT, INEXACT, PlannedLift
from geodescent.lift._dense import PRODUCT_DAMPING, GramLift, NormalLift
from geodescent.lift._homotopy import HomotopyLift
from geodescent.lift._krylov import KrylovLift
from geodescent.lift._layer_factors import Kronecker, KroneckerBlocks
from geodescent.lift._lift import NO_HINTS, ROUGH, Damped, Hints, Lift, Lifted, Opening, Prepared
from geodescent.lift._output_blocks import OutputBlocks
from geodescent.lift._refined_factor import LEAST_FACTOR, Refined
from geodescent.lift._two_factors import TwiceFactored

__all__ = [
    "DENSE_LIMIT",
    "INEXACT",
    "LEAST_FACTOR",
    "NO_HINTS",
    "PRODUCT_DAMPING",
    "ROUGH",
    "Damped",
    "GramLift",
    "Hints",
    "HomotopyLift",
    "Kronecker",
    "KroneckerBlocks",
    "KrylovLift",
    "Lift",
    "Lifted",
    "NormalLift",
    "Opening",
    "OutputBlocks",
    "PlannedLift",
    "Prepared",
    "Refined",
    "TwiceFactored",
]
