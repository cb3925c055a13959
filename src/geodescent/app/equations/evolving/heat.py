"""The heat equation u_t = ¼ u_xx, from sin πx, with cold ends.

u_t = ¼ u_xx
"""

import torch

from geodescent import pde

seconds = 15
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))


def system():
    """Two small layers, 900 points inside, 40 at the start and 80 at the ends."""
    terms = [
        pde.Term("heat", lambda u: u.t - u.xx / 4.0, box.inside(900)),
        pde.Term("start", lambda u, x: u - torch.sin(torch.pi * x), box.side(t=0.0).points(40)),
        pde.Term("ends", lambda u: u, box.sides("x").points(80)),
    ]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("t", "x"))


def reference(points):
    """u = exp(−π²t/4) sin πx"""
    t, x = points.T
    return torch.exp(-(torch.pi**2) * t / 4.0) * torch.sin(torch.pi * x)
