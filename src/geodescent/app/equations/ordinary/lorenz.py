"""Lorenz's equations for a short time: x' = 10(y − x), y' = x(28 − z) − y, z' = xy − 8z/3.

x' = 10(y − x), y' = x(28 − z) − y, z' = xy − 8z/3
"""

from geodescent import pde
from geodescent.app.equations import by_solve_ivp

seconds = 20
box = pde.Box(t=(0.0, 1.0))


def rates(x, y, z):
    """Of x, y and z"""
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z


def lorenz(x, y, z):
    """Divided by 100, the size of the rates"""
    return tuple((a - b) / 100.0 for a, b in zip((x.t, y.t, z.t), rates(x, y, z), strict=True))


def start(net, t):
    """From (1, 1, 1); the network is of size 1"""
    return {"x": 1.0 + 20.0 * t * net.x, "y": 1.0 + 20.0 * t * net.y, "z": 1.0 + 20.0 * t * net.z}


def system():
    """Two small layers, 200 points."""
    terms = [pde.Term("lorenz", lorenz, box.inside(200))]
    return pde.System(pde.mlp(1, [20, 20], 3), terms, coordinates=("t",), fields=("x", "y", "z"), transform=start)


def reference(points):
    """SciPy."""
    return by_solve_ivp(points, lambda t, u: rates(*u), [1.0, 1.0, 1.0])
