"""Room outputs."""

from geodescent.outputs._chain import along_chain, cotangents_along_chain
from geodescent.outputs._closure import PARTS, Closure
from geodescent.outputs._closure_map import ClosureMap, ClosureRoutes
from geodescent.outputs._function import ModelFunction, central_difference, parameters_of
from geodescent.outputs._inputs import Inputs, kind_of, leaves_of, map_inputs, n_samples_of, take
from geodescent.outputs._probing import left_as_found, probe
from geodescent.outputs._rules import RULES, Rule
from geodescent.outputs._sample_map import SampleMap

__all__ = [
    "PARTS",
    "RULES",
    "Closure",
    "ClosureMap",
    "ClosureRoutes",
    "Inputs",
    "ModelFunction",
    "Rule",
    "SampleMap",
    "along_chain",
    "central_difference",
    "cotangents_along_chain",
    "kind_of",
    "leaves_of",
    "left_as_found",
    "map_inputs",
    "n_samples_of",
    "parameters_of",
    "probe",
    "take",
]
