"""The geometry around a point: kinds of critical points, the zero-cost manifold, horizontal lifts (THEORY 1.5, 1.6)."""

from geodescent.geometry._classify import Landscape, classify
from geodescent.geometry._horizontal import HorizontalPath, growth, holonomy, horizontal_lift
from geodescent.geometry._refine import Refined, RefinedPoint, refine, squared_norm

__all__ = [
    "HorizontalPath",
    "Landscape",
    "Refined",
    "RefinedPoint",
    "classify",
    "growth",
    "holonomy",
    "horizontal_lift",
    "refine",
    "squared_norm",
]
