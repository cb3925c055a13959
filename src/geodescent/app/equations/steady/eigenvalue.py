"""The lowest eigenvalue of −u″ = λu between two walls, with ∫u² = 1 as one row: λ is found with u.

−u″ = λu, λ unknown
"""

import math

from geodescent import pde

seconds = 1
box = pde.Box(x=(0.0, 1.0))
truth = {"lam": math.pi**2}


def eigen(u, lam):
    """u″ + λu = 0, divided by 10, the size of λ"""
    return (u.xx + lam * u) / 10.0


def walls(net, x):
    """u is zero at both ends"""
    return x * (1.0 - x) * net


def system():
    """One layer of 20 at 60 points; the search for λ begins at 8."""
    points = box.inside(60)
    terms = [pde.Term("eigen", eigen, points), pde.Total("norm", lambda u: u * u, points, 1.0)]
    return pde.System(pde.mlp(1, [20], 1), terms, coordinates=("x",), unknowns={"lam": 8.0}, transform=walls)
