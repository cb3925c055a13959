"""The Allen–Cahn equation u_t = 0.001 u_xx + 5u − 5u³, from ½ sin πx: a layer as thin as 0.02 at x = 0.

u_t = 0.001 u_xx + 5u − 5u³
"""

import torch

from geodescent import pde
from geodescent.app.equations import allen_cahn

seconds = 25
box = pde.Box(t=(0.0, 1.0), x=(0.0, 0.5))


def reaction(u):
    """u_t = 0.001 u_xx + 5u − 5u³"""
    return u.t - 0.001 * u.xx - 5.0 * u + 5.0 * u**3


def conditions(net, t, x):
    """The start is built in, and that u is odd at x = 0"""
    return 0.5 * torch.sin(torch.pi * x) + t * x * net


def system():
    """Two small layers; points crowd in the layer, and u is even at x = ½."""
    inside = box.inside(1600, crowd={"x": (0.0, 3.0)})
    terms = [pde.Term("allen-cahn", reaction, inside), pde.Term("even", lambda u: u.x, box.side(x=0.5).points(40))]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("t", "x"), transform=conditions)


def reference(points):
    """511 sines and SciPy."""
    return allen_cahn(points, 0.001, modes=511)
