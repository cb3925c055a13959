"""Poisson's equation in five dimensions by four layers, 10,065 parameters in all.

Δu = −π² Σ sin πx_k
"""

from geodescent import pde
from geodescent.app.equations.steady.poisson_5d import box, names, poisson, reference, walls

__all__ = ["box", "names", "reference", "seconds", "system"]

seconds = 120


def system():
    """3,000 points inside and 500 on the ten walls: fewer than parameters."""
    terms = [pde.Term("poisson", poisson, box.inside(3000)), pde.Term("walls", walls, box.sides().points(500))]
    return pde.System(pde.mlp(5, [64, 64, 48, 48], 1), terms, coordinates=names)
