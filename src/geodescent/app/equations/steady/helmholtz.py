"""Helmholtz's equation Δu + u = (1 − 17π²) sin πx sin 4πy in a square, zero on its walls: four waves high.

Δu + u = (1 − 17π²) sin πx sin 4πy
"""

import torch

from geodescent import pde

seconds = 20
box = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))
size = 17.0 * torch.pi**2


def exact(x, y):
    """u = sin πx sin 4πy"""
    return torch.sin(torch.pi * x) * torch.sin(4.0 * torch.pi * y)


def helmholtz(u, x, y):
    """Δu + u = (1 − 17π²) sin πx sin 4πy, divided by 17π² so that it is of the size of u"""
    return (u.laplacian + u - (1.0 - size) * exact(x, y)) / size


def system():
    """Two layers of 30, 1,600 points inside and 160 on the walls."""
    inside, walls = box.inside(1600, "chebyshev"), box.sides().points(160, "chebyshev")
    terms = [pde.Term("helmholtz", helmholtz, inside), pde.Term("walls", lambda u: u, walls)]
    return pde.System(pde.mlp(2, [30, 30], 1), terms, coordinates=("x", "y"))


def reference(points):
    """The formula."""
    return exact(*points.T)
