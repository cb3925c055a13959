"""Derivatives of fields by their coordinates, carried through a network in one forward pass; residuals of equations.

A quantity and its derivatives are one element of a truncated Taylor algebra. A linear layer acts on each derivative, a
function by its own derivatives, a product by Leibniz' rule; the exact second derivative along a line of parameters is
the same pass with one more coordinate.
"""

from geodescent.outputs.streams._algebra import MOST_ORDERS, Derivative, Streams
from geodescent.outputs.streams._functions import KINKED
from geodescent.outputs.streams._jet import Jet, NoRule, Tape
from geodescent.outputs.streams._layers import LAYERS
from geodescent.outputs.streams._residual_map import Equation, ResidualMap

__all__ = [
    "KINKED",
    "LAYERS",
    "MOST_ORDERS",
    "Derivative",
    "Equation",
    "Jet",
    "NoRule",
    "ResidualMap",
    "Streams",
    "Tape",
]
