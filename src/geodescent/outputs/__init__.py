"""Output maps: what a network, a closure or a formula says, stacked, as a pure function of the parameters θ.

`OutputMap` says what every map can do, and whatever does it can be fitted; `SampleMap`, `ClosureMap` and `FunctionMap`
are ours. D is computed here: `linearise` takes a layer by its rule, and everything else through autograd.
"""

from geodescent.outputs._closure import PARTS, Closure
from geodescent.outputs._closure_map import ClosureMap, ClosureRoutes
from geodescent.outputs._function import ModelFunction, parameters_of
from geodescent.outputs._function_map import FunctionMap
from geodescent.outputs._inputs import (
    Inputs,
    Select,
    as_inputs,
    kind_of,
    leaves_of,
    map_inputs,
    n_samples_of,
    take,
)
from geodescent.outputs._probing import left_as_found, probe
from geodescent.outputs._protocols import Layered, OutputMap, Parametrised, Sampled, Traced
from geodescent.outputs._rules import RULES, Rule, affine_columns, register_rule
from geodescent.outputs._sample_map import SampleMap
from geodescent.outputs._snapshot import ModuleSnapshot

__all__ = [
    "PARTS",
    "RULES",
    "Closure",
    "ClosureMap",
    "ClosureRoutes",
    "FunctionMap",
    "Inputs",
    "Layered",
    "ModelFunction",
    "ModuleSnapshot",
    "OutputMap",
    "Parametrised",
    "Rule",
    "SampleMap",
    "Sampled",
    "Select",
    "Traced",
    "affine_columns",
    "as_inputs",
    "kind_of",
    "leaves_of",
    "left_as_found",
    "map_inputs",
    "n_samples_of",
    "parameters_of",
    "probe",
    "register_rule",
    "take",
]
