"""Hares u and lynxes v of Lotka and Volterra: u' = 1.5u − uv, v' = uv − 3v.

u' = 1.5u − uv, v' = uv − 3v
"""

from geodescent import pde
from geodescent.app.equations import by_solve_ivp

seconds = 10
box = pde.Box(t=(0.0, 4.0))


def rates(u, v):
    """Of hares and lynxes"""
    return 1.5 * u - u * v, u * v - 3.0 * v


def animals(u, v):
    """u' = 1.5u − uv, v' = uv − 3v"""
    return u.t - rates(u, v)[0], v.t - rates(u, v)[1]


def start(net, t):
    """One of each at the start"""
    return {"u": 1.0 + t * net.u, "v": 1.0 + t * net.v}


def system():
    """Two small layers, 120 points."""
    terms = [pde.Term("animals", animals, box.inside(120))]
    return pde.System(pde.mlp(1, [20, 20], 2), terms, coordinates=("t",), fields=("u", "v"), transform=start)


def reference(points):
    """SciPy."""
    return by_solve_ivp(points, lambda t, z: rates(*z), [1.0, 1.0])
