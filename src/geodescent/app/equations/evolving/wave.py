"""The wave equation u_tt = 4 u_xx of a string that is let go from sin πx.

u_tt = 4 u_xx
"""

import torch

from geodescent import pde

seconds = 15
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))


def conditions(net, t, x):
    """Start, rest at the start and fixed ends are built in"""
    return torch.sin(torch.pi * x) + t * t * x * (1.0 - x) * net


def system():
    """Two small layers, 1,200 points."""
    terms = [pde.Term("wave", lambda u: (u.tt - 4.0 * u.xx) / 40.0, box.inside(1200))]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("t", "x"), transform=conditions)


def reference(points):
    """u = cos 2πt sin πx"""
    t, x = points.T
    return torch.cos(2.0 * torch.pi * t) * torch.sin(torch.pi * x)
