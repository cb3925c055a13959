"""Checks of an output map: whether it is a function of θ and of each sample alone, and whether D is its derivative.

The columns of layers are compared with autograd, autograd with differences of the outputs, and the outputs at other
parameters with those of the module when these are written into it.
"""

from geodescent.outputs.checks._agreement import disagreeing
from geodescent.outputs.checks._elsewhere import check_elsewhere
from geodescent.outputs.checks._probing import (
    left_as_found,
    or_eval,
    output_shape,
    probe,
    random_state,
    refuse_mixing_layers,
)
from geodescent.outputs.checks._slopes import AGREES, NAMED, SlopeCheck, point_of_check

__all__ = [
    "AGREES",
    "NAMED",
    "SlopeCheck",
    "check_elsewhere",
    "disagreeing",
    "left_as_found",
    "or_eval",
    "output_shape",
    "point_of_check",
    "probe",
    "random_state",
    "refuse_mixing_layers",
]
