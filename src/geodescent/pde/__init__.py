"""Differential equations: write them as functions of fields, and fit a network to them as to data."""

from geodescent.pde._boxes import Box, Points
from geodescent.pde._mlp import mlp
from geodescent.pde._plot import plot
from geodescent.pde._refine import refine
from geodescent.pde._system import System
from geodescent.pde._terms import Term, Total
from geodescent.pde.bridges import from_deepxde, from_pina

__all__ = ["Box", "Points", "System", "Term", "Total", "from_deepxde", "from_pina", "mlp", "plot", "refine"]
