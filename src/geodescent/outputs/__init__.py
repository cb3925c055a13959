"""Output maps: the outputs of a network, a closure or a formula as a pure function of the parameters θ.

Any object with the methods of `OutputMap` can be fitted; `SampleMap`, `ClosureMap` and `FunctionMap` are the kinds of
this library. D is computed here: `linearise` uses the rules of layers, and autograd for everything else.
"""

from geodescent.outputs._autograd import products, value_and_derivative
from geodescent.outputs._closure import PARTS, Closure
from geodescent.outputs._closure_map import ClosureMap, ClosureRoutes
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._function_map import FunctionMap
from geodescent.outputs._inputs import (
    Inputs,
    RawInputs,
    Select,
    as_inputs,
    kind_of,
    leaves_of,
    map_inputs,
    n_samples_of,
    require_plain,
    take,
)
from geodescent.outputs._parameters import parameters_of
from geodescent.outputs._protocols import (
    AtPlaces,
    Layered,
    NetworkMap,
    Noted,
    OfModule,
    OutputMap,
    Parametrised,
    Sampled,
    Traced,
    declare,
    is_declared,
)
from geodescent.outputs._rules import RULES, Rule, affine_columns, register_rule
from geodescent.outputs._sample_map import SampleMap
from geodescent.outputs._snapshot import ModuleSnapshot
from geodescent.outputs._standing import alone
from geodescent.outputs.checks import left_as_found
from geodescent.outputs.streams import MOST_ORDERS, Derivative, Equation, ResidualMap, Streams

__all__ = [
    "MOST_ORDERS",
    "PARTS",
    "RULES",
    "AtPlaces",
    "Closure",
    "ClosureMap",
    "ClosureRoutes",
    "Derivative",
    "Equation",
    "FunctionMap",
    "Inputs",
    "Layered",
    "ModelFunction",
    "ModuleSnapshot",
    "NetworkMap",
    "Noted",
    "OfModule",
    "OutputMap",
    "Parametrised",
    "RawInputs",
    "ResidualMap",
    "Rule",
    "SampleMap",
    "Sampled",
    "Select",
    "Streams",
    "Traced",
    "affine_columns",
    "alone",
    "as_inputs",
    "declare",
    "is_declared",
    "kind_of",
    "leaves_of",
    "left_as_found",
    "map_inputs",
    "n_samples_of",
    "parameters_of",
    "products",
    "register_rule",
    "require_plain",
    "take",
    "value_and_derivative",
]
