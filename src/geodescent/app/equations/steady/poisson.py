"""Poisson's equation Δu = −2π² sin πx sin πy in a square, zero on its walls.

Δu = −2π² sin πx sin πy
"""

import torch

from geodescent import pde

seconds = 15
box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))


def exact(x, y):
    """u = sin πx sin πy"""
    return torch.sin(torch.pi * x) * torch.sin(torch.pi * y)


def poisson(u, x, y):
    """Δu = −2π² sin πx sin πy"""
    return u.laplacian + 2.0 * torch.pi**2 * exact(x, y)


def system():
    """Two small layers, 900 points inside and 120 on the walls."""
    terms = [pde.Term("poisson", poisson, box.inside(900)), pde.Term("walls", lambda u: u, box.sides().points(120))]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("x", "y"))


def reference(points):
    """The formula."""
    return exact(*points.T)
